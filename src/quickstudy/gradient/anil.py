"""ANIL: almost no inner loop (Raghu, Raghu, Bengio and Vinyals 2020, arXiv 1909.09157)."""

from collections.abc import Sequence
from typing import Unpack

from torch import nn

from quickstudy.checks import check_network
from quickstudy.gradient.maml import MAML
from quickstudy.inner.options import MAMLOptions
from quickstudy.inner.rates import Rated


def ANIL(
    network: nn.Module,
    *,
    head: str | Sequence[str] | None = None,
    lr: Rated | None = None,
    steps: int = 1,
    **options: Unpack[MAMLOptions],
) -> MAML:
    """MAML in which only the head adapts (section 4.1); the body is meta-learned and the same for all tasks.

    Args:
        network: as for `MAML`.
        head: patterns for the names of the head's parameters, such as "head.*"; by default the parameters of the last
            layer that has any, in the order of `network.modules()`.
        lr, steps, options: as for `MAML`, except `adapt`.

    >>> import quickstudy as qs
    >>> qs.ANIL(qs.nets.MLP(1, [40, 40], 1), lr=0.1).inner.adapted_names()
    ['layers.2.weight', 'layers.2.bias']
    """
    if "adapt" in options:
        raise TypeError("ANIL adapts its head: name it with head=, or use MAML(network, adapt=...)")
    options["adapt"] = last_layer(network) if head is None else head
    return MAML(network, lr=lr, steps=steps, **options)


def last_layer(network: nn.Module) -> list[str]:
    """The names of the parameters of the last module that owns any."""
    check_network(network)
    owners = [(name, m) for name, m in network.named_modules() if any(True for _ in m.parameters(recurse=False))]
    if not owners:
        raise ValueError("the network has no parameters, so there is no head to adapt")
    name, module = owners[-1]
    return [f"{name}.{k}" if name else k for k, _ in module.named_parameters(recurse=False)]

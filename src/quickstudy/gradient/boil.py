"""BOIL: body only update in the inner loop (Oh, Yoo, Kim and Yun 2021, arXiv 2008.08882)."""

from collections.abc import Sequence
from typing import Unpack

from torch import nn

from quickstudy.checks import check_network
from quickstudy.gradient.anil import last_layer
from quickstudy.gradient.maml import MAML
from quickstudy.inner.options import MAMLOptions
from quickstudy.inner.problem import matching
from quickstudy.inner.rates import Rated


def BOIL(
    network: nn.Module,
    *,
    head: str | Sequence[str] | None = None,
    lr: Rated | None = None,
    steps: int = 1,
    **options: Unpack[MAMLOptions],
) -> MAML:
    """MAML in which everything but the head adapts (section 3); the head is meta-learned and the same for all tasks.

    theta_body' = theta_body - lr * grad L(theta; support),  theta_head' = theta_head: the opposite of ANIL.

    Args:
        network: as for `MAML`.
        head: patterns for the names of the head's parameters, such as "head.*"; by default the parameters of the last
            layer that has any, in the order of `network.modules()`.
        lr, steps, options: as for `MAML`, except `adapt`. Extra `inputs` adapt together with the body.

    Raises:
        ValueError: if nothing is left to adapt, as in a network of one layer.

    >>> import quickstudy as qs
    >>> qs.BOIL(qs.nets.MLP(1, [40, 40], 1), lr=0.1).inner.adapted_names()
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']
    """
    if "adapt" in options:
        raise TypeError("BOIL adapts all but its head: name that with head=, or use MAML(network, adapt=...)")
    check_network(network)
    names = [name for name, _ in network.named_parameters()]
    kept = last_layer(network) if head is None else matching(names, head)
    body = [*(name for name in names if name not in kept), *(options.get("inputs") or {})]
    if not body:
        raise ValueError("the head is all of the network, so there is no body to adapt; name a smaller one with head=")
    options["adapt"] = body
    return MAML(network, lr=lr, steps=steps, **options)

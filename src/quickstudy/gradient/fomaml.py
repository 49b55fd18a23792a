"""First-order MAML (Finn, Abbeel and Levine 2017, arXiv 1703.03400, section 5.2)."""

from typing import Unpack

from torch import nn

from quickstudy.gradient.maml import MAML
from quickstudy.inner.options import MAMLOptions
from quickstudy.inner.rates import Rated


def FOMAML(network: nn.Module, *, lr: Rated | None = None, steps: int = 1, **options: Unpack[MAMLOptions]) -> MAML:
    """MAML without second derivatives: inner gradients count as constants. Same as `MAML(..., first_order=True)`.

    Args:
        network, lr, steps, options: as for `MAML`, except `first_order`.

    >>> import quickstudy as qs
    >>> qs.FOMAML(qs.nets.MLP(1, [8], 1), lr=0.1).inner.first_order
    True
    """
    if "first_order" in options:
        raise TypeError("FOMAML is MAML with first_order=True; use MAML to choose first_order=")
    options["first_order"] = True
    return MAML(network, lr=lr, steps=steps, **options)

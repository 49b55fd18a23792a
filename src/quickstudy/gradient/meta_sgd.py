"""Meta-SGD (Li, Zhou, Chen and Li 2017, arXiv 1707.09835)."""

from typing import Unpack

from torch import nn

from quickstudy.checks import check_network, check_number
from quickstudy.gradient.maml import MAML
from quickstudy.inner.optimizers import SGD
from quickstudy.inner.options import MAMLOptions
from quickstudy.inner.rates import Rates


def MetaSGD(network: nn.Module, *, lr: float = 0.01, steps: int = 1, **options: Unpack[MAMLOptions]) -> MAML:
    """MAML with learned inner learning rates, one for every entry of every parameter (algorithm 1, eq. 3).

    theta' = theta - alpha * grad L(theta; support), elementwise; theta and alpha are meta-learned, and entries of alpha
    may become negative. `learner.rule.lr` holds alpha.

    Args:
        network: as for `MAML`.
        lr: initial value of all rates. The paper draws them at random from a small interval.
        steps, options: as for `MAML`, except `rule`.

    >>> import quickstudy as qs
    >>> learner = qs.MetaSGD(qs.nets.MLP(1, [40, 40], 1), lr=0.01)
    >>> sum(p.numel() for p in learner.parameters())
    3522
    """
    if "rule" in options:
        raise TypeError("MetaSGD's rule is SGD with learned rates; for another, use MAML(network, rule=...)")
    check_network(network)
    check_number("lr", lr)
    options["rule"] = SGD(Rates(network, lr, per="parameter"))
    return MAML(network, steps=steps, **options)

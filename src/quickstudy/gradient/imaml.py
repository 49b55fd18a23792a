"""Implicit MAML (Rajeswaran, Finn, Kakade and Levine 2019, arXiv 1909.04630)."""

from typing import Unpack

from torch import nn

from quickstudy.checks import check_positive, check_whole
from quickstudy.gradient.maml import MAML
from quickstudy.inner.fast.implicit import Implicit
from quickstudy.inner.options import MAMLOptions
from quickstudy.inner.rates import Rated


def iMAML(
    network: nn.Module,
    *,
    lr: Rated | None = None,
    lam: float = 2.0,
    steps: int = 16,
    cg_steps: int = 5,
    damping: float = 0.0,
    **options: Unpack[MAMLOptions],
) -> MAML:
    """MAML whose inner problem has a penalty, and whose meta-gradient is that of its solution (algorithm 1, eq. 4, 6).

    theta' = argmin_w  L(w; support) + lam/2 |w - theta|^2,      (I + H/lam) g = grad L(theta'; query),

    with H the Hessian of the support loss (a mean over points, as everywhere here) at theta', and g the meta-gradient.
    It is exact where theta' and g are: check with more steps. Memory does not grow with the steps. As lam grows, g
    becomes the query gradient at theta itself, as in joint training; the difference from one MAML step at the rate
    1 / lam is of order 1 / lam^2, that from first-order MAML of order 1 / lam.

    The paper's published code does something else: its inner steps are free of the penalty, followed by one step of
    the penalty alone, and its system is (2 I + H / (lam + 10)) g = grad L.

    Args:
        network: as for `MAML`.
        lr: of the inner steps; it must be below 2 / (lam + the largest curvature).
        lam: strength of the penalty; 2 in the paper's table on Omniglot.
        steps: inner steps towards the solution; 16 for 5-way tasks there.
        cg_steps: of conjugate gradient; 5 there.
        damping: added to the Hessian in the system.
        options: as for `MAML`, but for `implicit`, `proximal` and what differentiates steps.

    >>> import quickstudy as qs
    >>> learner = qs.iMAML(qs.nets.MLP(1, [40, 40], 1), lr=0.02)
    >>> learner.meta_loss(qs.tasks.Sinusoid().sample(25, support=10, query=10)).backward()
    """
    for name, instead in (("implicit", "cg_steps= and damping="), ("proximal", "lam=")):
        if name in options:
            raise TypeError(f"iMAML has {instead} for {name}=; for all of its options, use MAML(network, {name}=...)")
    check_whole("cg_steps", cg_steps)
    options["proximal"] = check_positive("lam", lam)
    options["implicit"] = Implicit(solver="cg", iterations=cg_steps, damping=damping)
    return MAML(network, lr=lr, steps=steps, **options)

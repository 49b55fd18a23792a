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
    """MAML with a penalty in the inner problem, whose solution is differentiated implicitly (algorithm 1, eq. 4, 6).

    theta' = argmin_w  L(w; support) + lam/2 |w - theta|^2,      (I + H/lam) g = grad L(theta'; query),

    with H the Hessian of the support loss (a mean over points) at theta', and g the meta-gradient. It is exact if the
    inner problem and the linear system are solved exactly; check by taking more steps. Memory does not grow with the
    number of steps. As lam grows, g approaches the query gradient at theta itself, as in joint training. It differs
    from the meta-gradient of one MAML step at rate 1 / lam by order 1 / lam^2, and from first-order MAML by 1 / lam.

    The paper's published code differs from its equations: inner steps without the penalty, then one step on the penalty
    alone, and the linear system (2 I + H / (lam + 10)) g = grad L.

    Args:
        network: as for `MAML`.
        lr: inner learning rate; steps diverge unless it is below 2 / (lam + the largest eigenvalue of H).
        lam: strength of the penalty; 2 in the paper's Omniglot experiments.
        steps: inner steps towards the solution; 16 in the paper for 5-way tasks.
        cg_steps: iterations of conjugate gradient; 5 in the paper.
        damping: a number added to the diagonal of the Hessian in the linear system.
        options: as for `MAML`, except `implicit`, `proximal` and the options for differentiating steps
            (`first_order`, `checkpoint`, `mixed_mode`, `truncate`).

    >>> import quickstudy as qs
    >>> learner = qs.iMAML(qs.nets.MLP(1, [40, 40], 1), lr=0.02)
    >>> learner.meta_loss(qs.tasks.Sinusoid().sample(25, support=10, query=10)).backward()
    """
    for name, instead in (("implicit", "cg_steps= and damping="), ("proximal", "lam=")):
        if name in options:
            raise TypeError(f"iMAML takes {instead} in place of {name}=; to choose more, use MAML(network, {name}=...)")
    check_whole("cg_steps", cg_steps)
    options["proximal"] = check_positive("lam", lam)
    options["implicit"] = Implicit(solver="cg", iterations=cg_steps, damping=damping)
    return MAML(network, lr=lr, steps=steps, **options)

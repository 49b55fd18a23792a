"""Properties of a learner's beliefs: quantiles, intervals and distribution functions.

The contract is in docs/design.md, "The public contract".
"""

from typing import Any

import torch
from torch import Tensor

from quickstudy.testing.checks import skip
from quickstudy.testing.comparing import expect, expect_close, expect_shape
from quickstudy.testing.learner_case import LearnerCase

LEVELS = (0.001, 0.1, 0.5, 0.8, 0.999)
DRAWS = 2000


def quantiles_invert_the_distribution_function(case: LearnerCase) -> None:
    """`quantile`, `interval` and `cdf` are about one distribution (docs/design.md, Predictive)."""
    tasks = case.tasks()
    belief: Any = case.adapt(case.learner(), tasks.support)(tasks.query.x)
    if not hasattr(belief, "quantile"):
        skip("its predictions have no quantile, which is allowed")
    try:
        found = torch.stack([belief.quantile(p) for p in LEVELS])
    except NotImplementedError as error:
        skip(f"its predictions have no quantile: {error}")
    expect_shape(found[0], belief.mean.shape, "quantile(0.1)")
    together = belief.quantile(torch.tensor(LEVELS))
    expect_close(together, found, "quantile(p) of several p is not that of each", "add an axis for p in front")
    expect((found.diff(dim=0) >= 0).all(), "quantile(p) falls as p grows")
    interval = belief.interval(0.8)
    cure = "interval(level) holds the quantiles at (1 - level) / 2 and (1 + level) / 2"
    expect_close(interval.lower, belief.quantile(0.1), "interval(0.8).lower is not quantile(0.1)", cure)
    expect_close(interval.upper, belief.quantile(0.9), "interval(0.8).upper is not quantile(0.9)", cure)
    if hasattr(belief, "cdf"):
        _check_inverse(belief, found)
    if hasattr(belief, "rescale") and not _discrete(belief):
        _check_units(belief)
    _check_draws(case, case.adapt(case.learner(), tasks.support)(tasks.query.x[:, :1]))


def _discrete(belief: Any) -> bool:
    return getattr(belief, "discrete", False)


def _check_inverse(belief: Any, found: Tensor) -> None:
    for p, y in zip(LEVELS, found, strict=True):
        below, wanted = belief.cdf(y), torch.full_like(y, p)
        if _discrete(belief):
            expect((below >= wanted - 1e-6).all(), f"cdf(quantile({p})) is below {p}, though outcomes are discrete")
            expect(
                (belief.cdf(y - 1) < wanted + 1e-6).all(), f"quantile({p}) is not the smallest outcome: 1 less will do"
            )
        else:
            cure = "quantile is the inverse of cdf, for each output by itself; in units of y, noise included"
            expect_close(below, wanted, f"cdf(quantile({p})) is not {p}", cure)


def _check_units(belief: Any) -> None:
    """An axis that is turned around turns the quantiles around."""
    turned = belief.rescale(1.0, -2.0)
    cure = "a negative scale turns the distribution around: the quantile at p becomes that at 1 - p"
    what = "rescale(1, -2).quantile(0.2) is not 1 - 2 quantile(0.8)"
    expect_close(turned.quantile(0.2), 1 - 2 * belief.quantile(0.8), what, cure)


def _check_draws(case: LearnerCase, belief: Any) -> None:
    """The share of draws up to a quantile, at a single point, where joint draws are draws of the point by itself."""
    draws = belief.sample(DRAWS, case.generator(0)).detach()
    for p in LEVELS:
        y = belief.quantile(p).detach()
        share = (draws <= y).to(y).mean(0)
        low, high = (p, 1.0) if _discrete(belief) else (p, p)
        error = 6 * (p * (1 - p) / DRAWS) ** 0.5 + 1 / DRAWS  # 6 standard errors of a share
        wrong = torch.maximum(low - share, share - high).max().item()
        cure = "quantile(p) is that of sample(n), observation noise included"
        expect(wrong <= error, f"the share of draws up to quantile({p}) is off by {wrong:.3g}", cure)

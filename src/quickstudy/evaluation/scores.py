"""Scores of predictive distributions, one number per task: error, likelihood, coverage, accuracy."""

from typing import Any

import torch
from torch import Tensor

from quickstudy.data import Examples, at_least_float32, mean_over_positions
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.predictive import NoDensityError

LEVELS = tuple(k / 10 for k in range(1, 10))  # of the central intervals on which calibration is judged


def scores(belief: Any, query: Examples) -> dict[str, Tensor]:
    """Each task's mean over its real query points, `[T]` (`calibration_error`: the coverage at each level, `[T, 9]`).

    Args:
        belief: a `Predictive` at `query.x`. One without a density has `mse` only, one of classes `accuracy` (of a point
            with many positions the share that is right) and `log_likelihood`.

    Raises:
        ValueError: for a belief about outcomes of another shape, as where a `loss=` of one's own reads outputs that are
            no outcomes.
    """
    clean = query.clean()
    if not clean.y.is_floating_point():
        log_prob = belief.log_prob(clean.y, query.mask)  # raises ValueError for labels of another shape
        right = (belief.logits.argmax(2) == clean.y).to(belief.logits.dtype)
        return {
            "accuracy": task_mean(mean_over_positions(right, clean.y, 2), query.mask),
            "log_likelihood": task_mean(log_prob, query.mask),
        }
    _check_shape(belief.mean, clean.y)
    found = {"mse": task_mean((belief.mean - clean.y).square().flatten(2).mean(2), query.mask)}
    try:
        found["log_likelihood"] = task_mean(belief.log_prob(clean.y, query.mask), query.mask)
    except NoDensityError:
        return found
    found["joint_log_likelihood"] = belief.log_prob(clean.y, query.mask, joint=True) / query.sizes().clamp_min(1)
    if hasattr(belief, "cdf"):
        off_centre = 2 * (belief.cdf(clean.y) - 0.5).abs()  # below p: inside the central interval of probability p
        below = [task_mean((off_centre <= p).to(clean.y).flatten(2).mean(2), query.mask) for p in (0.9, *LEVELS)]
        found["coverage90"], found["calibration_error"] = below[0], torch.stack(below[1:], -1)
    return found


def _check_shape(mean: Tensor, y: Tensor) -> None:
    if mean.shape != y.shape:
        raise ValueError(
            f"the learner predicts means of shape {list(mean.shape)} for outcomes y of shape {list(y.shape)}; expected "
            "the same: let the network map [N, *dx] to [N, *dy], or give likelihood= in place of loss=, with a "
            "predictive() that reads its outputs"
        )


def oracle_scores(info: dict[str, Any], query: Examples) -> dict[str, Tensor]:
    """The likelihoods of the family's oracle, in the units of `scores`."""
    found = {}
    if "oracle_log_prob" in info:
        found["oracle_log_likelihood"] = task_mean(info["oracle_log_prob"], query.mask)
    if "oracle_joint_log_prob" in info:
        found["oracle_joint_log_likelihood"] = info["oracle_joint_log_prob"] / query.sizes().clamp_min(1)
    return found


def task_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of `values [T, M]` over each task's real points, `[T]`, in at least float32."""
    wide = values.to(at_least_float32(values))
    if mask is None:
        return wide.mean(1)
    return torch.where(mask, wide, torch.zeros_like(wide)).sum(1) / mask.sum(1).clamp_min(1)


def calibration_error(coverage: Tensor) -> Metric:
    """How far the coverage of central intervals is from their nominal 10%, 20%, ... 90%, on average.

    The coverage is first averaged over tasks, since that of one task's few points is off by chance alone. The
    interval is the jackknife's (leaving out one task at a time), and `values` are its pseudo-values.

    Args:
        coverage: of each task at each level, `[T, 9]`.
    """
    coverage = coverage.detach().to("cpu", torch.float64)
    n, nominal = len(coverage), torch.tensor(LEVELS, dtype=torch.float64)
    whole = (coverage.mean(0) - nominal).abs().mean()
    if n == 1:
        return over_tasks(whole[None])
    without = (coverage.sum(0) - coverage) / (n - 1)
    pseudo = n * whole - (n - 1) * (without - nominal).abs().mean(1)
    return over_tasks(pseudo)._replace(mean=whole.item())

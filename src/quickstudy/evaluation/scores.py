"""Scores of predictive distributions, one number per task: error, likelihood, coverage, accuracy."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from quickstudy.data import Examples, at_least_float32, mean_over_positions
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.predictive import NoDensityError

LEVELS = tuple(k / 10 for k in range(1, 10))  # probabilities of the central intervals in `calibration_error`


def scores(belief: Any, query: Examples) -> dict[str, Tensor]:
    """Return the mean of each score over the real query points of each task, `[T]`.

    `calibration_error` is the coverage at each level instead, `[T, 9]`; see the function of that name.

    Args:
        belief: a `Predictive` at `query.x`. Without a density it has only `mse`; for classes it has `accuracy` (of a
            point with many positions, the share of right ones), `log_likelihood`, and `joint_log_likelihood` if a point
            has one label. If it is one about partly observed
            outcomes, outputs that are missing, and points of which all are, do not count.
        query: the query points.

    Raises:
        ValueError: if the shapes of predictions and outcomes differ, for example if a user's own `loss=` takes outputs
            that are not predictions of `y`.
    """
    clean = query.clean()
    if not clean.y.is_floating_point():
        log_prob = belief.log_prob(clean.y, query.mask)  # raises ValueError for labels of another shape
        right = (belief.logits.argmax(2) == clean.y).to(belief.logits.dtype)
        found = {
            "accuracy": task_mean(mean_over_positions(right, clean.y, 2), query.mask),
            "log_likelihood": task_mean(log_prob, query.mask),
        }
        if clean.y.dim() == 2:  # with positions, a joint density counts each, and that of a point is their mean
            joint = belief.log_prob(clean.y, query.mask, joint=True)
            found["joint_log_likelihood"] = joint / query.sizes().clamp_min(1)
        return found
    _check_shape(belief.mean, clean.y)
    observed = None
    if hasattr(belief, "observed"):
        observed = belief.observed(clean.y)
        query = query._replace(mask=query.real() & observed.any(2))
    found = {"mse": task_mean(_of_points((belief.mean - clean.y).square(), observed), query.mask)}
    try:
        found["log_likelihood"] = task_mean(belief.log_prob(clean.y, query.mask), query.mask)
    except NoDensityError:
        return found
    found["joint_log_likelihood"] = belief.log_prob(clean.y, query.mask, joint=True) / query.sizes().clamp_min(1)
    if hasattr(belief, "cdf"):
        inside = _insides(belief, clean.y)
        shares = (_of_points(inside(p), observed) for p in (0.9, *LEVELS))
        below = [task_mean(share, query.mask) for share in shares]
        found["coverage90"], found["calibration_error"] = below[0], torch.stack(below[1:], -1)
    return found


def _insides(belief: Any, y: Tensor) -> Callable[[float], Tensor]:
    """A function of p: whether each output lies in its central interval of probability p, as 1 or 0.

    For whole numbers it is the share of the distribution function's step at `y` that lies there. Of counts drawn from
    the belief, this has mean p, while an interval with whole ends has more (Czado, Gneiting and Held 2009,
    doi:10.1111/j.1541-0420.2009.01191.x, section 3).
    """
    upto = belief.cdf(y)
    if not getattr(belief, "discrete", False):
        off_centre = 2 * (upto - 0.5).abs()
        return lambda p: (off_centre <= p).to(y)
    before = belief.cdf(y - 1)
    step = upto - before

    def inside(p: float) -> Tensor:
        low, high = (1 - p) / 2, (1 + p) / 2
        share = (upto.clamp(low, high) - before.clamp(low, high)) / step.clamp_min(torch.finfo(step.dtype).tiny)
        return torch.where(step > 0, share, ((upto >= low) & (upto <= high)).to(share)).to(y)

    return inside


def _of_points(outputs: Tensor, observed: Tensor | None) -> Tensor:
    """The mean over the outputs `[T, M, *dy]` of each point, or over those that were observed (0 if none was)."""
    if observed is None:
        return outputs.flatten(2).mean(2)
    return torch.where(observed, outputs, 0).sum(2) / observed.sum(2).clamp_min(1)


def _check_shape(mean: Tensor, y: Tensor) -> None:
    if mean.shape != y.shape:
        raise ValueError(
            f"the learner predicts means of shape {list(mean.shape)} for outcomes y of shape {list(y.shape)}; expected "
            "the same: let the network map [N, *dx] to [N, *dy], or give likelihood= in place of loss=, with a "
            "predictive() that reads its outputs"
        )


def oracle_scores(info: dict[str, Any], query: Examples) -> dict[str, Tensor]:
    """Return the likelihoods of the family's oracle, in the units of `scores`."""
    found = {}
    if "oracle_log_prob" in info:
        found["oracle_log_likelihood"] = task_mean(info["oracle_log_prob"], query.mask)
    if "oracle_joint_log_prob" in info:
        found["oracle_joint_log_likelihood"] = info["oracle_joint_log_prob"] / query.sizes().clamp_min(1)
    return found


def task_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of `values [T, M]` over each task's real points, `[T]`, in at least float32."""
    wide = values.to(at_least_float32(values))
    if mask is None:
        return wide.mean(1)
    return torch.where(mask, wide, torch.zeros_like(wide)).sum(1) / mask.sum(1).clamp_min(1)


def calibration_error(coverage: Tensor) -> Metric:
    """Return the mean distance of the coverage of central intervals from their nominal 10%, 20%, ... 90%.

    The coverage is first averaged over tasks, as that of one task's few points differs from the nominal one by chance.
    The interval is the jackknife's (leaving out one task at a time), and `values` are its pseudo-values.

    Args:
        coverage: coverage of each task at each level, `[T, 9]`.
    """
    coverage = coverage.detach().to("cpu", torch.float64)
    n, nominal = len(coverage), torch.tensor(LEVELS, dtype=torch.float64)
    whole = (coverage.mean(0) - nominal).abs().mean()
    if n == 1:
        return over_tasks(whole[None])
    without = (coverage.sum(0) - coverage) / (n - 1)
    pseudo = n * whole - (n - 1) * (without - nominal).abs().mean(1)
    return over_tasks(pseudo)._replace(mean=whole.item())

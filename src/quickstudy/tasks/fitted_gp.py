"""A Gaussian process fitted to every task by itself: the baseline without meta-learning."""

import math

import torch
from torch import Tensor

from quickstudy.checks import check_whole
from quickstudy.checks.memory import check_memory
from quickstudy.data import Examples
from quickstudy.predictive.outcomes import LOG_2PI
from quickstudy.predictive.parts.covariance import cholesky
from quickstudy.tasks.exact_gp import ExactGP, check_real_outputs
from quickstudy.tasks.kernels import covariance
from quickstudy.tasks.sampling import as_range, bounds

_COARSE = 13  # points along each axis of the first grid
_ROUNDS = 22  # halvings of the step around the best point, for log-parameters precise to 1e-6


def fit_gp(
    support: Examples,
    *,
    lengthscale: tuple[float, float] = (0.05, 20.0),
    scale: tuple[float, float] = (0.01, 100.0),
    noise: tuple[float, float] = (1e-3, 10.0),
    shared: bool = False,
    fitted_to: int = 500,
) -> ExactGP:
    """Fit a constant mean, an RBF kernel and noise to each task by itself, by maximum marginal likelihood.

    Fitted to a few points, its predictions are often far too confident, as the likelihood then has its maximum where
    the noise or the length scale is extreme. With `shared=True` one set of hyperparameters is fitted to all tasks
    together (empirical Bayes): fit it to training tasks, and condition on other tasks by
    `ExactGP(support, {k: v[:1] for k, v in fitted.info.items()})`.

    The best mean and scale have a closed form given the other two parameters (Rasmussen and Williams 2006, section
    2.7). These are found by a coarse grid over their whole range, and then by finer and finer grids around the best
    point. There are no random restarts, and tasks do not influence each other.

    Args:
        support: examples with real outputs `[T, N, dy]`, which share one kernel; at least one real point in each task.
        lengthscale: limits of the length scale, in units of x.
        scale: limits of the function's standard deviation, in units of y.
        noise: limits of the noise's standard deviation, as a multiple of the scale.
        shared: fit one mean, scale, length scale and noise to all tasks; `info` repeats them for each task.
        fitted_to: largest number of points of a task to which hyperparameters are fitted; of more points, a random
            choice from a fixed seed. The time is cubic in it. The posterior is given all points.

    Returns:
        The posterior, with the fitted hyperparameters in its `info` (lengthscale, scale, noise, mean).

    Raises:
        ValueError: for a task without points, empty limits, examples that break the contract, and more points than fit
            into the memory.

    >>> x = torch.linspace(-1, 1, 6).view(1, 6, 1)
    >>> gp = fit_gp(Examples(x, 2 + x.square()))
    >>> bool((gp(x).mean - (2 + x.square())).abs().max() < 0.05)
    True
    """
    check_real_outputs(support)
    limits = {"lengthscale": lengthscale, "scale": scale, "noise": noise}
    lows, highs = zip(*(_log_limits(k, v) for k, v in limits.items()), strict=True)
    sizes = support.sizes()
    if support.num_points == 0 or bool((sizes == 0).any()):
        raise ValueError(f"task {int(sizes.argmin())} has no support point to fit a Gaussian process to")
    check_memory(
        4 * 8 * support.num_tasks * support.num_points**2,
        f"a Gaussian process on {support.num_points:,} points of each of {support.num_tasks} tasks",
        "give it a part of the points, or fewer tasks at a time",
    )
    few = thinned(support, check_whole("fitted_to", fitted_to, 1))
    low = support.x.new_tensor((lows[0], lows[2]), dtype=torch.float64)
    high = support.x.new_tensor((highs[0], highs[2]), dtype=torch.float64)
    best, likelihood = (low + high).div(2).repeat(support.num_tasks, 1), None
    step = (high - low) / (_COARSE - 1)
    for reach in (_COARSE // 2, *[2] * _ROUNDS):
        centre = best
        for shift in torch.cartesian_prod(*[torch.arange(-reach, reach + 1, device=low.device)] * 2):
            candidate = torch.clamp(centre + shift * step, low, high)
            value, _ = _profile(few, candidate, (lows[1], highs[1]), shared)
            if likelihood is None:
                best, likelihood = candidate, value
            else:
                better = value > likelihood
                best = torch.where(better.unsqueeze(1), candidate, best)
                likelihood = torch.where(better, value, likelihood)
        step = step / 2
    return ExactGP(support, _profile(few, best, (lows[1], highs[1]), shared)[1])


def thinned(examples: Examples, rows: int) -> Examples:
    """At most `rows` real points of every task: all of them, or a random choice in their order, from a fixed seed.

    >>> thinned(Examples(torch.arange(5.0).view(1, 5, 1), torch.zeros(1, 5, 1)), 3).x.shape
    torch.Size([1, 3, 1])
    """
    if examples.num_points <= rows:
        return examples
    real, chance = examples.real(), torch.Generator().manual_seed(0)
    keys = torch.rand(real.shape, generator=chance).to(real.device)
    kept = torch.where(real, keys, 2.0).argsort(1)[:, :rows]
    kept = torch.where(real.gather(1, kept), kept, examples.num_points - 1).sort(1).values  # padding comes last
    task = torch.arange(examples.num_tasks, device=kept.device)[:, None]
    few = torch.arange(rows, device=kept.device) < examples.sizes()[:, None]
    return Examples(examples.x[task, kept], examples.y[task, kept], None if bool(few.all()) else few)


def _log_limits(name: str, value: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds(as_range(name, value, above=0))
    return math.log(low), math.log(high)


def _profile(
    support: Examples, logs: Tensor, scale: tuple[float, float], shared: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """The log marginal likelihood `[T]` at log length scale and log relative noise `[T, 2]`, and all hyperparameters.

    Mean and scale are the best for these two: the generalised least-squares mean, and the root mean square of the
    whitened residuals.
    """
    clean, real = support.clean(), support.real()
    x, y, outputs = clean.x.double(), clean.y.double(), support.y.shape[2]
    length, ratio = logs.exp().unbind(1)
    correlation = covariance("rbf", x, x, {"lengthscale": length, "scale": torch.ones_like(length)})
    eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    both = real.unsqueeze(1) & real.unsqueeze(2)
    factor = cholesky(torch.where(both, correlation + ratio.square().view(-1, 1, 1) * eye, eye))
    white = torch.linalg.solve_triangular(factor, torch.cat([real.unsqueeze(2).double(), y], 2), upper=False)
    ones, y = white[:, :, :1], white[:, :, 1:]

    def pool(values: Tensor) -> Tensor:
        return values.sum(0, keepdim=True).expand_as(values) if shared else values

    mean = pool((ones * y).sum(1)) / pool(ones.square().sum(1))
    square = pool((y - ones * mean.unsqueeze(1)).square().sum((1, 2)))
    count = pool(real.sum(1) * outputs)
    variance = (square / count).clamp(math.exp(2 * scale[0]), math.exp(2 * scale[1]))
    log_det = pool(outputs * factor.diagonal(dim1=1, dim2=2).log().sum(1))
    likelihood = -0.5 * (square / variance + count * (variance.log() + LOG_2PI)) - log_det
    size = variance.sqrt()
    return likelihood, {"lengthscale": length, "scale": size, "noise": ratio * size, "mean": mean}

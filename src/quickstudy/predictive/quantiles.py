"""Quantiles and distribution functions: their arguments, and those of normal distributions and of their mixtures."""

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from quickstudy.checks import shown
from quickstudy.data import at_least_float32
from quickstudy.learner import Interval
from quickstudy.predictive.parts.bisection import smallest
from quickstudy.tracing import values_are_readable

Probability = float | Sequence[float] | Tensor  # one, or several on one axis


class NoQuantileError(NotImplementedError, AttributeError):
    """Raised where outcomes have no quantile. As it is an AttributeError, `hasattr(belief, "quantile")` is False."""


def no_quantile(why: str) -> NoReturn:
    """Raise NoQuantileError."""
    raise NoQuantileError(why)


def probabilities(p: Any, like: Tensor, name: str = "p") -> Tensor:
    """`p` in float64 on the device of `like`: `[]`, or `[P, 1, ...]` with one more axis than `like`.

    Raises:
        TypeError: if `p` is neither a number nor a sequence, an array or a tensor of numbers.
        ValueError: if a number is not from 0 to 1, or `p` has more than one axis.

    >>> probabilities([0.1, 0.9], torch.zeros(3, 4)).shape
    torch.Size([2, 1, 1])
    """
    expected = "expected a probability from 0 to 1, such as 0.9, or a sequence of them"
    try:
        found = torch.as_tensor(p, device=None if isinstance(p, Tensor) else "cpu")
    except (TypeError, ValueError, RuntimeError):
        found = torch.empty(0, dtype=torch.bool)
    if isinstance(p, str) or found.dtype == torch.bool or found.is_complex():
        raise TypeError(f"{name}={shown(p)}; {expected}")
    if not isinstance(p, Tensor):
        found = torch.as_tensor(p, dtype=torch.float64, device="cpu")  # a Python number keeps its digits
    if found.dim() > 1:
        raise ValueError(f"{name} has shape {list(found.shape)}; {expected}, with one axis")
    if values_are_readable(found):
        for wrong in found[~((found >= 0) & (found <= 1))].flatten()[:1].tolist():
            percent = f"; a percentage is divided by 100, {wrong / 100:g}" if 1 < wrong <= 100 else ""
            raise ValueError(f"{name}={wrong:g}; {expected}{percent}")
    return found.to(like.device, torch.float64).reshape(found.shape + (1,) * (like.dim() * found.dim()))


def central(quantile: Callable[[Any], Tensor], level: Any, like: Tensor) -> Interval:
    """The quantiles at (1 - level) / 2 and (1 + level) / 2.

    Args:
        quantile: the belief's own.
        level: the probability of the interval, or several.
        like: a tensor on the belief's device.
    """
    level = probabilities(level, like.new_zeros(()), "level")
    return Interval(quantile((1 - level) / 2), quantile((1 + level) / 2))


def outcomes(y: Any, like: Tensor) -> Tensor:
    """`y`, a number or a tensor shaped as `like`, which may have more axes in front. Raises TypeError or ValueError."""
    if isinstance(y, Real) and not isinstance(y, bool):
        return torch.full_like(like, float(y))
    if not isinstance(y, Tensor):
        raise TypeError(f"y must be a torch.Tensor or a number, not {type(y).__name__}; use torch.as_tensor(...)")
    if y.dim() and y.shape[max(0, y.dim() - like.dim()) :] != like.shape:
        raise ValueError(f"y has shape {list(y.shape)}; this prediction expects {list(like.shape)}")
    return y if y.dim() else y.expand_as(like)


def standard_cdf(z: Tensor) -> Tensor:
    """The probability that a standard normal number is below `z`; exact also where it is tiny.

    (`torch.special.ndtr` is 1 plus an error function, and loses the digits of small probabilities.)

    >>> f"{standard_cdf(torch.tensor(-8.0, dtype=torch.float64)).item():.4g}"
    '6.221e-16'
    """
    return 0.5 * torch.special.erfc(z * -math.sqrt(0.5))


def deviation(variance: Tensor) -> Tensor:
    """The standard deviation in at least float32; of 0 a tiny number, so that no quotient and no gradient is NaN."""
    wide = variance.to(at_least_float32(variance))
    least = wide.clamp_min(torch.finfo(wide.dtype).tiny).sqrt()
    return torch.where(wide < 0, torch.nan, least)


def normal_cdf(y: Any, mean: Tensor, variance: Tensor) -> Tensor:
    """The probability of an outcome below `y`, for independent normal outputs; 0.5 at the mean of variance 0."""
    return below(outcomes(y, mean), mean, variance)


def below(y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """`normal_cdf` of tensors that broadcast, computed in at least float32."""
    gap = y - mean
    return standard_cdf(gap.to(at_least_float32(gap)) / deviation(variance)).to(gap)


def normal_quantile(p: Probability, mean: Tensor, variance: Tensor) -> Tensor:
    """mean + sd z_p, with z_p the standard normal quantile, computed in float64; -inf at 0 and inf at 1.

    >>> normal_quantile([0.025, 0.975], torch.zeros(1), torch.ones(1)).flatten()
    tensor([-1.9600,  1.9600])
    """
    wide = at_least_float32(mean)
    z = torch.special.ndtri(probabilities(p, mean))
    return (mean.to(wide) + deviation(variance) * z.to(wide)).to(mean)


def mixture_quantile(p: Probability, weights: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """The smallest number at which a mixture of normal distributions has reached the probability `p`, by bisection.

    The bracket is the smallest and the largest quantile of the components: there the distribution function of each of
    them, and so their mean, is at most and at least `p`. It is evaluated in float64 as a sum of small tails; above
    p = 0.5 from the other side, so that probabilities near 1 keep their digits. Derivatives are those of the implicit
    function, up to the third.

    Args:
        p: see `probabilities`.
        weights: of the components, adding up to 1; broadcast to `[T, M, *dy, S]`.
        means: `[T, M, *dy, S]`.
        variances: as `means`.

    >>> even, means = torch.full((2,), 0.5), torch.tensor([[-3.0, 3.0]])
    >>> mixture_quantile([0.1, 0.9], even, means, torch.ones(1, 2)).flatten()
    tensor([-3.8416,  3.8416])
    """
    kind, levels = at_least_float32(means), probabilities(p, means[..., 0])
    mixture = _Mixture(levels, weights.double(), means.double(), deviation(variances.double()))
    with torch.no_grad():
        parts = mixture.means + mixture.sds * torch.special.ndtri(levels).unsqueeze(-1)
        found = smallest(lambda y: mixture.excess(y.double()) >= 0, parts.amin(-1).to(kind), parts.amax(-1).to(kind))
    if torch.is_grad_enabled() and any(part.requires_grad for part in mixture):
        found = mixture.followed(found)
    return found.to(means)


class _Mixture(NamedTuple):
    """A mixture of normal distributions, and the probabilities at which its quantiles are wanted."""

    levels: Tensor  # [], or [P, 1, ...]
    weights: Tensor  # [..., S]
    means: Tensor
    sds: Tensor

    def excess(self, y: Tensor) -> Tensor:
        """The distribution function at `y`, minus the level."""
        above = self.levels > 0.5
        side, level = torch.where(above, -1.0, 1.0), torch.where(above, 1 - self.levels, self.levels)
        white = side.unsqueeze(-1) * self._white(y)
        over = white > 0  # such a component is there whole, but for a small tail
        tails = torch.where(over, -1.0, 1.0) * standard_cdf(torch.where(over, -white, white))
        return side * ((self.weights * over).sum(-1) - level + (self.weights * tails).sum(-1))

    def followed(self, y: Tensor) -> Tensor:
        """`y`, with derivatives: those of two steps of Newton's method, which begin at the solution."""
        finite = y.isfinite()
        step = start = torch.where(finite, y, 0.0).double()
        for _ in range(2):
            density = (self.weights * torch.exp(-0.5 * self._white(step).square()) / self.sds).sum(-1)
            density = density / math.sqrt(2 * math.pi)
            flat = density < 1e-290
            step = step - torch.where(flat, 0.0, self.excess(step)) / torch.where(flat, 1.0, density)
        return torch.where(finite, (start + (step - step.detach())).to(y), y)

    def _white(self, y: Tensor) -> Tensor:
        return (y.unsqueeze(-1) - self.means) / self.sds

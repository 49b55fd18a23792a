"""What a predictor believes about the outputs at `M` query points of `T` tasks.

Every class here is a `Predictive` (see `quickstudy.learner`): `mean`, `variance`, `sample`, `log_prob`, and
`rescale` to other units. Those with a density also have `cdf`, on which calibration stands.
All are NamedTuples, so `torch.func` and `tree_map` take them as they are.
"""

import math
from typing import NamedTuple, NoReturn

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quickstudy.data import IGNORED, aligned, at_least_float32, mean_over_positions, zero_padding

Mask = Tensor | None  # bool [T, M]; its shape is checked with that of y
LOG_2PI = math.log(2 * math.pi)


class NoDensityError(NotImplementedError):
    """A squared-error learner was asked for a density."""


class Point(NamedTuple):
    """A prediction without a density, as a squared-error learner makes it.

    Args:
        mean: `[T, M, *dy]`.

    Raises:
        NoDensityError: from `variance`, `sample`, `log_prob` and `cdf`.
    """

    mean: Float[Tensor, "T M *dy"]

    @property
    def variance(self) -> Tensor:
        """Raises NoDensityError."""
        _no_density("variance")

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Tensor:
        """Raises NoDensityError."""
        _no_density("samples")

    def log_prob(self, y: Tensor, mask: Mask = None, joint: bool = False) -> Tensor:
        """Raises NoDensityError."""
        _no_density("log_prob")

    def cdf(self, y: Tensor) -> Tensor:
        """Raises NoDensityError."""
        _no_density("cdf")

    def rescale(self, shift: Tensor | float, scale: Tensor | float) -> "Point":
        """The belief about `shift + scale * y`."""
        return Point(shift + scale * self.mean)


class Gaussian(NamedTuple):
    """Independent normal outputs; all of the variance counts as observation noise.

    Args:
        mean: `[T, M, *dy]`.
        variance: `[T, M, *dy]`, positive.

    >>> belief = Gaussian(torch.zeros(1, 2, 1), torch.ones(1, 2, 1))
    >>> belief.log_prob(torch.zeros(1, 2, 1), joint=True)
    tensor([-1.8379])
    """

    mean: Float[Tensor, "T M *dy"]
    variance: Float[Tensor, "T M *dy"]

    def sample(
        self, n: int, generator: torch.Generator | None = None, noise: bool = True
    ) -> Float[Tensor, "n T M *dy"]:
        """`n` draws; without `noise` each of them is the mean."""
        check_draws(n)
        if not noise:
            return self.mean.expand(n, *self.mean.shape).clone()
        return self.mean + self.variance.sqrt() * _normal((n, *self.mean.shape), self.mean, generator)

    def log_prob(self, y: Float[Tensor, "T M *dy"], mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` (0 where masked), or `[T]` of all points at once if `joint`."""
        check_outcome(y, self.mean, mask)
        points = _normal_log_prob(_fill(y, self.mean, mask), self.mean, self.variance).flatten(2).sum(2)
        return _reduce(points, mask, joint)

    def cdf(self, y: Float[Tensor, "T M *dy"]) -> Float[Tensor, "T M *dy"]:
        """The probability of an outcome below `y`, for each output."""
        return torch.special.ndtr((y - self.mean) / self.variance.sqrt())

    def rescale(self, shift: Tensor | float, scale: Tensor | float) -> "Gaussian":
        """The belief about `shift + scale * y`."""
        return Gaussian(shift + scale * self.mean, scale**2 * self.variance)


class GaussianMixture(NamedTuple):
    """An even mixture of `S` factorised Gaussians, one for each latent sample.

    Given its latent, the points are independent; together they are not. So
    `log_prob` of a point is log (1/S) sum_s N(y_m; s), and `joint` log (1/S) sum_s prod_m N(y_m; s).

    Args:
        means: `[S, T, M, dy]`.
        variances: `[S, T, M, dy]`, positive.
    """

    means: Float[Tensor, "S T M *dy"]
    variances: Float[Tensor, "S T M *dy"]

    @property
    def mean(self) -> Float[Tensor, "T M *dy"]:
        """The mixture's mean."""
        return self.means.mean(0)

    @property
    def variance(self) -> Float[Tensor, "T M *dy"]:
        """The mixture's variance: within the components, and between them."""
        return self.variances.mean(0) + self.means.var(0, correction=0)

    def sample(
        self, n: int, generator: torch.Generator | None = None, noise: bool = True
    ) -> Float[Tensor, "n T M *dy"]:
        """`n` draws. All points of a task in one draw share one component; without `noise`, its mean."""
        check_draws(n)
        count, tasks = self.means.shape[:2]
        pick = torch.randint(count, (n, tasks), generator=generator, device=self.means.device)
        chosen = aligned(pick, self.means).expand(n, *self.means.shape[1:])
        mean = self.means.gather(0, chosen)
        if not noise:
            return mean
        return mean + self.variances.gather(0, chosen).sqrt() * _normal(mean.shape, mean, generator)

    def log_prob(self, y: Float[Tensor, "T M *dy"], mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` (0 where masked), or `[T]` of all points at once if `joint`."""
        check_outcome(y, self.means[0], mask)
        y = _fill(y, self.mean, mask)
        points = _normal_log_prob(y, self.means, self.variances).flatten(3).sum(3)
        if joint:
            points = _reduce(points, mask, joint=True)
        mixed = points.logsumexp(0) - math.log(len(self.means))
        return mixed if joint else _reduce(mixed, mask, joint=False)

    def cdf(self, y: Float[Tensor, "T M *dy"]) -> Float[Tensor, "T M *dy"]:
        """The probability of an outcome below `y`, for each output."""
        return torch.special.ndtr((y - self.means) / self.variances.sqrt()).mean(0)

    def rescale(self, shift: Tensor | float, scale: Tensor | float) -> "GaussianMixture":
        """The belief about `shift + scale * y`."""
        return GaussianMixture(shift + scale * self.means, scale**2 * self.variances)


class DenseGaussian(NamedTuple):
    """A joint normal over the points of a task, as an exact Gaussian process gives it; outputs are independent.

    Joint densities and samples are computed in float64.

    Args:
        mean: `[T, M, dy]`.
        covariance: `[T, dy, M, M]` of the function's values, without observation noise.
        noise: `[T]`, variance of the observation noise.
    """

    mean: Float[Tensor, "T M dy"]
    covariance: Float[Tensor, "T dy M M"]
    noise: Float[Tensor, " T"]

    @property
    def variance(self) -> Float[Tensor, "T M dy"]:
        """Of an observation: the function's variance and the noise."""
        diagonal = self.covariance.diagonal(dim1=-2, dim2=-1).transpose(1, 2)
        return diagonal.clamp_min(0) + self.noise[:, None, None]

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Float[Tensor, "n T M dy"]:
        """`n` joint draws of observations; without `noise`, of the function itself."""
        check_draws(n)
        draw = _normal((n, *self.covariance.shape[:-1]), self.mean, generator)
        factor = cholesky(self._covariance(noise)).to(draw)
        return self.mean + (factor @ draw.unsqueeze(-1)).squeeze(-1).transpose(-2, -1)

    def log_prob(self, y: Float[Tensor, "T M dy"], mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` of each point alone (0 where masked), or `[T]` of all of them if `joint`."""
        check_outcome(y, self.mean, mask)
        y = _fill(y, self.mean, mask)
        if not joint:
            return _reduce(_normal_log_prob(y, self.mean, self.variance).sum(-1), mask, joint=False)
        real = torch.ones(y.shape[:2], dtype=torch.bool, device=y.device) if mask is None else mask
        factor = cholesky(alone_where_masked(self._covariance(noise=True), real.unsqueeze(1)))
        residual = (y - self.mean).double().transpose(1, 2).unsqueeze(-1)
        white = torch.linalg.solve_triangular(factor, residual, upper=False).squeeze(-1)
        steps = -0.5 * (white.square() + LOG_2PI) - factor.diagonal(dim1=-2, dim2=-1).log()  # [T, dy, M]
        return torch.where(real.unsqueeze(1), steps, 0.0).sum((1, 2)).to(at_least_float32(y - self.mean))

    def cdf(self, y: Float[Tensor, "T M dy"]) -> Float[Tensor, "T M dy"]:
        """The probability of an outcome below `y`, for each point and output alone."""
        return torch.special.ndtr((y - self.mean) / self.variance.sqrt())

    def rescale(self, shift: Tensor | float, scale: float) -> "DenseGaussian":
        """The belief about `shift + scale * y`, for one scale shared by the outputs."""
        return DenseGaussian(shift + scale * self.mean, scale**2 * self.covariance, scale**2 * self.noise)

    def _covariance(self, noise: bool) -> Tensor:
        if not noise:
            return self.covariance
        eye = torch.eye(self.mean.shape[1], dtype=self.mean.dtype, device=self.mean.device)
        return self.covariance + self.noise[:, None, None, None] * eye


class LowRankGaussian(NamedTuple):
    """A joint normal over the points of a task, as a linear model of few weights gives it; outputs are independent.

    The covariance of output d is noise_d (I + F F^T), F the factor; it is never built. Densities are computed in
    float64, in a system of size R.

    Args:
        mean: `[T, M, dy]`.
        factor: `[T, M, R]`, of the function's covariance in units of the noise.
        noise: `[T, dy]`, variance of the observation noise.

    >>> belief = LowRankGaussian(torch.zeros(1, 2, 1), torch.ones(1, 2, 1), torch.ones(1, 1))
    >>> belief.variance.flatten(), belief.log_prob(torch.zeros(1, 2, 1), joint=True)
    (tensor([2., 2.]), tensor([-2.3872]))
    """

    mean: Float[Tensor, "T M dy"]
    factor: Float[Tensor, "T M R"]
    noise: Float[Tensor, "T dy"]

    @property
    def variance(self) -> Float[Tensor, "T M dy"]:
        """Of an observation: the function's variance and the noise."""
        return (1 + self.factor.square().sum(2, keepdim=True)) * self.noise.unsqueeze(1)

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Float[Tensor, "n T M dy"]:
        """`n` joint draws of observations; without `noise`, of the function itself."""
        check_draws(n)
        tasks, points, outputs = self.mean.shape
        values = self.factor @ _normal((n, tasks, self.factor.shape[2], outputs), self.mean, generator)
        if noise:
            values = values + _normal((n, tasks, points, outputs), self.mean, generator)
        return self.mean + self.noise.sqrt().unsqueeze(1) * values

    def log_prob(self, y: Float[Tensor, "T M dy"], mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` of each point alone (0 where masked), or `[T]` of all of them if `joint`."""
        check_outcome(y, self.mean, mask)
        y = _fill(y, self.mean, mask)
        if not joint:
            return _reduce(_normal_log_prob(y, self.mean, self.variance).sum(-1), mask, joint=False)
        factor, noise = self.factor.double(), self.noise.double()
        residual = (y - self.mean).double() / noise.sqrt().unsqueeze(1)
        count = torch.full((len(y),), float(y.shape[1]), dtype=factor.dtype, device=y.device)
        if mask is not None:  # a point without factor and residual adds nothing
            factor, residual = (torch.where(mask.unsqueeze(2), part, 0.0) for part in (factor, residual))
            count = mask.sum(1).to(factor)
        root = cholesky(factor.mT @ factor + torch.eye(factor.shape[2], dtype=factor.dtype, device=y.device))
        # r^T (I + F F^T)^-1 r = min_z |r - F z|^2 + |z|^2, in which nothing cancels
        z = torch.cholesky_solve(factor.mT @ residual, root)
        squares = (residual - factor @ z).square().sum((1, 2)) + z.square().sum((1, 2))
        log_det = 2 * y.shape[2] * root.diagonal(dim1=1, dim2=2).log().sum(1) + count * noise.log().sum(1)
        return (-0.5 * (squares + log_det + LOG_2PI * count * y.shape[2])).to(at_least_float32(y))

    def cdf(self, y: Float[Tensor, "T M dy"]) -> Float[Tensor, "T M dy"]:
        """The probability of an outcome below `y`, for each point and output alone."""
        return torch.special.ndtr((y - self.mean) / self.variance.sqrt())

    def rescale(self, shift: Tensor | float, scale: Tensor | float) -> "LowRankGaussian":
        """The belief about `shift + scale * y`; `scale` is a number, or one for each output."""
        return LowRankGaussian(shift + scale * self.mean, self.factor, scale**2 * self.noise)


class Categorical(NamedTuple):
    """Class probabilities, of one label a point or of one at each of its positions (pixels, places in a sequence).

    Classes are on the third axis, behind tasks and points, as torch has them. Positions are independent given the
    logits. `mean` and `variance` are those of the one-hot outcome.

    Args:
        logits: `[T, M, C, *positions]`, unnormalised log-probabilities of `C` classes.

    >>> belief = Categorical(torch.zeros(1, 2, 3, 4, 4))
    >>> belief.sample(5).shape, belief.log_prob(torch.zeros(1, 2, 4, 4, dtype=torch.long))
    (torch.Size([5, 1, 2, 4, 4]), tensor([[-1.0986, -1.0986]]))
    """

    logits: Float[Tensor, "T M C *positions"]

    @property
    def probs(self) -> Float[Tensor, "T M C *positions"]:
        """Class probabilities."""
        return self.logits.softmax(2)

    @property
    def mean(self) -> Float[Tensor, "T M C *positions"]:
        """The expected one-hot outcome: `probs`."""
        return self.probs

    @property
    def variance(self) -> Float[Tensor, "T M C *positions"]:
        """Of the one-hot outcome: p (1 - p)."""
        return self.probs * (1 - self.probs)

    def sample(
        self, n: int, generator: torch.Generator | None = None, noise: bool = True
    ) -> Int[Tensor, "n T M *positions"]:
        """`n` draws of labels, shaped as `y` is; without `noise`, the likeliest label each time."""
        check_draws(n)
        likeliest = self.logits.argmax(2)
        if not noise:
            return likeliest.expand(n, *likeliest.shape).clone()
        rows = self.probs.movedim(2, -1).flatten(0, -2)
        drawn = torch.multinomial(rows, n, replacement=True, generator=generator)
        return drawn.T.reshape(n, *likeliest.shape)

    def log_prob(self, y: Int[Tensor, "T M *positions"], mask: Mask = None, joint: bool = False) -> Tensor:
        """Log probability of each point `[T, M]`, 0 where masked: the *mean* over its positions, minus the loss.

        Args:
            y: labels; a position labelled -100 does not count.
            mask: True for a real point.
            joint: instead `[T]`, the log probability of all labels at once, which *adds up* points and positions.
        """
        check_outcome(y, self.logits[:, :, 0], mask)
        if y.is_floating_point():
            raise TypeError(f"y is {y.dtype}; class labels are integers [T, M, *positions]: use y.long()")
        y = (y if mask is None else zero_padding(y, mask)).long()
        counted = y != IGNORED
        each = self.logits.log_softmax(2).gather(2, torch.where(counted, y, 0).unsqueeze(2)).squeeze(2)
        each = torch.where(counted, each, 0)
        if joint:
            each = each if mask is None else zero_padding(each, mask)
            return each.sum(tuple(range(1, each.dim())), dtype=at_least_float32(each))
        return _reduce(mean_over_positions(each, y, 2), mask, joint=False)


def cholesky(matrix: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """The lower Cholesky factor in float64, with the least jitter on the diagonal that works.

    Jitter is relative: to the mean of each matrix's own diagonal, and to the rounding of the numbers as they came.
    So the factor of `c^2 matrix` is `c` times that of `matrix`, and no matrix of a batch changes that of another.

    Raises:
        ValueError: if a matrix is far from positive definite.
    """
    wide, least = matrix.double(), 10 * torch.finfo(matrix.dtype).eps
    factor, failed = torch.linalg.cholesky_ex(wide)
    if not bool(failed.any()):
        return factor
    tiny = torch.finfo(torch.float64).tiny / torch.finfo(torch.float64).eps  # all zeros: their factor is 0, nearly
    scale = wide.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(tiny)
    jitter, eye = torch.zeros_like(scale), torch.eye(wide.shape[-1], dtype=wide.dtype, device=wide.device)
    for share in (least * 10**k for k in range(7) if least * 10**k < 0.1):
        jitter = torch.where(failed != 0, share * scale, jitter)
        factor, failed = torch.linalg.cholesky_ex(wide + jitter[..., None, None] * eye)
        if not bool(failed.any()):
            return factor
    raise ValueError(
        f"a covariance of shape {list(matrix.shape)} is not positive definite, even with {share:.0e} of its mean "
        "variance added; add observation noise or use float64"
    )


def alone_where_masked(
    covariance: Float[Tensor, "*batch n n"], real: Bool[Tensor, "*#batch n"]
) -> Float[Tensor, "*batch n n"]:
    """`covariance` in which a point that is not real is independent of all others, with their mean variance."""
    diagonal = covariance.diagonal(dim1=-2, dim2=-1).detach()
    mean = torch.where(real, diagonal, 0.0).sum(-1) / real.sum(-1).clamp_min(1)
    unit = torch.where(mean > 0, mean, 1.0)[..., None, None]
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    return torch.where(real.unsqueeze(-1) & real.unsqueeze(-2), covariance, unit * eye)


def check_outcome(y: Tensor, like: Tensor, mask: Tensor | None) -> None:
    """Raise ValueError unless `y` has the shape of `like` and `mask` its first two axes."""
    if not isinstance(y, Tensor):
        raise TypeError(f"y must be a torch.Tensor, not {type(y).__name__}; use torch.as_tensor(...)")
    if y.shape != like.shape:
        raise ValueError(f"y has shape {list(y.shape)}; this prediction expects {list(like.shape)}")
    if mask is not None and (not isinstance(mask, Tensor) or mask.dtype != torch.bool):
        raise TypeError("mask must be a bool tensor [T, M], True for a real point; use mask.bool()")
    if mask is not None and mask.shape != like.shape[:2]:
        raise ValueError(f"mask has shape {list(mask.shape)}; this prediction expects {list(like.shape[:2])}")


def check_draws(n: int, name: str = "n") -> None:
    """Raise ValueError unless `n` is a number of draws."""
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"{name}={n!r}; expected a whole number of draws, at least 1")


def _normal(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)


def _normal_log_prob(y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return -0.5 * ((y - mean).square() / variance + variance.log() + LOG_2PI)


def _fill(y: Tensor, mean: Tensor, mask: Tensor | None) -> Tensor:
    """`y` with the mean in the padding, so that whatever the padding holds reaches neither value nor gradient."""
    return y if mask is None else torch.where(aligned(mask, y), y, mean.detach())


def _reduce(points: Tensor, mask: Tensor | None, joint: bool) -> Tensor:
    if mask is not None:
        points = torch.where(mask, points, torch.zeros_like(points))
    return points.sum(-1, dtype=at_least_float32(points)) if joint else points


def _no_density(what: str) -> NoReturn:
    raise NoDensityError(
        f"a learner trained on squared error has no {what}; give it a density with "
        "likelihood=quickstudy.likelihoods.Gaussian(...)"
    )

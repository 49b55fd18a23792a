"""An even mixture of beliefs of any kind."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from quickstudy.data import at_least_float32
from quickstudy.learner import Interval
from quickstudy.predictive.outcomes import Mask, check_draws
from quickstudy.predictive.parts.bisection import smallest, smallest_whole
from quickstudy.predictive.quantiles import Probability, central, outcomes, probabilities

NUMBERS = 1 << 24  # that are drawn at once, to bound memory


class EvenMixture(NamedTuple):
    """A mixture of `S` beliefs of one kind with equal weights, such as one for each latent sample.

    Each draw belongs to one member at all points of a task. So `log_prob` of a point is log (1/S) sum_s p(y_m; s), and
    with `joint=True` it is log (1/S) sum_s p(y; s). Where the members have `cdf`, `quantile`, `interval`, `probs`,
    `logits` or `observed`, so does the mixture. Of normal members, `GaussianMixture` is the same mixture, and faster.

    Args:
        members: one belief about `S T` tasks: the `T` tasks as the first member sees them, as the second does, ...
        number: the number of members, `S`.

    >>> from quickstudy.predictive import Bernoulli
    >>> sure_of_0_or_of_1 = EvenMixture(Bernoulli(torch.tensor([[[-9.0]], [[9.0]]])), 2)  # one task, one point
    >>> sure_of_0_or_of_1.mean
    tensor([[[0.5000]]])
    """

    members: Any
    number: int

    @property
    def mean(self) -> Tensor:
        """The mixture's mean, `[T, M, *dy]`; of labels the class probabilities, `[T, M, C]`."""
        return self._by_member(self.members.mean).mean(0)

    @property
    def variance(self) -> Tensor:
        """The mixture's variance: the mean variance of the members plus the variance between their means."""
        means = self._by_member(self.members.mean)
        return self._by_member(self.members.variance).mean(0) + (means - means.mean(0)).square().mean(0)

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Tensor:
        """`n` draws `[n, T, M, *dy]`, each from one member of each task; without `noise`, what the member then draws.

        Every member draws, so the cost grows with the number of members.
        """
        mean = self.members.mean
        check_draws(n, generator, mean.device)
        tasks = len(mean) // self.number
        pick = torch.randint(self.number, (n, tasks), generator=generator, device=mean.device)
        at_once = max(1, NUMBERS // max(1, mean.numel()))
        return torch.cat([self._drawn(part, generator, noise) for part in pick.split(at_once)])

    def log_prob(self, y: Tensor, mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` of each point (0 where masked), or `[T]` of all points jointly."""
        wide = None if mask is None else self._repeated(mask)
        each = self._by_member(self.members.log_prob(self._repeated(y), wide, joint))
        return each.logsumexp(0) - math.log(self.number)

    @property
    def cdf(self) -> Callable[[Tensor], Tensor]:
        """`cdf(y)`: the probability of an outcome of at most `y [T, M, dy]`, for each point and output by itself."""
        of_members = self.members.cdf

        def cdf(y: Any) -> Tensor:
            like = self._by_member(self.members.mean)[0]
            y = outcomes(y, like)
            found: Tensor = of_members(torch.cat([y] * self.number, -like.dim()))
            return found.unflatten(-like.dim(), (self.number, len(like))).mean(-like.dim() - 1)

        return cdf

    @property
    def quantile(self) -> Callable[[Probability], Tensor]:
        """`quantile(p)` of each point and output by itself, by bisection between the quantiles of the members.

        It has derivatives if outcomes are real, those of the implicit function, up to the third.
        """
        _ = self.members.quantile  # raises AttributeError if they have none
        return self._quantile

    @property
    def interval(self) -> Callable[[Probability], Interval]:
        """`interval(level)` of each point and output by itself."""
        _ = self.members.interval
        return lambda level: central(self._quantile, level, self.members.mean)

    @property
    def discrete(self) -> bool:
        """Whether outcomes are whole numbers."""
        return getattr(self.members, "discrete", False)

    @property
    def observed(self) -> Callable[[Tensor], Tensor]:
        """`observed(y)`: whether each output was observed, if NaN stands for a missing one."""
        found = self.members.observed
        return lambda y: self._by_member(found(self._repeated(y)))[0]

    @property
    def probs(self) -> Tensor:
        """The class probabilities `[T, M, C]`."""
        return self._by_member(self.members.probs).mean(0)

    @property
    def logits(self) -> Tensor:
        """The logarithms `[T, M, C]` of the class probabilities."""
        if not hasattr(self.members, "probs"):
            raise AttributeError(
                "logits are those of class probabilities, and this mixture is not about classes; use mean"
            )
        return self._by_member(self.members.logits.log_softmax(2)).logsumexp(0) - math.log(self.number)

    def rescale(self, shift: Tensor | float, scale: Any) -> "EvenMixture":
        """The belief about `shift + scale * y`."""
        return EvenMixture(self.members.rescale(shift, scale), self.number)

    def _quantile(self, p: Probability) -> Tensor:
        like = self._by_member(self.members.mean)[0]
        levels = probabilities(p, like)
        if not levels.dim():
            return self._at(levels, like)
        return torch.stack([self._at(level.view(()), like) for level in levels]) if len(levels) else like[None][:0]

    def _at(self, level: Tensor, like: Tensor) -> Tensor:
        """The quantile of one probability."""
        wide = EvenMixture(tree_map(_in_float64, self.members), self.number)
        with torch.no_grad():
            each = wide._by_member(wide.members.quantile(level))
            low, high = each.amin(0), each.amax(0)  # as in `mixture_quantile`
            if self.discrete:
                enough = level - 8 * torch.finfo(at_least_float32(like)).eps * torch.minimum(level, 1 - level)
                return smallest_whole(lambda y: wide.cdf(y) >= enough, low, high).to(like)
            kind = at_least_float32(like)
            found = smallest(lambda y: wide.cdf(y.double()) >= level, low.to(kind), high.to(kind))
        if torch.is_grad_enabled() and any(part.requires_grad for part in (level, *tree_leaves(self.members))):
            found = _followed(wide.cdf, level, found)
        return found.to(like)

    def _by_member(self, values: Tensor) -> Tensor:
        """`values [S T, ...]` as `[S, T, ...]`."""
        return values.unflatten(0, (self.number, len(values) // self.number))

    def _repeated(self, values: Tensor) -> Tensor:
        """`values [T, ...]` for every member, `[S T, ...]`."""
        return values.repeat(self.number, *[1] * (values.dim() - 1))

    def _drawn(self, pick: Tensor, generator: torch.Generator | None, noise: bool) -> Tensor:
        """A draw `[n, T, M, *dy]` of the members `pick [n, T]`."""
        drawn: Tensor = self.members.sample(len(pick), generator, noise)
        drawn = drawn.unflatten(1, (self.number, pick.shape[1])).transpose(1, 2)  # [n, T, S, M, *dy]
        draws, tasks = (torch.arange(size, device=pick.device) for size in pick.shape)
        return drawn[draws[:, None], tasks, pick]


def _in_float64(part: Any) -> Any:
    return part.double() if isinstance(part, Tensor) and part.is_floating_point() else part


def _followed(cdf: Callable[[Tensor], Tensor], level: Tensor, y: Tensor) -> Tensor:
    """`y`, at which `cdf` is `level`, with derivatives: those of two steps of Newton's method from there."""
    finite = y.isfinite()
    start = step = torch.where(finite, y, 0.0).double().requires_grad_()
    for _ in range(2):
        below = cdf(step)
        (density,) = torch.autograd.grad(below.sum(), step, create_graph=True)
        flat = density < 1e-290
        step = step - torch.where(flat, 0.0, below - level) / torch.where(flat, 1.0, density)
    return torch.where(finite, y + (step - start - (step - start).detach()).to(y), y)

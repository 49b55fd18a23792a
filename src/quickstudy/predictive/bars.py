"""A piecewise constant density for each output, with half-normal tails."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.data import at_least_float32
from quickstudy.learner import Interval
from quickstudy.predictive.outcomes import LOG_2PI, Mask, check_draws, check_outcome, filled, summed
from quickstudy.predictive.quantiles import Probability, central, outcomes, probabilities, standard_cdf


class Bars(NamedTuple):
    """A piecewise constant density for each output, with half-normal tails; points and outputs are independent.

    p(y) = P_b / (e_b - e_{b-1}) in bar b, P_0 2 N(y; e_1, s^2) below the first edge, P_K 2 N(y; e_K, s^2) above the
    last one (Müller et al. 2022, arXiv 2112.10510). An outcome on an edge belongs to the bar above it.

    Args:
        logits: `[T, M, dy, K + 1]`, log-probabilities, unnormalised: lower tail, K - 1 bars, upper tail.
        edges: `[K]`, increasing; or any shape that broadcasts to `[T, M, dy, K]`.
        tail: s, a number, or any shape that broadcasts to `[T, M, dy]`.

    >>> belief = Bars(torch.zeros(1, 1, 1, 4), torch.tensor([0.0, 1.0, 3.0]), torch.tensor(1.0))
    >>> belief.cdf(torch.full((1, 1, 1), 3.0))
    tensor([[[0.7500]]])
    """

    logits: Float[Tensor, "T M dy bars"]
    edges: Tensor
    tail: Tensor

    @property
    def weights(self) -> Float[Tensor, "T M dy bars"]:
        """The probabilities of the lower tail, the bars and the upper tail."""
        return self.logits.softmax(-1, dtype=at_least_float32(self.logits))

    @property
    def mean(self) -> Float[Tensor, "T M dy"]:
        """The mean."""
        return (self.weights * self._centres()).sum(-1).to(self.logits)

    @property
    def variance(self) -> Float[Tensor, "T M dy"]:
        """The variance within the bars plus that between their means."""
        edges, tail = self._edges(), self._tail().square() * (1 - 2 / math.pi)
        within = torch.cat([tail, edges.diff(dim=-1).square() / 12, tail], -1)
        centres = self._centres()
        spread = (centres - (self.weights * centres).sum(-1, keepdim=True)).square()
        return (self.weights * (within + spread)).sum(-1).to(self.logits)

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Float[Tensor, "n T M dy"]:
        """`n` draws; without `noise`, each draw is the mean."""
        check_draws(n, generator, self.logits.device)
        if not noise:
            return self.mean.expand(n, *self.mean.shape).clone()
        shape = (n, *self.logits.shape[:-1])
        rows = self.weights.flatten(0, -2)
        drawn = torch.multinomial(rows, n, replacement=True, generator=generator) if len(rows) else rows.new_zeros(0, n)
        bar = drawn.T.reshape(shape).long()
        inside = torch.rand(shape, dtype=rows.dtype, device=rows.device, generator=generator)
        outside = torch.randn(shape, dtype=rows.dtype, device=rows.device, generator=generator).abs() * self.tail
        low, high = self._sides(bar)
        y = torch.lerp(low, high, inside)
        y = torch.where(bar == 0, high - outside, y)
        return torch.where(bar == self.logits.shape[-1] - 1, low + outside, y).to(self.logits)

    def log_prob(self, y: Float[Tensor, "T M dy"], mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` of each point (0 where masked), or `[T]` of all points jointly.

        A mask `[T, M, dy]` marginalises the outputs where it is False.
        """
        check_outcome(y, self.logits[..., 0], mask, outputs=True)
        y = filled(y, self.mean, mask)
        bar = self._bar(y)
        low, high = self._sides(bar)
        outside = torch.where(bar == 0, high - y, y - low) / self.tail
        tail = math.log(2) - 0.5 * (outside.square() + LOG_2PI) - self.tail.log()
        in_tail = (bar == 0) | (bar == self.logits.shape[-1] - 1)
        density = torch.where(in_tail, tail, -torch.where(in_tail, 1.0, high - low).log())
        share = (
            self.logits.log_softmax(-1, dtype=at_least_float32(self.logits)).gather(-1, bar.unsqueeze(-1)).squeeze(-1)
        )
        return summed(share + density, mask, joint)

    def cdf(self, y: Tensor | float) -> Tensor:
        """The probability of an outcome of at most `y [T, M, dy]`, or a number, for each point and output by itself."""
        y = outcomes(y, self.logits[..., 0])
        bar = self._bar(y)
        probs, (low, high) = self.weights.expand(*bar.shape, -1), self._sides(bar)
        last = self.logits.shape[-1] - 1
        share = (y - low) / torch.where((bar == 0) | (bar == last), 1.0, high - low)
        share = torch.where(bar == 0, 2 * standard_cdf((y - high) / self.tail), share)
        share = torch.where(bar == last, 1 - 2 * standard_cdf((low - y) / self.tail), share)
        below = (probs.cumsum(-1) - probs).gather(-1, bar.unsqueeze(-1)).squeeze(-1)
        return below + probs.gather(-1, bar.unsqueeze(-1)).squeeze(-1) * share

    def quantile(self, p: Probability) -> Tensor:
        """The `p`-quantile of each point and output by itself; for several `p`, with an axis in front.

        It is linear in p within a bar, and that of a half-normal distribution in a tail.
        """
        like = self.logits[..., 0]
        level = probabilities(p, like)
        level = level.expand(torch.broadcast_shapes(level.shape, like.shape))
        real, probs = level.clamp(1e-300, 1 - 1e-16), self.logits.softmax(-1, dtype=torch.float64)
        upto, last = probs.cumsum(-1), self.logits.shape[-1] - 1
        bar = (upto < real.unsqueeze(-1)).sum(-1).clamp_max(last)
        share, before = (
            part.expand(*bar.shape, -1).gather(-1, bar.unsqueeze(-1)).squeeze(-1) for part in (probs, upto - probs)
        )
        share = torch.where(share > 0, share, 1.0)
        low, high = (side.double() for side in self._sides(bar))
        y = torch.lerp(low, high, ((real - before) / share).clamp(0, 1))
        outer = torch.where(bar == 0, real, 1 - real) / (2 * share)
        distance = -self.tail * torch.special.ndtri(outer.clamp_max(0.5))
        y = torch.where(bar == 0, high - distance, torch.where(bar == last, low + distance, y))
        return torch.where(level == 0, -torch.inf, torch.where(level == 1, torch.inf, y)).to(self.logits)

    def interval(self, level: Probability) -> Interval:
        """The central interval of probability `level`, for each point and output by itself."""
        return central(self.quantile, level, self.logits)

    def rescale(self, shift: Tensor | float, scale: Tensor | float) -> "Bars":
        """The belief about `shift + scale * y`; `scale` is one number, or one per output."""
        shift, scale = (part if isinstance(part, Tensor) else self.edges.new_tensor(part) for part in (shift, scale))
        turned = scale.unsqueeze(-1) < 0  # what was the lower tail becomes the upper one
        edges = shift.unsqueeze(-1) + scale.unsqueeze(-1) * self.edges
        logits = torch.where(turned, self.logits.flip(-1), self.logits)
        return Bars(logits, torch.where(turned, edges.flip(-1), edges), scale.abs() * self.tail)

    def _edges(self) -> Tensor:
        return self.edges.expand(*self.logits.shape[:-1], self.edges.shape[-1])

    def _tail(self) -> Tensor:
        return self.tail.expand(self.logits.shape[:-1]).unsqueeze(-1)

    def _centres(self) -> Tensor:
        """The means within the lower tail, the bars and the upper tail."""
        edges, off = self._edges(), self._tail() * math.sqrt(2 / math.pi)
        inside = (edges[..., 1:] + edges[..., :-1]) / 2
        return torch.cat([edges[..., :1] - off, inside, edges[..., -1:] + off], -1)

    def _bar(self, y: Tensor) -> Tensor:
        """The index of the bar that holds `y`; that of NaN is 0."""
        return (y.unsqueeze(-1) >= self.edges).sum(-1)

    def _sides(self, bar: Tensor) -> tuple[Tensor, Tensor]:
        """The lower and the upper edge of each bar `[..., T, M, dy]`; a tail has one edge, in the place of both."""
        last = self.edges.shape[-1] - 1
        edges = self.edges.expand(*bar.shape, last + 1)
        low, high = ((bar - 1).clamp_min(0), bar.clamp_max(last))
        return tuple(edges.gather(-1, place.unsqueeze(-1)).squeeze(-1) for place in (low, high))  # type: ignore[return-value]

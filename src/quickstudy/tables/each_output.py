"""Learners of single outputs as one learner of all of them; a missing outcome costs no other."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, NoReturn, Self, final

import torch
from torch import Tensor, nn

from quickstudy.data import Examples, Tasks
from quickstudy.learner import Functions, Interval, Predictor
from quickstudy.predictive.outcomes import Mask
from quickstudy.predictive.quantiles import Probability, outcomes


@final
class EachOutput(nn.Module):
    """Several learners, each of one output, as one learner; outputs are independent.

    NaN in the outcomes of a support set is an outcome that was not observed: it is left out for its output alone.

    Args:
        members: a learner with one output for each output, by the name of the output.
    """

    def __init__(self, members: Mapping[str, nn.Module]):
        super().__init__()
        self.names = tuple(members)
        self.members = nn.ModuleList(members.values())

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"members": dict(zip(self.names, self.members, strict=True))}

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """The sum of the meta-losses of the outputs."""
        width = len(self.members)
        parts = [Tasks(observed(tasks.support, d), observed(tasks.query, d)) for d in range(width)]
        losses = [member.meta_loss(part) for member, part in zip(self.members, parts, strict=True)]  # type: ignore[operator]
        return torch.stack(losses).sum()

    def adapt(self, support: Examples, **options: Any) -> "EachOutputPredictor":
        """The predictor for `support`, whose outcomes `y [T, N, dy]` may be NaN; `options` are those of the members."""
        width = len(self.members)
        if support.y.dim() != 3 or support.y.shape[2] != width:
            raise ValueError(f"support.y has shape {list(support.y.shape)}; expected [T, N, {width}], {width} outputs")
        made = [member.adapt(observed(support, d), **options) for d, member in enumerate(self.members)]  # type: ignore[operator]
        return EachOutputPredictor(tuple(made))


@dataclass(frozen=True)
class EachOutputPredictor:
    """The predictors of all outputs; made by `EachOutput.adapt`."""

    predictors: tuple[Predictor, ...]

    def __call__(self, x: Tensor) -> "SideBySide":
        """The belief at `x [T, M, dx]`."""
        return SideBySide(tuple(predictor(x) for predictor in self.predictors))

    def append(self, examples: Examples) -> Self:
        """The predictor for the union of the support set and `examples`."""
        pairs = enumerate(self.predictors)
        return replace(self, predictors=tuple(each.append(observed(examples, d)) for d, each in pairs))

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """`n` functions of all outputs."""
        parts = [each.functions(n, generator) for each in self.predictors]

        def evaluate(x: Tensor, members: list[int]) -> Tensor:
            if len(members) == n:
                return torch.cat([part(x) for part in parts], -1)
            return torch.stack([torch.cat([part[i](x) for part in parts], -1) for i in members])

        return Functions(evaluate, n)

    def task(self, i: int) -> NoReturn:
        """There is none.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("several outputs have no common module of a group; use the predictor")


class SideBySide(NamedTuple):
    """Independent beliefs about the outputs of the same points.

    p(y) = prod_d p_d(y_d).

    Args:
        beliefs: one for each output, about `[T, M, 1]`.

    >>> from quickstudy.predictive import Gaussian
    >>> one = torch.ones(1, 1, 1)
    >>> SideBySide((Gaussian(0 * one, one), Gaussian(one, one))).mean
    tensor([[[0., 1.]]])
    """

    beliefs: tuple[Any, ...]

    @property
    def mean(self) -> Tensor:
        """The mean, `[T, M, dy]`."""
        return torch.cat([belief.mean for belief in self.beliefs], -1)

    @property
    def variance(self) -> Tensor:
        """The variance, `[T, M, dy]`."""
        return torch.cat([belief.variance for belief in self.beliefs], -1)

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Tensor:
        """`n` draws `[n, T, M, dy]`."""
        return torch.cat([belief.sample(n, generator, noise) for belief in self.beliefs], -1)

    def log_prob(self, y: Tensor, mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` of each point (0 where masked), or `[T]` of all points jointly.

        A mask `[T, M, dy]` leaves out the outputs where it is False, and so does NaN in `y`.
        """
        known = ~y.isnan() if mask is None else ~y.isnan() & (mask if mask.dim() == 3 else mask.unsqueeze(-1))
        clean = torch.where(known, y, 0.0)
        parts = [b.log_prob(clean[..., d : d + 1], known[..., d], joint) for d, b in enumerate(self.beliefs)]
        return torch.stack(parts).sum(0)

    def cdf(self, y: Any) -> Tensor:
        """The probability of an outcome below `y [T, M, dy]`, for each output."""
        y = outcomes(y, self.mean)
        return torch.cat([belief.cdf(y[..., d : d + 1]) for d, belief in enumerate(self.beliefs)], -1)

    def quantile(self, p: Probability) -> Tensor:
        """The quantiles `[T, M, dy]` at `p`, or `[P, T, M, dy]` at several."""
        return torch.cat([belief.quantile(p) for belief in self.beliefs], -1)

    def interval(self, level: Probability) -> Interval:
        """The central interval of probability `level`."""
        parts = [belief.interval(level) for belief in self.beliefs]
        return Interval(*(torch.cat(ends, -1) for ends in zip(*parts, strict=True)))

    def rescale(self, shift: Tensor | float, scale: Any) -> "SideBySide":
        """The belief about `shift + scale * y`, with numbers or one for each output on the last axis."""

        def own(value: Any, d: int) -> Any:
            return value[..., d : d + 1] if isinstance(value, Tensor) and value.dim() else value

        return SideBySide(tuple(b.rescale(own(shift, d), own(scale, d)) for d, b in enumerate(self.beliefs)))


def observed(points: Examples, d: int) -> Examples:
    """The points whose output `d` is known, with that output alone; the others are padding after them.

    >>> y = torch.tensor([[[1.0, torch.nan], [2.0, 5.0]]])
    >>> observed(Examples(torch.tensor([[[0.0], [1.0]]]), y), 1)
    Examples(x=tensor([[[1.]]]), y=tensor([[[5.]]]), mask=tensor([[True]]))
    """
    y = points.y[..., d : d + 1]
    known = points.real() & ~y[..., 0].isnan()
    count = int(known.sum(1).max()) if known.numel() else 0
    order = (~known).long().argsort(dim=1, stable=True)[:, :count, None]
    mask = known.gather(1, order[..., 0])
    x, y = points.x.gather(1, order.expand(-1, -1, points.x.shape[2])), y.gather(1, order)
    return Examples(x, y, mask).clean()

"""A learner whose beliefs are as wide as held-out groups show that they must be."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, final

import torch
from torch import Tensor, nn

from quickstudy.data import Examples, Tasks
from quickstudy.learner import Functions, Predictor
from quickstudy.predictive.widened import Widened
from quickstudy.tables.by_number import at_number
from quickstudy.tables.judging import Judged

PRIOR = 3.0  # pseudo-groups for which the learner's own width is right


@final
class Calibrated(nn.Module):
    """A learner whose beliefs are widened around their mean by factors that held-out groups gave.

    Learners for few groups take what they estimate from them as known, and processes fit them too closely; so their
    intervals are too narrow, the more, the more rows of a group are seen.

    Args:
        learner: a learner of the contract.
        seen: increasing numbers of seen rows for which factors are known; others are interpolated.
        factors: for each of these numbers one for each output, as `factors` finds them.
    """

    def __init__(self, learner: nn.Module, seen: Sequence[int], factors: Sequence[Sequence[float]]):
        super().__init__()
        self.learner: Any = learner
        self.seen, self.factors = tuple(seen), tuple(tuple(row) for row in factors)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"learner": self.learner, "seen": list(self.seen), "factors": [list(row) for row in self.factors]}

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """The meta-loss of the learner, whose factors do not count."""
        loss: Tensor = self.learner.meta_loss(tasks)
        return loss

    def adapt(self, support: Examples, **options: Any) -> "CalibratedPredictor":
        """The predictor for `support`; `options` are those of the learner's `adapt`."""
        number = support.sizes() if options.get("steps") != 0 else torch.zeros_like(support.sizes())
        return CalibratedPredictor(self, self.learner.adapt(support, **options), number, options.get("steps") == 0)


@dataclass(frozen=True)
class CalibratedPredictor:
    """The learner's predictor and the number of rows it has seen; made by `Calibrated.adapt`."""

    owner: Calibrated
    predictor: Predictor
    number: Tensor  # [T]
    prior: bool = False

    def __call__(self, x: Tensor) -> Widened:
        """The belief at `x [T, M, dx]`."""
        factors = torch.tensor(self.owner.factors, dtype=torch.float64, device=x.device)
        return Widened(self.predictor(x), at_number(factors, self.owner.seen, self.number))

    def append(self, examples: Examples) -> Self:
        """The predictor for the union of the support set and `examples`."""
        number = self.number if self.prior else self.number + examples.sizes()
        return replace(self, predictor=self.predictor.append(examples), number=number)

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """`n` functions of the learner, as far from their mean as its beliefs are widened."""
        inside = self.predictor.functions(n, generator)

        def evaluate(x: Tensor, members: list[int]) -> Tensor:
            values = inside(x) if len(members) == n else torch.stack([inside[i](x) for i in members])
            belief = self(x)
            return belief.mean + belief.factor.unsqueeze(1).to(x) * (values - belief.mean)

        return Functions(evaluate, n)

    def task(self, i: int) -> nn.Module:
        """Group `i`'s mean function, that of the learner."""
        return self.predictor.task(i)


def factors(judged: Judged) -> list[list[float]]:
    """The factors `[K][dy]` that make the spread right on held-out groups.

    c^2 is the mean of z^2 over groups, where z is the standard normal number that is as improbable as the outcome; this
    maximises the log density of normal beliefs. Some pseudo-groups with z^2 = 1 keep it near 1 where groups are few.
    """
    real = judged.real.double()[:, :, None, None]
    squares = (judged.squares * real).sum(1) / real.sum(1)  # [T, K, dy], means over the rows of a group
    found: list[list[float]] = ((squares.sum(0) + PRIOR) / (len(squares) + PRIOR)).sqrt().tolist()
    return found

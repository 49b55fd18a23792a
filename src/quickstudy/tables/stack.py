"""Several learners as one, whose beliefs are mixed with weights that depend on how many rows are seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Self, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_tasks
from quickstudy.data import Examples, Tasks
from quickstudy.learner import Predictor
from quickstudy.likelihoods import negative_log_likelihood
from quickstudy.predictive.blend import Blend
from quickstudy.tables.by_number import at_number


@final
class Stack(nn.Module):
    """A mixture of the beliefs of several learners (stacking of predictive distributions, Yao et al. 2018).

    p(y | support) = sum_c w_c(n) p_c(y | support), with weights that `mixing` finds on held-out groups for some numbers
    n of seen rows. Between these numbers they are interpolated (`at_number`).

    Args:
        members: learners by their names.
        seen: increasing numbers of seen rows.
        weights: for each of these numbers one for each member, adding up to 1.
    """

    def __init__(self, members: Mapping[str, nn.Module], seen: Sequence[int], weights: Sequence[Sequence[float]]):
        super().__init__()
        self.names, self.seen = tuple(members), tuple(seen)
        self.members = nn.ModuleList(members.values())
        self.weights = tuple(tuple(float(w) for w in row) for row in weights)
        for row in self.weights:
            if len(row) != len(self.names) or min(row) < 0 or abs(sum(row) - 1) > 1e-6:
                raise ValueError(
                    f"weights={list(row)} for {len(self.names)} members; expected one each, not below 0, which add up "
                    "to 1"
                )
        if len(self.weights) != len(self.seen) or sorted(set(self.seen)) != list(self.seen) or not self.seen:
            raise ValueError(
                f"seen={list(self.seen)} with {len(self.weights)} rows of weights; expected increasing numbers, and "
                "one row for each"
            )

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        members = dict(zip(self.names, self.members, strict=True))
        return {"members": members, "seen": list(self.seen), "weights": [list(row) for row in self.weights]}

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the mean negative log density of each task's real query points."""
        check_tasks(tasks)
        query = tasks.query.clean()
        belief = self.adapt(tasks.support, create_graph=True)(query.x)
        return negative_log_likelihood(belief, query, joint=False)

    def adapt(self, support: Examples, **options: Any) -> "StackPredictor":
        """The predictor for `support`; `options` are those of the members' `adapt`."""
        prior = options.get("steps") == 0
        number = torch.zeros_like(support.sizes()) if prior else support.sizes()
        predictors = tuple(member.adapt(support, **options) for member in self.members)  # type: ignore[operator]
        return StackPredictor(self, predictors, number, prior)


@dataclass(frozen=True)
class StackPredictor:
    """The mixture of several predictors' beliefs; made by `Stack.adapt`."""

    owner: Stack
    predictors: tuple[Predictor, ...]
    number: Tensor  # of seen rows, [T]
    prior: bool = False

    def __call__(self, x: Tensor) -> Blend:
        """The belief at `x [T, M, dx]`."""
        weights = torch.tensor(self.owner.weights, dtype=torch.float64, device=x.device)
        own = at_number(weights, self.owner.seen, self.number)  # [T, C]
        return Blend(tuple(predictor(x) for predictor in self.predictors), own)

    def append(self, examples: Examples) -> Self:
        """The predictor for the union of the support set and `examples`."""
        number = self.number if self.prior else self.number + examples.sizes()
        predictors = tuple(predictor.append(examples) for predictor in self.predictors)
        return replace(self, predictors=predictors, number=number)

    def functions(self, n: int, generator: torch.Generator | None = None) -> NoReturn:
        """There are none, as some members have none.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a mixture of learners has no functions to draw; use predictor(x).sample(n)")

    def task(self, i: int) -> NoReturn:
        """There is none.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a mixture of learners has no module of a group; use the predictor")

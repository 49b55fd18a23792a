"""Several learners as one, whose beliefs are mixed with fixed weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Self, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_tasks
from quickstudy.data import Examples, Tasks
from quickstudy.learner import Predictor
from quickstudy.predictive.blend import Blend
from quickstudy.processes.conditional import negative_log_likelihood

PRIOR = 0.3  # pseudo-groups that each learner explains best, in `stacking_weights`


@final
class Stack(nn.Module):
    """A mixture of the beliefs of several learners (stacking of predictive distributions, Yao et al. 2018).

    p(y | support) = sum_c w_c p_c(y | support), with weights that `stacking_weights` finds on held-out groups.

    Args:
        members: learners by their names.
        weights: one for each, adding up to 1.
    """

    def __init__(self, members: Mapping[str, nn.Module], weights: Sequence[float]):
        super().__init__()
        self.names = tuple(members)
        self.members = nn.ModuleList(members.values())
        self.weights = tuple(float(w) for w in weights)
        if len(self.weights) != len(self.names) or min(self.weights) < 0 or abs(sum(self.weights) - 1) > 1e-6:
            raise ValueError(
                f"weights={list(self.weights)} for {len(self.names)} members; expected one each, not below 0, which "
                "add up to 1"
            )

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"members": dict(zip(self.names, self.members, strict=True)), "weights": list(self.weights)}

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the mean negative log density of each task's real query points."""
        check_tasks(tasks)
        query = tasks.query.clean()
        belief = self.adapt(tasks.support, create_graph=True)(query.x)
        return negative_log_likelihood(belief, query, joint=False)

    def adapt(self, support: Examples, **options: Any) -> "StackPredictor":
        """The predictor for `support`, of the members with a weight; `options` are those of their `adapt`."""
        kept = [(member, w) for member, w in zip(self.members, self.weights, strict=True) if w > 0]
        predictors = tuple(member.adapt(support, **options) for member, _ in kept)  # type: ignore[operator]
        return StackPredictor(predictors, torch.tensor([w for _, w in kept], dtype=torch.float64))


@dataclass(frozen=True)
class StackPredictor:
    """The mixture of several predictors' beliefs; made by `Stack.adapt`."""

    predictors: tuple[Predictor, ...]
    weights: Tensor

    def __call__(self, x: Tensor) -> Blend:
        """The belief at `x [T, M, dx]`."""
        return Blend(tuple(predictor(x) for predictor in self.predictors), self.weights)

    def append(self, examples: Examples) -> Self:
        """The predictor for the union of the support set and `examples`."""
        return replace(self, predictors=tuple(predictor.append(examples) for predictor in self.predictors))

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


def stacking_weights(densities: Tensor, shares: Tensor, rounds: int = 200) -> Tensor:
    """The weights `[C]` that maximise the held-out log score, with a prior that keeps them from the edges.

    max_w sum_r s_r log sum_c w_c p_c(y_r) + PRIOR sum_c log w_c, by the EM algorithm, whose every step increases it.

    Args:
        densities: log p_c(y_r), `[C, rows]`; -inf is allowed.
        shares: s_r, the weight of each row, `[rows]`; those of a group add up to 1.
        rounds: number of EM steps.

    >>> good, bad = torch.zeros(40), torch.full((40,), -9.0)
    >>> stacking_weights(torch.stack([good, bad]), torch.ones(40))
    tensor([0.9926, 0.0074], dtype=torch.float64)
    """
    densities, shares = densities.double(), shares.double()
    weights = torch.full((len(densities),), 1 / len(densities), dtype=torch.float64)
    for _ in range(rounds):
        parts = (densities + weights.log()[:, None]).nan_to_num(nan=-torch.inf, posinf=0.0, neginf=-1e300)
        mass = (parts.softmax(0) * shares).sum(1) + PRIOR
        weights = mass / mass.sum()
    return weights

"""What every planner shares: the value of plans, the weights of candidates, argument checks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from torch import Tensor

from quickstudy.checks import check_whole

Objective = Callable[[Tensor], Tensor]
"""A function states `[H, T, K, ds]` -> value of each plan `[T, K]`."""


@final
@dataclass(frozen=True, kw_only=True)
class Elites:
    """Weights of the cross-entropy method: equal for the `count` best candidates, 0 for the others."""

    count: int = 25

    def __call__(self, worth: Tensor) -> Tensor:
        """Weights `[T, K]`, which sum to 1 over K, of candidates with values `worth [T, K]`."""
        least = worth.topk(self.count, 1).values[:, -1:]
        chosen = (worth >= least).to(worth.dtype)
        return chosen / chosen.sum(1, keepdim=True)


@final
@dataclass(frozen=True, kw_only=True)
class Softmax:
    """Weights of MPPI: softmax(J / temperature) over all candidates."""

    temperature: float = 0.3

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature!r}; expected a number above 0")

    def __call__(self, worth: Tensor) -> Tensor:
        """Weights `[T, K]`, which sum to 1 over K, of candidates with values `worth [T, K]`."""
        return (worth / self.temperature).softmax(1)


def check_elites(weigh: Elites | Softmax, candidates: int) -> None:
    """Raise ValueError if there are more elites than candidates."""
    if isinstance(weigh, Elites) and check_whole("elites", weigh.count) > candidates:
        raise ValueError(f"elites={weigh.count} and candidates={candidates}; expected elites <= candidates")


def check_share(name: str, value: float) -> None:
    """Raise ValueError unless `value` is a share from 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name}={value!r}; expected a share from 0 to 1")


def check_state(state: Tensor) -> None:
    """Raise ValueError unless the states are finite, `[T, ds]`."""
    if state.dim() != 2:
        raise ValueError(f"state is {list(state.shape)}; expected [T, ds], one state of every task")
    wrong = ~state.isfinite().all(1)
    if wrong.any():
        task = int(wrong.nonzero()[0])
        raise ValueError(f"the state of task {task} is {state[task].tolist()}; expected finite observations")


def check_worth(worth: Tensor) -> None:
    """Raise ValueError if the value of a plan is NaN."""
    wrong = worth.isnan().any(1)
    if wrong.any():
        raise ValueError(
            f"the model's outputs are not finite for task {int(wrong.nonzero()[0])}; "
            "check its training, and the transitions it was given"
        )

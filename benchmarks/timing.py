"""Fair timing: all contenders in turn, round after round, in one process, so that what disturbs one disturbs all."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[], object]


def seconds(step: Step, repeats: int = 1) -> float:
    """Of one call, over `repeats` calls."""
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - start) / repeats


def repeats_within(once: float, budget: float, most: int = 200) -> int:
    """How many calls of `once` seconds fit into `budget` seconds; at least 1."""
    return max(1, min(most, int(budget / max(once, 1e-9))))


def median_of(step: Step, *, rounds: int, budget: float) -> float:
    """Median seconds of one call over `rounds` rounds within `budget` seconds, after one call to warm up."""
    step()
    repeats = repeats_within(seconds(step), budget / rounds)
    return statistics.median(seconds(step, repeats) for _ in range(rounds))


class Race:
    """Steps timed in turn.

    Args:
        budget: seconds for all rounds of one contender.
        rounds: as many as fit, between 3 and this.
        limit: seconds; a contender whose step takes longer is timed once.
    """

    def __init__(self, *, budget: float, rounds: int, limit: float):
        self.budget, self.rounds, self.limit = budget, rounds, limit
        self.times: dict[str, list[float]] = {}
        self.once: dict[str, float] = {}
        self._work: dict[str, tuple[Step, int]] = {}

    def enter(self, name: str, step: Step) -> bool:
        """Warm `step` up; False if it is too slow to race (`once` then says how long it took)."""
        self.once[name] = seconds(step)
        if self.once[name] > self.limit:  # it may have compiled something
            self.once[name] = seconds(step)
        if self.once[name] > self.limit:
            return False
        once = seconds(step)
        self._work[name] = step, repeats_within(once, self.budget / self.rounds)
        self.times[name] = []
        return True

    def number_of_rounds(self) -> int:
        """As many as fit into the budget of the slowest."""
        slowest = max((self.once[name] for name in self._work), default=0.0)
        return max(3, min(self.rounds, int(self.budget / max(slowest, 1e-9))))

    def round(self) -> None:
        """One turn for everybody."""
        for name, (step, repeats) in self._work.items():
            self.times[name].append(seconds(step, repeats))

    def medians(self) -> dict[str, float]:
        """Seconds of a step, by name."""
        return {name: statistics.median(values) for name, values in self.times.items() if values}


def difference(found: list[Tensor], expected: list[Tensor]) -> float:
    """Norm of the difference over the norm of `expected`."""
    size = torch.nn.utils.get_total_norm(expected).item()
    return torch.nn.utils.get_total_norm([a - b for a, b in zip(found, expected, strict=True)]).item() / size

"""quickstudy: `MAML` with `engine="auto"`, eager, compiled, and inside `fit`."""

import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import quickstudy as qs
from benchmarks.problems import OUTER_RATE, Contender, Problem


def eager(problem: Problem) -> Contender:
    """`meta_loss`, `backward` and Adam."""
    return _bare(problem, compile=False)


def compiled(problem: Problem) -> Contender:
    """The same with `compile=True`."""
    return _bare(problem, compile=True)


def in_fit(problem: Problem) -> Contender:
    """The median step of `fit`, from one batch being asked for to the next."""

    def drive(rounds: int, steps: int, between: Callable[[], None]) -> list[float]:
        learner = _learner(problem)
        watched = Watched(problem.family, steps, between)
        with tempfile.TemporaryDirectory() as folder:
            qs.fit(
                learner,
                watched,
                steps=rounds * steps + 1,
                out=f"{folder}/run",
                tasks=problem.tasks,
                support=problem.support,
                query=problem.query,
                lr=OUTER_RATE,
                compile=True,
                validation_tasks=1,
                evaluate_every=rounds * steps + 1,
                checkpoint_every=rounds * steps + 1,
            )
        return watched.times

    return Contender(None, None, drive)


@dataclass
class Watched:
    """A family that notes when `fit` asks for a batch, and lets others run after every so many steps."""

    family: Any
    steps: int
    between: Callable[[], None]
    times: list[float] = field(default_factory=list)
    last: float | None = None

    def sample(self, num_tasks: int, *, split: str = "train", **rest: Any) -> qs.Tasks:
        """The family's own."""
        if split == "train" and self._counts():
            self.between()
            self.last = time.perf_counter()
        return self.family.sample(num_tasks, split=split, **rest)

    def _counts(self) -> bool:
        now = time.perf_counter()
        if self.last is not None:
            self.times.append(now - self.last)
        self.last = now
        return len(self.times) % self.steps == 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.family, name)


def _learner(problem: Problem, **options: Any) -> qs.MAML:
    return qs.MAML(deepcopy(problem.network), lr=problem.lr, steps=problem.steps, **options)


def _bare(problem: Problem, *, compile: bool) -> Contender:
    learner = _learner(problem, compile=compile)
    params = list(learner.parameters())
    optimizer = torch.optim.Adam(params, lr=OUTER_RATE, fused=True)
    generator = torch.Generator().manual_seed(0)

    def gradient(tasks: qs.Tasks) -> list[Tensor]:
        return list(torch.autograd.grad(learner.meta_loss(tasks), params))

    def step() -> None:
        optimizer.zero_grad()
        learner.meta_loss(problem.sample(generator)).backward()
        optimizer.step()

    return Contender(gradient, step)

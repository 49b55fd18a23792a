"""What is solved: a network, a family of tasks and the inner loop's settings; and what a contender has to offer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import quickstudy as qs
from benchmarks import networks

OUTER_RATE = 1e-3  # of Adam on the meta-parameters, in every contender


@dataclass(frozen=True)
class Problem:
    """One meta-step: draw `tasks` tasks, adapt by `steps` SGD steps, differentiate through them, one Adam update.

    Args:
        kind: "mlp", "conv" or "transformer".
        network: the initial weights; contenders train copies.
        family: where the tasks come from.
        tasks, support, query: how many tasks, and points in each.
        steps, lr: of the inner loop.
        size: what the JAX versions need to know of the network, and the floor of its layers.
    """

    kind: str
    network: nn.Module
    family: Any
    tasks: int
    support: int
    query: int
    steps: int
    lr: float = 0.01
    size: dict[str, int] = field(default_factory=dict)

    def sample(self, generator: torch.Generator) -> qs.Tasks:
        """A batch of tasks."""
        return self.family.sample(self.tasks, support=self.support, query=self.query, generator=generator)

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Mean over the points of one task."""
        return F.mse_loss(output, y) if y.is_floating_point() else F.cross_entropy(output, y)


@dataclass(frozen=True)
class Contender:
    """A way to do a meta-step.

    Args:
        gradient: tasks -> the meta-gradient at the weights so far, in the order of the network's parameters;
            None where it cannot be had apart from the step.
        step: a whole meta-step. It returns when the work is done.
        drive: `(rounds, of so many steps, between rounds) -> step times a round`, for a contender that has the
            loop to itself; it calls `between rounds` when the others may run.
    """

    gradient: Callable[[qs.Tasks], list[Tensor]] | None
    step: Callable[[], None] | None
    drive: Callable[[int, int, Callable[[], None]], list[float]] | None = None


def mlp(tasks: int, steps: int, width: int) -> Problem:
    """Sinusoids: MLP 1-width-width-1, 10 support and 10 query points."""
    layers = (nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
    network = nn.Sequential(*layers)  # higher cannot run a module that slices a ModuleList, as qs.nets.MLP does
    return Problem("mlp", network, qs.tasks.Sinusoid(), tasks, 10, 10, steps, size={"width": width})


def conv(tasks: int = 8, steps: int = 1, filters: int = 64, side: int = 28) -> Problem:
    """Five-way one-shot images: conv-4 with batch statistics, 25 queries."""
    network = networks.Conv4(filters, side=side)
    size = {"filters": filters, "side": side}
    return Problem("conv", network, Images(side), tasks, 5, 25, steps, size=size)


def transformer(tasks: int = 16, steps: int = 1, width: int = 128, tokens: int = 32, layers: int = 4) -> Problem:
    """Regression on sequences: 1 support and 1 query sequence."""
    network = networks.Transformer(width=width, layers=layers)
    size = {"width": width, "tokens": tokens, "layers": layers}
    return Problem("transformer", network, Sequences(tokens), tasks, 1, 1, steps, size=size)


@dataclass(frozen=True)
class Images:
    """Noise images with labels 0 to 4: what is measured is time, which their content does not change."""

    side: int

    def sample(self, num_tasks: int, *, support: int, query: int, generator: torch.Generator) -> qs.Tasks:
        """`support` and `query` images a task, the five classes in turn."""
        images = torch.randn(num_tasks, support + query, 1, self.side, self.side, generator=generator)
        labels = (torch.arange(support + query) % 5).expand(num_tasks, -1)
        return qs.Tasks(
            qs.Examples(images[:, :support], labels[:, :support]), qs.Examples(images[:, support:], labels[:, support:])
        )


@dataclass(frozen=True)
class Sequences:
    """Noise sequences `[tokens, 16]` with a number to predict for each."""

    tokens: int

    def sample(self, num_tasks: int, *, support: int, query: int, generator: torch.Generator) -> qs.Tasks:
        """`support` and `query` sequences a task."""
        x = torch.randn(num_tasks, support + query, self.tokens, networks.FEATURES, generator=generator)
        y = torch.randn(num_tasks, support + query, 1, generator=generator)
        return qs.Tasks(qs.Examples(x[:, :support], y[:, :support]), qs.Examples(x[:, support:], y[:, support:]))

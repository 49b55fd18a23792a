"""A learner under test: how it is built, the tasks it is checked on, and how checks call it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.data import Examples, Tasks, aligned
from quickstudy.learner import Predictor, Split, TaskFamily


@dataclass(frozen=True)
class Lines:
    """The tasks y = a x + b with a, b ~ N(0, 1), x in [-1, 1], which learners for regression learn in seconds."""

    dx: int = 1
    dy: int = 1

    def sample(
        self,
        num_tasks: int,
        *,
        support: int,
        query: int,
        split: Split = "train",
        generator: torch.Generator | None = None,
    ) -> Tasks:
        """Draw tasks, which are the same in all splits."""
        del split
        x = torch.rand(num_tasks, support + query, 1, generator=generator) * 2 - 1
        line = torch.randn(num_tasks, 1, 2, generator=generator)
        y = line[..., :1] * x + line[..., 1:]
        return Tasks(Examples(x[:, :support], y[:, :support]), Examples(x[:, support:], y[:, support:]))


@dataclass(frozen=True)
class LearnerCase:
    """A learner under test.

    Args:
        make: builds a new learner.
        family: the task family.
        device: device of learner and tasks.
        training_steps: steps of Adam after which it must beat its prior; 0 omits this check.
        many_points: number of points in a large support set.
    """

    make: Callable[[], nn.Module]
    family: TaskFamily
    device: torch.device
    training_steps: int
    many_points: int

    def learner(self, *, training: bool = False) -> nn.Module:
        """Return a new learner with parameters of the default type, in eval mode unless `training`."""
        return self.make().to(self.device, torch.get_default_dtype()).train(training)

    def tasks(self, num_tasks: int = 3, *, support: int = 6, query: int = 4, seed: int = 0) -> Tasks:
        """Draw tasks of the family, with real points before padding."""
        chance = torch.Generator().manual_seed(seed)
        tasks = self.family.sample(num_tasks, support=support, query=query, generator=chance)
        tasks = tasks.to(self.device, torch.get_default_dtype())
        return Tasks(real_first(tasks.support), real_first(tasks.query), tasks.info)

    def generator(self, seed: int = 5) -> torch.Generator:
        """Return a seeded generator on the learner's device."""
        return torch.Generator(self.device).manual_seed(seed)

    def adapt(self, learner: Any, support: Examples, *, seed: int = 5, **options: Any) -> Predictor:
        """Adapt the learner with a seeded generator."""
        return learner.adapt(support, generator=self.generator(seed), **options)

    def draws_in_loss(self, learner: Any, tasks: Tasks) -> bool:
        """Return whether the loss depends on random numbers."""
        return not torch.equal(loss(learner, tasks, seed=11), loss(learner, tasks, seed=12))

    def draws_in_adapt(self, learner: Any, tasks: Tasks) -> bool:
        """Return whether predictions depend on random numbers."""
        one, other = (self.adapt(learner, tasks.support, seed=seed)(tasks.query.x).mean for seed in (5, 6))
        return not torch.equal(one, other)


def loss(learner: Any, tasks: Tasks, seed: int = 11) -> Tensor:
    """Return the meta-loss, with torch's random numbers seeded."""
    torch.manual_seed(seed)
    return learner.meta_loss(tasks)


def parameters(learner: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that require grad."""
    return [p for p in learner.parameters() if p.requires_grad]


def gradient(learner: nn.Module, tasks: Tasks) -> Tensor:
    """Return the meta-gradient of all parameters as a vector, 0 for parameters that do not affect the loss."""
    learned = parameters(learner)
    found = torch.autograd.grad(loss(learner, tasks), learned, allow_unused=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(found, learned, strict=True)])


def reordered(examples: Examples, order: Tensor) -> Examples:
    """Return the points of each task in another order: `order [N]`, or `[T, N]`."""
    order = order.to(examples.x.device).expand(examples.x.shape[:2])

    def take(tensor: Tensor) -> Tensor:
        index = aligned(order, tensor).expand(*order.shape, *tensor.shape[2:])
        return tensor.gather(1, index)

    return Examples(take(examples.x), take(examples.y), None if examples.mask is None else take(examples.mask))


def real_first(examples: Examples) -> Examples:
    """Return the same points, with real ones before padding."""
    if examples.mask is None:
        return examples
    return reordered(examples, examples.mask.int().argsort(dim=1, descending=True, stable=True))


def rest(examples: Examples, n: int) -> Examples:
    """Return all but the first `n` places."""
    return Examples(examples.x[:, n:], examples.y[:, n:], None if examples.mask is None else examples.mask[:, n:])


def longer(examples: Examples, extra: int) -> Examples:
    """Append `extra` masked places that hold NaN (-1 for integers)."""

    def extended(tensor: Tensor) -> Tensor:
        shape = (len(tensor), extra, *tensor.shape[2:])
        fill = float("nan") if tensor.is_floating_point() else -1
        return torch.cat([tensor, tensor.new_full(shape, fill)], 1)

    mask = torch.cat([examples.real(), examples.real().new_zeros(examples.num_tasks, extra)], 1)
    return Examples(extended(examples.x), extended(examples.y), mask)


def cut(examples: Examples, sizes: list[int]) -> Examples:
    """Keep the first `sizes[t]` points of each task, and turn the others into padding with NaN (-1 for integers)."""
    kept = torch.arange(examples.num_points, device=examples.x.device)
    mask = (kept < torch.tensor(sizes, device=examples.x.device)[:, None]) & examples.real()

    def fill(tensor: Tensor) -> Tensor:
        return tensor.where(aligned(mask, tensor), float("nan") if tensor.is_floating_point() else -1)

    return Examples(fill(examples.x), fill(examples.y), mask)

"""A task family of somebody's own, and wrong ones: each breaks one property. Nothing here comes from the tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

import quickstudy as qs
from quickstudy.learner import check_counts, check_split
from quickstudy.tasks.sampling import Batch, split_generator, uniform


@dataclass(frozen=True)
class Decay:
    """y = exp(-x / tau), x in [0, 5]: one time constant a task."""

    noise: float = 0.1
    dx: int = 1
    dy: int = 1

    def sample(self, num_tasks, *, support, query, split="train", generator=None):
        generator = self.chance(num_tasks, support, query, split, generator)
        tau = 0.5 + 4.5 * self.draw(num_tasks, 1, 1, generator=generator)
        x = 5 * self.draw(num_tasks, support + query, 1, generator=generator)
        y = torch.exp(-x / tau)
        y = y + self.noise * torch.randn(y.shape, generator=generator, device=y.device)
        return self.tasks(x, y, support, {"tau": tau.view(-1)})

    def chance(self, num_tasks, support, query, split, generator):
        return split_generator(num_tasks, support, query, split, generator)

    def draw(self, *shape, generator):
        return uniform(*shape, generator=generator)

    def tasks(self, x, y, support, info):
        return qs.Tasks(qs.Examples(x[:, :support], y[:, :support]), qs.Examples(x[:, support:], y[:, support:]), info)


class SplitIgnored(Decay):
    def chance(self, num_tasks, support, query, split, generator):
        check_counts(num_tasks, support, query)
        check_split(split)
        return generator


class Unchecked(Decay):
    def chance(self, num_tasks, support, query, split, generator):
        if split != "train":
            salt = {"validation": 1, "test": 2}.get(split, 3)
            seed = int(torch.randint(2**62, (), generator=generator))
            return torch.Generator().manual_seed(seed ^ salt)
        return generator


class NumpyChance(Decay):
    def draw(self, *shape, generator):
        return torch.as_tensor(np.random.rand(*shape), dtype=torch.get_default_dtype())


class TorchChance(Decay):
    """Right with equal seeds, but torch's own numbers move on."""

    def draw(self, *shape, generator):
        torch.rand(3)
        return super().draw(*shape, generator=generator)


class SameEveryTime(Decay):
    def chance(self, num_tasks, support, query, split, generator):
        found = super().chance(num_tasks, support, query, split, generator)
        seed = None if generator is None else generator.initial_seed() + len(split)
        return found if seed is None else torch.Generator().manual_seed(seed)


class OneType(Decay):
    def tasks(self, x, y, support, info):
        tasks = super().tasks(x, y, support, info)
        return tasks.to(dtype=torch.float32)


class OneDevice(Decay):
    def sample(self, num_tasks, *, support, query, split="train", generator=None):
        tasks = super().sample(num_tasks, support=support, query=query, split=split, generator=generator)
        shift = torch.linspace(0, 1, num_tasks).view(-1, 1, 1)
        return qs.Tasks(*(qs.Examples(e.x, e.y + shift) for e in tasks[:2]), tasks.info)


class InfoOfPoints(Decay):
    def tasks(self, x, y, support, info):
        return super().tasks(x, y, support, {"tau": info["tau"].mean()})


class NoEmptySupport(Decay):
    def tasks(self, x, y, support, info):
        return super().tasks(x, y, max(support, 1), info)


class Infinite(Decay):
    def tasks(self, x, y, support, info):
        return super().tasks(x, torch.where(x > 4.99, torch.inf, y), support, info)


class OneTask(Decay):
    def tasks(self, x, y, support, info):
        return super().tasks(x[:1].expand_as(x), y[:1].expand_as(y), support, info)


class Overlapping(Decay):
    def tasks(self, x, y, support, info):
        n = x.shape[1] - support
        return qs.Tasks(qs.Examples(x[:, :support], y[:, :support]), qs.Examples(x[:, :n], y[:, :n]), info)


@dataclass(frozen=True)
class OverlappingLabels(Decay):
    """Labels of real inputs; the query starts with the support points."""

    dy: int = 2

    def tasks(self, x, y, support, info):
        n, label = x.shape[1] - support, (y[..., 0] > 0.5).long()
        return qs.Tasks(qs.Examples(x[:, :support], label[:, :support]), qs.Examples(x[:, :n], label[:, :n]), info)


class Address(Decay):
    __repr__ = object.__repr__


class OtherFeatures(Decay):
    def tasks(self, x, y, support, info):
        return super().tasks(torch.cat([x, x], 2), y, support, info)


class LosesAnAxis(Decay):
    def tasks(self, x, y, support, info):
        return super().tasks(x, y[..., 0], support, info)


@dataclass(frozen=True)
class Kept(Decay):
    """Keeps its tasks, and gives them out again."""

    def sample(self, num_tasks, *, support, query, split="train", generator=None):
        fresh = super().sample(num_tasks, support=support, query=query, split=split, generator=generator)
        place = (fresh.info["tau"].tolist().__repr__(), support, query)
        return KEPT.setdefault(place, fresh)


KEPT: dict = {}


@dataclass(frozen=True)
class Steady(Decay):
    """The same, with held-out tasks that do not depend on the numbers of points."""

    def sample(self, num_tasks, *, support, query, split="train", generator=None):
        batch = Batch(num_tasks, support, query, split, generator)
        draws = batch.uniform(1)
        tau, x = 0.5 + 4.5 * draws[:, :1], batch.inputs(draws[:, 1:], (0.0, 5.0))
        return batch.tasks(x, torch.exp(-x / tau[:, None]), {"tau": tau[:, 0]}, self.noise)


class OtherOutputs(Steady):
    """Draws the inputs alike, and then outputs that depend on how many there are."""

    def sample(self, num_tasks, *, support, query, split="train", generator=None):
        tasks = super().sample(num_tasks, support=support, query=query, split=split, generator=generator)
        size = 1 + (support + query) / 100
        return qs.Tasks(*(qs.Examples(e.x, e.y * size) for e in tasks[:2]), tasks.info)


# the class, the property that it breaks, words of the message
WRONG = [
    (SplitIgnored, "splits share no task", "split_generator(num_tasks, support, query, split, generator) does"),
    (Unchecked, "impossible requests are refused", "check_counts and check_split"),
    (NumpyChance, "equal seeds give equal tasks", "not by numpy or Python's random"),
    (TorchChance, "a generator is the only source of chance", "drew from torch's own random numbers"),
    (SameEveryTime, "a generator moves on", "it is not advanced"),
    (OneType, "tasks have the default type", "float32 where torch's default is torch.float64"),
    (OneDevice, "tasks live on the device of the generator", "pass device=generator.device"),
    (InfoOfPoints, "info is led by tasks", "info['tau'] has shape []; expected [6, ...]"),
    (NoEmptySupport, "a support set may be empty", "support=0 gave 1 support points"),
    (Infinite, "real points are finite", "y has a NaN or infinite value at a real point"),
    (Kept, "writing into tasks changes no others", "return a copy (tensor.clone())"),
    (OneTask, "the tasks of a batch differ", "leading axis [num_tasks, ...]"),
    (OtherOutputs, "held out tasks do not depend on the numbers of points", "at other numbers of points"),
    (Overlapping, "query points are not support points", "x[:, support:], not x[:, :query]"),
    (OverlappingLabels, "query points are not support points", "several points of a class have the same inputs"),
    (Address, "its repr tells families apart", "make the family a dataclass"),
    (OtherFeatures, "shapes are those of the contract", "has 2 features for each point, and the family says dx=1"),
    (LosesAnAxis, "shapes are those of the contract", "y.unsqueeze(-1)"),
]

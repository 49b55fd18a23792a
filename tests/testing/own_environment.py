"""An environment of somebody's own, and wrong ones: each breaks one property. Nothing here comes from the tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete

from quickstudy.learner import check_generator
from quickstudy.rl import EnvironmentFailure, Step
from quickstudy.rl.envs.checks import check_action, check_tasks
from quickstudy.tasks.sampling import split_generator, uniform


class Walk:
    """A point on a line is moved to a goal, which is its task; an episode ends there."""

    def __init__(self, *, num_envs: int = 4, horizon: int = 6):
        self.num_envs, self.horizon = num_envs, horizon
        self.dtype, self.device = torch.get_default_dtype(), torch.get_default_device()
        real = np.float64 if self.dtype == torch.float64 else np.float32
        self.observation_space, self.action_space = Box(-9.0, 9.0, (1,), dtype=real), Box(-1.0, 1.0, (1,), dtype=real)
        self.tasks: dict[str, Any] = {}
        self.num_tasks, self.generator, self.steps = 0, None, None

    def __repr__(self):
        return f"{type(self).__name__}(num_envs={self.num_envs}, horizon={self.horizon})"

    def sample_tasks(self, num_tasks, *, split="train", generator=None):
        generator = split_generator(num_tasks, 0, 1, split, generator)
        return {"goal": 2 * uniform(num_tasks, generator=generator) - 1}

    def set_tasks(self, tasks):
        check_tasks("Walk", tasks, {"goal": ()})
        self.tasks = {k: v.detach().to(self.device, self.dtype, copy=True) for k, v in tasks.items()}
        self.num_tasks, self.steps = len(self.tasks["goal"]), None

    def reset(self, mask=None, *, generator=None):
        check_generator(generator)
        shape = (self.num_tasks, self.num_envs)
        if not self.num_tasks or (mask is not None and self.steps is None):
            raise RuntimeError("Walk: call set_tasks(...) and reset() first")
        if mask is not None and not (
            isinstance(mask, torch.Tensor) and mask.dtype == torch.bool and mask.shape == shape
        ):
            raise ValueError(f"Walk.reset: expected a bool tensor [T, E] = {list(shape)}")
        self.generator = self.generator if generator is None else generator
        start = 0.1 * self.draw(shape)
        if mask is None:
            mask = torch.ones(shape, dtype=torch.bool, device=self.device)
            self.place, self.steps = start, torch.zeros(shape, dtype=torch.long, device=self.device)
            self.ended = ~mask
        self.place, self.steps = torch.where(mask, start, self.place), self.steps.masked_fill(mask, 0)
        self.ended = self.ended & ~mask
        return self.seen(), {}

    def draw(self, shape):
        return torch.rand(shape, generator=self.generator, dtype=self.dtype, device=self.device)

    def step(self, action):
        if self.steps is None:
            raise RuntimeError("Walk: call set_tasks(...) and reset() first")
        action = self.check(action)
        running = ~self.ended & (self.steps < self.horizon)
        action = action.to(self.dtype)[..., 0]
        self.place = torch.where(running, self.move(action), self.place)
        self.steps = self.steps + running
        distance = (self.place - self.tasks["goal"][:, None]).abs()
        self.ended = self.ended | (running & (distance < 0.05))
        truncated = ~self.ended & (self.steps >= self.horizon)
        return Step(self.seen(), torch.where(running, -distance, 0.0), self.ended.clone(), truncated, {})

    def check(self, action):
        check_action("Walk", action, self.num_tasks, self.num_envs, self.action_space)
        if action.isnan().any():
            raise EnvironmentFailure(f"Walk: the action is NaN at {action.isnan().nonzero()[0].tolist()}")
        return action

    def move(self, action):
        return self.place + 0.3 * action.clamp(-1, 1) + 0.1 * self.tasks["goal"][:, None]

    def seen(self):
        return self.place[..., None].clone()


class LeftRight(Walk):
    """The same with two actions."""

    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.action_space = Discrete(2)

    def check(self, action):
        check_action("LeftRight", action, self.num_tasks, self.num_envs, self.action_space)
        return (2 * action - 1)[..., None]


class TasksMeet(Walk):
    def move(self, action):
        return super().move(action) + 0.01 * self.place.mean(0)


class IgnoresTasks(Walk):
    """Neither parameters nor actions matter."""

    def set_tasks(self, tasks):
        super().set_tasks(tasks)
        self.tasks = {"goal": torch.ones_like(self.tasks["goal"])}

    def move(self, action):
        return self.place + 0.1


class ResetsAll(Walk):
    def reset(self, mask=None, *, generator=None):
        super().reset(mask, generator=generator)
        return super().reset(generator=generator)


class OneClock(Walk):
    """Counts steps of all environments together."""

    def reset(self, mask=None, *, generator=None):
        before = self.steps
        found = super().reset(mask, generator=generator)
        if mask is not None:
            self.steps = before
        return found


class DrawsByMask(Walk):
    def reset(self, mask=None, *, generator=None):
        found = super().reset(mask, generator=generator)
        if mask is not None:
            torch.rand(int(mask.sum()), generator=self.generator)
        return found


class TooLong(Walk):
    def step(self, action):
        found = super().step(action)
        return found._replace(truncated=found.truncated & (self.steps > self.horizon))


class PaysTheDead(Walk):
    def step(self, action):
        found = super().step(action)
        return found._replace(reward=found.reward - 1)


class ResetsItself(Walk):
    """As gymnasium's vector environments do."""

    def step(self, action):
        found = super().step(action)
        done = found.terminated | found.truncated
        if done.any():
            observation, _ = self.reset(done)
            return found._replace(observation=observation)
        return found


class OldApi(Walk):
    def reset(self, mask=None, *, generator=None):
        return super().reset(mask, generator=generator)[0]


class DrawsFromAList(Walk):
    """Ten goals, in every split in another order."""

    def sample_tasks(self, num_tasks, *, split="train", generator=None):
        drawn = super().sample_tasks(num_tasks, split=split, generator=generator)
        return {"goal": (drawn["goal"] * 10).floor() / 10}


class TwoGoals(Walk):
    """All the tasks there are: a goal on either side."""

    def sample_tasks(self, num_tasks, *, split="train", generator=None):
        drawn = super().sample_tasks(num_tasks, split=split, generator=generator)
        return {"goal": torch.where(drawn["goal"] > 0, 1.0, -1.0).to(drawn["goal"])}


class HandsOutItsReward(Walk):
    """One buffer for all rewards, as on a GPU."""

    def step(self, action):
        found = super().step(action)
        self.paid = found.reward if getattr(self, "paid", None) is None else self.paid
        if self.paid.shape != found.reward.shape or self.paid.dtype != found.reward.dtype:
            self.paid = found.reward
        return found._replace(reward=self.paid.copy_(found.reward))


class HandsOutItsInfo(Walk):
    """The positions in `info` are its own."""

    def step(self, action):
        found = super().step(action)
        if getattr(self, "shown", torch.empty(0)).shape != self.place.shape:
            self.shown = self.place.clone()
        return found._replace(info={"place": self.shown.copy_(self.place)})


class GymnasiumsOwnChance(Walk):
    def draw(self, shape):
        return torch.as_tensor(np.random.rand(*shape), dtype=self.dtype)


class TorchChance(Walk):
    def draw(self, shape):
        if self.generator is not None:
            torch.manual_seed(self.generator.initial_seed())
        return torch.rand(shape, dtype=self.dtype, device=self.device)


class LeaksState(Walk):
    def seen(self):
        return self.place[..., None]


class KeepsTasks(Walk):
    """Something is left of the tasks before."""

    def set_tasks(self, tasks):
        self.offset = getattr(self, "offset", -0.01) + 0.01
        super().set_tasks(tasks)

    def seen(self):
        return self.place[..., None] + self.offset


class OneType(Walk):
    def seen(self):
        return super().seen().float()


class OutOfBounds(Walk):
    def seen(self):
        return super().seen() + 100


class Unchecked(Walk):
    def check(self, action):
        return action


class AnyMask(Walk):
    def reset(self, mask=None, *, generator=None):
        if mask is not None and self.steps is not None:
            mask = torch.as_tensor(mask).bool().expand(self.num_tasks, self.num_envs)
        return super().reset(mask, generator=generator)


class EarlySteps(Walk):
    """Old episodes go on after new tasks."""

    def set_tasks(self, tasks):
        before = self.steps
        super().set_tasks(tasks)
        self.steps = before


class SplitIgnored(Walk):
    def sample_tasks(self, num_tasks, *, split="train", generator=None):
        split_generator(num_tasks, 0, 1, split, torch.Generator())
        return super().sample_tasks(num_tasks, generator=generator)


class Boundless(Walk):
    def move(self, action):
        return super().move(action) + torch.where(action.abs() > 1, torch.inf, 0.0)


class NoTasks(Walk):
    sample_tasks = None

    def __getattribute__(self, name):
        if name == "sample_tasks":
            raise AttributeError(name)
        return super().__getattribute__(name)


class AnyTasks(Walk):
    def set_tasks(self, tasks):
        super().set_tasks({"goal": torch.as_tensor(tasks["goal"]).nan_to_num()} if isinstance(tasks, dict) else tasks)


# the class, the property that it breaks, words of the message
WRONG = [
    (TasksMeet, "tasks do not meet", "keep the axes [T, E] apart"),
    (IgnoresTasks, "tasks do not meet", "does step use what set_tasks gave?"),
    (ResetsAll, "a reset of some leaves the others", "torch.where(mask, new, old)"),
    (OneClock, "a reset of some leaves the others", "count the steps of each separately"),
    (DrawsByMask, "a reset draws the same whatever the mask", "draw for all environments"),
    (TooLong, "the horizon truncates", "at step 6 of a horizon of 6"),
    (PaysTheDead, "what is done stays done", "a finished episode gave a reward"),
    (ResetsItself, "what is done stays done", "the observation of a finished episode changed"),
    (OldApi, "it has the members of the contract", "expected a tuple (observation, info)"),
    (GymnasiumsOwnChance, "equal seeds give equal runs", "Draw from the generator that reset was given"),
    (TorchChance, "a generator is the only source of chance", "keep the generator and draw from it"),
    (LeaksState, "the callers data are safe", "return copies of the state"),
    (DrawsFromAList, "held out tasks are held out", "tasks are training tasks. Give each task of a finite list"),
    (HandsOutItsReward, "what it returned stays as it was", "reward of step 1 changed when the environment went on"),
    (HandsOutItsInfo, "what it returned stays as it was", "place of step 1 changed when the environment went on"),
    (KeepsTasks, "tasks can be set and set back", "after other tasks were set and these set back"),
    (OneType, "shapes and types are those of the contract", "float32 where torch's default is torch.float64"),
    (OutOfBounds, "observations lie in their space", "its bounds must hold what is observed"),
    (Unchecked, "wrong actions are refused", "check_action(name, action"),
    (AnyMask, "wrong masks are refused", "check mask.dtype and mask.shape"),
    (EarlySteps, "a step too early is refused", "Forget the old episodes in set_tasks"),
    (SplitIgnored, "tasks are drawn", "give each split a seed of its own"),
    (Boundless, "actions beyond their bounds are clipped", "action.clamp(low, high)"),
    (NoTasks, "it has the members of the contract", "NoTasks has no sample_tasks"),
    (AnyTasks, "tasks that are not finite tensors are refused", "check_tasks(name, tasks, shapes)"),
]

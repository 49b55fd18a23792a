"""Navigation to a goal that is not observed: the first reinforcement-learning experiment of MAML."""

from typing import Any, Literal, Self, final

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from quickstudy.learner import Split
from quickstudy.rl.environment import EnvironmentTasks, Step
from quickstudy.rl.envs.stage import (
    DEVICE,
    NUM_TASKS,
    TASKS,
    Stage,
    by_component,
    numpy_dtype,
    per_task,
    standard_normal,
    task_generator,
)
from quickstudy.tasks.sampling import Range, as_range, bounds, number, stretch, uniform

Reward = Literal["distance", "near", "progress"]
Arrival = Literal["box", "disc", "never"]
_REWARDS, _ARRIVALS = ("distance", "near", "progress"), ("box", "disc", "never")


@final
class Navigation2D:
    """A point moves on a plane towards a goal: s' = s + a, r = -|s' - g|.

    As in Finn et al. 2017 (MAML), section 5.3, and the code of that paper: the point starts at s = (0, 0), which is the
    observation; actions are clipped to [-1, 1]² and move it by up to 0.1 in each coordinate; the episode terminates
    when both coordinates of s' - g are within 0.01, and is truncated after 100 steps; goals are drawn from
    U(-0.5, 0.5)².

    A task consists of `goal [T, 2]`. `unit_board`, `semicircle` and `corners` are the boards of other papers; the
    arguments can combine their parts.

    Args:
        goals: where goals are drawn: a `(low, high)` range of each coordinate, "semicircle" (the upper half of the unit
            circle) or "corners" (±2, ±2).
        start: each coordinate of the first position; a number, or a range drawn for every episode.
        reach: the longest move in each coordinate.
        scaled: True: actions are clipped to [-1, 1] and multiplied by `reach`. False: actions are moves, clipped to
            `reach`.
        inertia: weight of the previous action in a move; with 0.5 the point moves by the mean of this and the previous
            action, which is 0 at the start. The previous action is not observed, so observations are Markov only
            without inertia.
        noise: standard deviation of the normal noise added to each coordinate of a move.
        walls: `(low, high)`, reflecting edges of the board in each coordinate; None for an unbounded plane.
        reward: "distance": -|s' - g|. "near": 1 - |s' - g| within `radius` of the goal, 0 elsewhere. "progress":
            |s - g| - |s' - g| where s' is in the quadrant of the goal and |s'|_1 >= `radius`, 0 elsewhere.
        radius: distance used by the rewards "near" and "progress".
        arrival: when an episode terminates: "box": both coordinates of s' - g are within 0.01. "disc": |s' - g| is
            below 0.01. "never": only the horizon ends it.
        num_envs: E, environments of each task.
        horizon: steps until an episode is truncated.
        device: device of tasks, observations and rewards; None is torch's default device.

    Raises:
        ValueError: for an empty range, a negative noise, an inertia outside [0, 1), an unknown reward or arrival.

    >>> env = Navigation2D(num_envs=3)
    >>> env.set_tasks(env.sample_tasks(2, generator=torch.Generator().manual_seed(0)))
    >>> env.reset()[0].shape
    torch.Size([2, 3, 2])
    >>> step = env.step(torch.ones(2, 3, 2))
    >>> step.observation[0, 0], bool(step.terminated.any())
    (tensor([0.1000, 0.1000]), False)
    """

    num_tasks, device, tasks = NUM_TASKS, DEVICE, TASKS

    def __init__(
        self,
        *,
        goals: tuple[float, float] | Literal["semicircle", "corners"] = (-0.5, 0.5),
        start: Range = 0.0,
        reach: float = 0.1,
        scaled: bool = True,
        inertia: float = 0.0,
        noise: float = 0.0,
        walls: tuple[float, float] | None = None,
        reward: Reward = "distance",
        radius: float = 0.2,
        arrival: Arrival = "box",
        num_envs: int = 20,
        horizon: int = 100,
        device: torch.device | str | None = None,
    ):
        self._goals = goals if goals in ("semicircle", "corners") else as_range("goals", goals)
        self._start, self._scaled = as_range("start", start), bool(scaled)
        self._reach, self._inertia = number("reach", reach), number("inertia", inertia)
        self._noise, self._radius = number("noise", noise), number("radius", radius)
        self._walls = None if walls is None else bounds(as_range("walls", walls))
        if self._walls is not None and not self._walls[0] < self._walls[1]:
            raise ValueError(f"walls={walls!r}; expected a pair (low, high) with low < high")
        if self._inertia >= 1:
            raise ValueError(f"inertia={inertia!r}; expected a share of at least 0 and below 1")
        for name, word, words in (("reward", reward, _REWARDS), ("arrival", arrival, _ARRIVALS)):
            if word not in words:
                raise ValueError(f"{name}={word!r}; choose one of {', '.join(words)}")
        self._reward, self._arrival = reward, arrival
        self.num_envs, self.horizon = num_envs, horizon
        low, high = self._walls or (-np.inf, np.inf)
        limit = 1.0 if scaled else self._reach
        self.observation_space = Box(low, high, (2,), dtype=numpy_dtype())
        self.action_space = Box(-limit, limit, (2,), dtype=numpy_dtype())
        self._state = torch.empty(0)
        self._stage = Stage(
            "Navigation2D", num_envs=num_envs, horizon=horizon, action_space=self.action_space, device=device
        )

    @classmethod
    def unit_board(cls, **changes: Any) -> Self:
        """A walled board [0, 1]² with noise: episodes start in its middle, goals are drawn anywhere on it.

        Actions are moves, clipped to 0.1. The point moves by the mean of this and the previous action, plus noise of
        standard deviation 0.1. The episode terminates within 0.01 of the goal. The previous action is not observed, so
        observations are not Markov.

        Args:
            changes: arguments of the class that replace those of this board.
        """
        board: dict[str, Any] = {"goals": (0.0, 1.0), "walls": (0.0, 1.0), "start": 0.5, "arrival": "disc"}
        return cls(**board | {"scaled": False, "inertia": 0.5, "noise": 0.1} | changes)

    @classmethod
    def semicircle(cls, **changes: Any) -> Self:
        """Goals on the unit semicircle, rewarded only within 0.2: Rakelly et al. 2019 (PEARL), Zintgraf et al. 2020.

        Args:
            changes: arguments of the class that replace those of this board; `reward="distance"` is the dense reward
                of PEARL.
        """
        board: dict[str, Any] = {"goals": "semicircle", "reward": "near", "radius": 0.2, "arrival": "never"}
        return cls(**board | changes)

    @classmethod
    def corners(cls, **changes: Any) -> Self:
        """Goals (±2, ±2); only progress in the quadrant of the goal is rewarded: Rothfuss et al. 2019 (ProMP).

        Args:
            changes: arguments of the class that replace those of this board.
        """
        board: dict[str, Any] = {"goals": "corners", "start": (-0.2, 0.2), "reach": 0.2, "scaled": False}
        return cls(**board | {"reward": "progress", "radius": 0.5, "arrival": "never"} | changes)

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this environment."""
        words = ("goals", "start", "reach", "scaled", "inertia", "noise", "walls", "reward", "radius", "arrival")
        return {word: getattr(self, f"_{word}") for word in words} | {
            "num_envs": self.num_envs,
            "horizon": self.horizon,
        }

    def __repr__(self) -> str:
        return f"Navigation2D({', '.join(f'{word}={value!r}' for word, value in self.config().items())})"

    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """Draw goals `[T, 2]`; equal seeds give different tasks in different splits."""
        generator = task_generator(num_tasks, split, generator)
        draws = uniform(num_tasks, 2, generator=generator)
        if self._goals == "semicircle":
            angle = draws[:, 0] * torch.pi
            return {"goal": torch.stack([angle.cos(), angle.sin()], 1)}
        if self._goals == "corners":
            return {"goal": torch.where(draws < 0.5, -2.0, 2.0).to(draws.dtype)}
        return {"goal": stretch(draws, self._goals)}

    def set_tasks(self, tasks: EnvironmentTasks) -> None:
        """Set the goals `[T, 2]`; call `reset` before the next step."""
        self._stage.set_tasks(tasks, {"goal": (2,)})

    def reset(
        self, mask: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start new episodes where `mask [T, E]` is True (everywhere for None); return all positions `[T, E, 2]`."""
        new = self._stage.start(mask, generator).unsqueeze(-1)
        start = stretch(self._stage.uniform(2), self._start)
        if self._inertia:
            start = torch.cat([start, torch.zeros_like(start)], -1)
        start = by_component(start)
        self._state = start if mask is None else torch.where(new, start, self._state)
        return self._observation(), {}

    def step(self, action: Tensor) -> Step:
        """Move each point by `action [T, E, 2]`."""
        stage = self._stage
        running, action = stage.running(), by_component(stage.check_action(action))
        state, reward, ended = self.dynamics(stage.tasks, self._state, action, stage.generator)
        self._state = torch.where(running.unsqueeze(-1), state, self._state)
        terminated, truncated = stage.tick(ended)
        return Step(self._observation(), torch.where(running, reward, 0.0), terminated, truncated, {})

    def _observation(self) -> Tensor:
        position = self._state[..., :2] if self._inertia else self._state
        return position.clone(memory_format=torch.contiguous_format)

    def dynamics(
        self, tasks: EnvironmentTasks, state: Tensor, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Next state, reward and terminated from `state [T, ..., ds]` and `action [T, ..., 2]`.

        The state is the position; with inertia, the position and the previous action.
        """
        limit = 1.0 if self._scaled else self._reach
        move = action.clamp(-limit, limit)
        if self._scaled:
            move = move * self._reach
        before, last = state.split(2, -1) if self._inertia else (state, move)
        position = before + (move.lerp(last, self._inertia) if self._inertia else move)
        if self._noise:
            noise = standard_normal(tuple(position.shape), generator, position.device, position.dtype)
            position = position + self._noise * noise
        if self._walls is not None:
            position = _reflect(position, *self._walls)
        goal = per_task(tasks["goal"], state.dim() - 1)
        offset = position - goal
        distance = torch.hypot(*offset.unbind(-1))
        reward = self._rewarded(before, position, goal, distance)
        if self._arrival == "box":
            ended = torch.maximum(*offset.abs().unbind(-1)) < 0.01
        else:
            ended = distance < (0.01 if self._arrival == "disc" else 0.0)
        return torch.cat([position, move], -1) if self._inertia else position, reward, ended

    def _rewarded(self, before: Tensor, after: Tensor, goal: Tensor, distance: Tensor) -> Tensor:
        if self._reward == "distance":
            return -distance
        if self._reward == "near":
            return torch.where(distance <= self._radius, 1 - distance, 0.0)
        seen = (after * goal >= 0).all(-1) & (after.abs().sum(-1) >= self._radius)
        return torch.where(seen, torch.hypot(*(before - goal).unbind(-1)) - distance, 0.0)

    def render(self, task: int = 0, environment: int = 0) -> np.ndarray:
        """A picture `[height, width, 3]` of one environment."""
        from quickstudy.rl.envs.rendering import navigation

        self._stage.running()
        x, y = self._state[task, environment, :2].tolist()
        gx, gy = self._stage.tasks["goal"][task].tolist()
        far = 2.5 if self._goals == "corners" else 1.2
        low, high = self._walls or (-far, far)
        return navigation((x, y), (gx, gy), low, high)


def _reflect(x: Tensor, low: float, high: float) -> Tensor:
    """`x` reflected at both ends of [low, high], as often as needed."""
    width = high - low
    return high - ((x - low).remainder(2 * width) - width).abs()

"""A pendulum with a motor: gymnasium's Pendulum with mass, length, gravity and torque that differ between tasks."""

import math
from typing import Any, Self, final

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
    task_generator,
)
from quickstudy.tasks.sampling import Range, as_range, stretch, uniform

PHYSICS = ("mass", "length", "gravity", "max_torque")
TAU = 0.05  # seconds between states
FASTEST = 8.0  # radians per second


@final
class Pendulum:
    """Swing a pendulum up, and keep it upright, with a motor that is too weak to lift it at once.

    With mass m, length l, gravity g, and the torque u, clipped to ±max_torque, the angle θ from the upright position
    follows (a rod that turns about its end)

        θ̈ = 3 g sin θ / (2 l) + 3 u / (m l²)

    by steps of 0.05 s, in which the velocity comes first and is clipped to ±8 rad/s. Steps are equal to those of
    gymnasium's Pendulum-v1, to rounding. The observation is the state (cos θ, sin θ, θ̇), which starts with θ in
    U(-π, π) and θ̇ in U(-1, 1); the reward, from the state before the step, is -(θ² + 0.1 θ̇² + 0.001 u²) with θ in
    [-π, π]; episodes never terminate.

    A task consists of mass (kg), length (m), gravity (m/s²) and max_torque (Nm), `[T]` each. Actions are torques up to
    the largest max_torque of all tasks; each pendulum's motor gives at most its own.

    Args:
        mass, length, gravity, max_torque: a number for all tasks, or a `(low, high)` range drawn for every task. By
            default mass and length vary.
        num_envs: E, environments of each task.
        horizon: steps until an episode is truncated; 200 as in Pendulum-v1.
        device: device of tasks, observations and rewards; None is torch's default device.

    Raises:
        ValueError: for masses, lengths or torques that are not above 0, gravity below 0, and empty ranges.

    >>> env = Pendulum(num_envs=3)
    >>> env.set_tasks(env.sample_tasks(2, generator=torch.Generator().manual_seed(0)))
    >>> observation, _ = env.reset(generator=torch.Generator().manual_seed(1))
    >>> observation.shape, env.step(torch.zeros(2, 3, 1)).reward.shape
    (torch.Size([2, 3, 3]), torch.Size([2, 3]))
    """

    num_tasks, device, tasks = NUM_TASKS, DEVICE, TASKS

    def __init__(
        self,
        *,
        mass: Range = (0.5, 1.5),
        length: Range = (0.7, 1.3),
        gravity: Range = 10.0,
        max_torque: Range = 2.0,
        num_envs: int = 20,
        horizon: int = 200,
        device: torch.device | str | None = None,
    ):
        given = dict(zip(PHYSICS, (mass, length, gravity, max_torque), strict=True))
        least = {"gravity": 0.0}
        self._ranges = {
            k: as_range(k, v, least.get(k, -math.inf), -math.inf if k in least else 0) for k, v in given.items()
        }
        self.num_envs, self.horizon = num_envs, horizon
        high = np.array([1.0, 1.0, FASTEST], dtype=numpy_dtype())
        self.observation_space = Box(-high, high, dtype=numpy_dtype())
        strongest = self._ranges["max_torque"]
        limit = strongest[1] if isinstance(strongest, tuple) else strongest
        self.action_space = Box(-limit, limit, (1,), dtype=numpy_dtype())
        self._state = torch.empty(0)
        self._stage = Stage(
            "Pendulum", num_envs=num_envs, horizon=horizon, action_space=self.action_space, device=device
        )

    @classmethod
    def standard(cls, *, num_envs: int = 20, horizon: int = 200, device: torch.device | str | None = None) -> Self:
        """gymnasium's Pendulum-v1, the same in every task."""
        return cls(mass=1.0, length=1.0, num_envs=num_envs, horizon=horizon, device=device)

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this environment."""
        return {**self._ranges, "num_envs": self.num_envs, "horizon": self.horizon}

    def __repr__(self) -> str:
        return f"Pendulum({', '.join(f'{word}={value!r}' for word, value in self.config().items())})"

    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """Draw mass, length, gravity and torque, `[T]` each; equal seeds give different tasks in different splits."""
        generator = task_generator(num_tasks, split, generator)
        draws = uniform(len(PHYSICS), num_tasks, generator=generator)
        return {k: stretch(draw, self._ranges[k]) for k, draw in zip(PHYSICS, draws, strict=True)}

    def set_tasks(self, tasks: EnvironmentTasks) -> None:
        """Set mass, length, gravity and torque, `[T]` each; call `reset` before the next step.

        Raises:
            TypeError, ValueError: for other names or shapes, and masses, lengths or torques that are not above 0,
                gravity below 0.
        """
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(PHYSICS, ())
        self._stage.set_tasks(tasks, shapes, positive=("mass", "length", "max_torque"), not_negative=("gravity",))

    def reset(
        self, mask: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start new episodes where `mask [T, E]` is True (everywhere for None), and return all states `[T, E, 3]`."""
        new = self._stage.start(mask, generator).unsqueeze(-1)
        angle, speed = self._stage.uniform(2).mul_(2).sub_(1).unbind(-1)
        start = _state(math.pi * angle, speed)
        self._state = start if mask is None else torch.where(new, start, self._state)
        return self._state.clone(memory_format=torch.contiguous_format), {}

    def step(self, action: Tensor) -> Step:
        """Turn each motor: torques `action [T, E, 1]`."""
        stage = self._stage
        running, action = stage.running(), stage.check_action(action)
        state, reward, ended = self.dynamics(stage.tasks, self._state, action)
        self._state = torch.where(running.unsqueeze(-1), state, self._state)
        terminated, truncated = stage.tick(ended)
        observation = self._state.clone(memory_format=torch.contiguous_format)
        return Step(observation, torch.where(running, reward, 0.0), terminated, truncated, {})

    def dynamics(
        self, tasks: EnvironmentTasks, state: Tensor, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Next state, reward and terminated, by the equation above: `state [T, ..., 3]` and `action [T, ..., 1]`.

        Pendulum is deterministic: `generator` is not used.
        """
        mass, length, gravity, most = (per_task(tasks[k], state.dim() - 1) for k in PHYSICS)
        torque = action[..., 0].clamp(-most, most)
        cos, sin, speed = state.unbind(-1)
        angle = torch.atan2(sin, cos)
        reward = -(angle.square() + 0.1 * speed.square() + 0.001 * torque.square())
        push = 1.5 * gravity / length * sin + 3 / (mass * length.square()) * torque
        speed = torch.add(speed, push, alpha=TAU).clamp(-FASTEST, FASTEST)
        return _state(angle + TAU * speed, speed), reward, torch.zeros_like(reward, dtype=torch.bool)

    def render(self, task: int = 0, environment: int = 0) -> np.ndarray:
        """A picture `[height, width, 3]` of one environment."""
        from quickstudy.rl.envs.rendering import pendulum

        self._stage.running()
        cos, sin, _ = self._state[task, environment].tolist()
        length = self._stage.tasks["length"]
        return pendulum(math.atan2(sin, cos), float(length[task]), longest=float(length.max()))


def _state(angle: Tensor, speed: Tensor) -> Tensor:
    """The state `[..., 3]`, each component contiguous in memory."""
    return by_component(torch.stack([angle.cos(), angle.sin(), speed], -1))

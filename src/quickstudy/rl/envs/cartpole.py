"""A pole on a cart: gymnasium's CartPole with masses, length, force and gravity that differ between tasks."""

import math
from typing import Any, Self, final

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
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
from quickstudy.tasks.sampling import Range, as_range, number, stretch, uniform

PHYSICS = ("masscart", "masspole", "length", "force_mag", "gravity")
TAU = 0.02  # seconds between states
EDGE = 2.4  # metres from the middle of the track to its end
LEANING = 12 * 2 * math.pi / 360  # radians; a pole that leans further has fallen


@final
class CartPole:
    """Keep a pole upright on a cart that can be pushed left or right.

    With cart mass M, pole mass m, half length l, force F = ±force_mag and gravity g, the equations of motion are
    (Barto, Sutton and Anderson 1983)

        u  = (F + m l θ̇² sin θ) / (M + m)
        θ̈  = (g sin θ - u cos θ) / (l (4/3 - m cos² θ / (M + m)))
        ẍ  = u - m l θ̈ cos θ / (M + m)

    They are integrated by Euler steps of 0.02 s. States are equal to those of gymnasium's CartPole-v1, to rounding. The
    observation is the state (x, ẋ, θ, θ̇), which starts in U(-0.05, 0.05); action 1 pushes right and 0 left; the reward
    is 1 a step; an episode terminates when |x| > 2.4 m or |θ| > 12°.

    A task consists of masscart and masspole (kg), length (m, half the pole's, as in gymnasium), force_mag (N) and
    gravity (m/s²), `[T]` each.

    Args:
        masscart, masspole, length, force_mag, gravity: a number for all tasks, or a `(low, high)` range drawn for
            every task. By default only the masses vary.
        flip: share of the tasks in which the force is reversed: `force_mag` is negative, and action 1 pushes left.
        num_envs: E, environments of each task.
        horizon: steps until an episode is truncated; 500 as in CartPole-v1, 200 in CartPole-v0.
        device: device of tasks, observations and rewards; None is torch's default device.

    Raises:
        ValueError: for masses, lengths or forces that are not above 0, empty ranges, a share outside [0, 1].

    >>> env = CartPole(num_envs=3)
    >>> env.set_tasks(env.sample_tasks(2, generator=torch.Generator().manual_seed(0)))
    >>> observation, _ = env.reset(generator=torch.Generator().manual_seed(1))
    >>> step = env.step(torch.ones(2, 3, dtype=torch.long))
    >>> observation.shape, step.reward.tolist()
    (torch.Size([2, 3, 4]), [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    """

    num_tasks, device, tasks = NUM_TASKS, DEVICE, TASKS

    def __init__(
        self,
        *,
        masscart: Range = (0.1, 3.0),
        masspole: Range = (0.01, 1.0),
        length: Range = 0.5,
        force_mag: Range = 10.0,
        gravity: Range = 9.8,
        flip: float = 0.0,
        num_envs: int = 20,
        horizon: int = 500,
        device: torch.device | str | None = None,
    ):
        given = dict(zip(PHYSICS, (masscart, masspole, length, force_mag, gravity), strict=True))
        least = {"gravity": 0.0}
        self._ranges = {
            k: as_range(k, v, least.get(k, -math.inf), -math.inf if k in least else 0) for k, v in given.items()
        }
        self._flip = number("flip", flip)
        if self._flip > 1:
            raise ValueError(f"flip={flip!r}; expected a share of tasks, from 0 to 1")
        self.num_envs, self.horizon = num_envs, horizon
        high = np.array([2 * EDGE, np.inf, 2 * LEANING, np.inf], dtype=numpy_dtype())
        self.observation_space = Box(-high, high, dtype=numpy_dtype())
        self.action_space = Discrete(2)
        self._state = torch.empty(0)
        self._stage = Stage(
            "CartPole", num_envs=num_envs, horizon=horizon, action_space=self.action_space, device=device
        )

    @classmethod
    def standard(cls, *, num_envs: int = 20, horizon: int = 500, device: torch.device | str | None = None) -> Self:
        """gymnasium's CartPole-v1, the same in every task."""
        return cls(masscart=1.0, masspole=0.1, num_envs=num_envs, horizon=horizon, device=device)

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this environment."""
        return {**self._ranges, "flip": self._flip, "num_envs": self.num_envs, "horizon": self.horizon}

    def __repr__(self) -> str:
        return f"CartPole({', '.join(f'{word}={value!r}' for word, value in self.config().items())})"

    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """Draw masses, length, force and gravity, `[T]` each; equal seeds give different tasks in different splits."""
        generator = task_generator(num_tasks, split, generator)
        draws = uniform(len(PHYSICS) + 1, num_tasks, generator=generator)
        tasks = {k: stretch(draw, self._ranges[k]) for k, draw in zip(PHYSICS, draws[:-1], strict=True)}
        tasks["force_mag"] = torch.where(draws[-1] < self._flip, -tasks["force_mag"], tasks["force_mag"])
        return tasks

    def set_tasks(self, tasks: EnvironmentTasks) -> None:
        """Set masses, length, force and gravity, `[T]` each; call `reset` before the next step.

        Raises:
            TypeError, ValueError: for other names or shapes, and masses or lengths that are not above 0.
        """
        kept = self._stage.set_tasks(tasks, dict.fromkeys(PHYSICS, ()), positive=("masscart", "masspole", "length"))
        self._constants = _constants(kept, 2)

    def reset(
        self, mask: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start new episodes where `mask [T, E]` is True (everywhere for None), and return all states `[T, E, 4]`."""
        new = self._stage.start(mask, generator).unsqueeze(-1)
        start = by_component(self._stage.uniform(4).sub_(0.5).mul_(0.1))
        self._state = start if mask is None else torch.where(new, start, self._state)
        return self._state.clone(memory_format=torch.contiguous_format), {}

    def step(self, action: Tensor) -> Step:
        """Push each cart: `action [T, E]`, 0 or 1."""
        stage = self._stage
        running, action = stage.running().to(stage.dtype), stage.check_action(action)
        # rates are multiplied by 0 where an episode is over, which is faster than torch.where on `dynamics`
        rates = _rates(self._constants, self._state, action)
        self._state = torch.addcmul(self._state, rates, running.unsqueeze(-1), value=TAU)
        terminated, truncated = stage.tick(_fallen(self._state))
        observation = self._state.clone(memory_format=torch.contiguous_format)
        return Step(observation, running, terminated, truncated, {})

    def dynamics(
        self, tasks: EnvironmentTasks, state: Tensor, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Next state, reward and terminated, by the equations above, from `state [T, ..., 4]` and `action [T, ...]`.

        CartPole is deterministic: `generator` is not used.
        """
        rates = _rates(_constants(tasks, state.dim() - 1), state, action)
        following = torch.add(state, rates, alpha=TAU)
        return following, torch.ones_like(following[..., 0]), _fallen(following)

    def render(self, task: int = 0, environment: int = 0) -> np.ndarray:
        """A picture `[height, width, 3]` of one environment."""
        from quickstudy.rl.envs.rendering import cartpole

        self._stage.running()
        x, _, angle, _ = self._state[task, environment].tolist()
        length = self._stage.tasks["length"]
        return cartpole(x, angle, float(length[task]), EDGE, tallest=float(length.max()))


def _constants(tasks: EnvironmentTasks, axes: int) -> tuple[Tensor, ...]:
    """The constants of the equations, shaped to broadcast with tensors that have `axes` axes."""
    cart, pole, length, force, gravity = (per_task(tasks[k], axes) for k in PHYSICS)
    thrust, moment = force / (cart + pole), pole * length / (cart + pole)
    return -thrust, 2 * thrust, moment, gravity, 4 / 3 * length


def _rates(constants: tuple[Tensor, ...], state: Tensor, action: Tensor) -> Tensor:
    """The time derivative of each component of the state, by the equations of `CartPole`."""
    left, both, moment, gravity, inertia = constants
    _, speed, angle, spin = state.unbind(-1)
    cos, sin = angle.cos(), angle.sin()
    # for a few thousand numbers the time grows with the number of calls, so each product is fused with its sum
    push = torch.addcmul(left, both, action.to(state.dtype)).addcmul(moment, spin.square() * sin)
    spinning = (gravity * sin).addcmul(cos, push, value=-1) / inertia.addcmul(moment, cos.square(), value=-1)
    speeding = push.addcmul(moment, spinning * cos, value=-1)
    return torch.stack([speed, speeding, spin, spinning]).movedim(0, -1)


def _fallen(state: Tensor) -> Tensor:
    x, _, angle, _ = state.unbind(-1)
    return (x.abs() > EDGE).logical_or_(angle.abs() > LEANING)

"""A pole on a cart: gymnasium's CartPole with masses, length, force and gravity of every task's own."""

import math
from typing import Any, Self, final

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from quickstudy.learner import Split
from quickstudy.rl.environment import EnvironmentTasks, Step
from quickstudy.rl.envs.stage import Stage, by_component, numpy_dtype, per_task
from quickstudy.tasks.sampling import Range, as_range, number, split_generator, stretch, uniform

PHYSICS = ("masscart", "masspole", "length", "force_mag", "gravity")
TAU = 0.02  # seconds between states
EDGE = 2.4  # of the track
LEANING = 12 * 2 * math.pi / 360  # radians, past which the pole has fallen


@final
class CartPole:
    """Keep a pole upright on a cart that can be pushed left or right.

    With cart mass M, pole mass m, half length l, force F = ±force_mag and gravity g (Barto, Sutton and Anderson 1983,
    as in gymnasium's CartPole-v1, whose states these are, to rounding):

        u  = (F + m l θ̇² sin θ) / (M + m)
        θ̈  = (g sin θ - u cos θ) / (l (4/3 - m cos² θ / (M + m)))
        ẍ  = u - m l θ̈ cos θ / (M + m)

    by Euler steps of 0.02 s. The observation is the state (x, ẋ, θ, θ̇), which starts in U(-0.05, 0.05); action 1 pushes
    right and 0 left; the reward is 1 a step; an episode terminates when |x| > 2.4 m or |θ| > 12°.

    A task is masscart and masspole (kg), length (m, half the pole's, as in gymnasium), force_mag (N) and gravity
    (m/s²), `[T]` each; each is a number, or a `(low, high)` range drawn for every task. By default the masses vary.

    Args:
        masscart, masspole, length, force_mag, gravity: physics.
        flip: share of the tasks in which the force is reversed: their `force_mag` is negative, action 1 pushes left.
        num_envs: E, environments of each task.
        horizon: steps until an episode is truncated: 500, or 200 as in CartPole-v0.
        device: where the environments live; None is torch's default.

    Raises:
        ValueError: for masses, lengths or forces that are not above 0, empty ranges, a share outside [0, 1].

    >>> env = CartPole(num_envs=3)
    >>> env.set_tasks(env.sample_tasks(2, generator=torch.Generator().manual_seed(0)))
    >>> observation, _ = env.reset(generator=torch.Generator().manual_seed(1))
    >>> step = env.step(torch.ones(2, 3, dtype=torch.long))
    >>> observation.shape, step.reward.tolist()
    (torch.Size([2, 3, 4]), [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    """

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
        """gymnasium's CartPole-v1: every task the same."""
        return cls(masscart=1.0, masspole=0.1, num_envs=num_envs, horizon=horizon, device=device)

    def __repr__(self) -> str:
        physics = ", ".join(f"{k}={v}" for k, v in self._ranges.items())
        return f"CartPole({physics}, flip={self._flip}, num_envs={self.num_envs}, horizon={self.horizon})"

    @property
    def num_tasks(self) -> int:
        """`T`; 0 before `set_tasks`."""
        return self._stage.num_tasks

    @property
    def device(self) -> torch.device:
        """Where observations are."""
        return self._stage.device

    @property
    def tasks(self) -> EnvironmentTasks:
        """Those that were set."""
        return dict(self._stage.tasks)

    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """Draw the physics of `num_tasks` tasks, `[T]` each; equal seeds give different ones in different splits."""
        generator = split_generator(num_tasks, 0, 1, split, generator)
        draws = uniform(len(PHYSICS) + 1, num_tasks, generator=generator)
        tasks = {k: stretch(draw, self._ranges[k]) for k, draw in zip(PHYSICS, draws[:-1], strict=True)}
        tasks["force_mag"] = torch.where(draws[-1] < self._flip, -tasks["force_mag"], tasks["force_mag"])
        return tasks

    def set_tasks(self, tasks: EnvironmentTasks) -> None:
        """Physics of these tasks from now on; `reset` before the next step.

        Raises:
            TypeError, ValueError: for other names or shapes, and masses or lengths that are not above 0.
        """
        kept = self._stage.set_tasks(tasks, dict.fromkeys(PHYSICS, ()), positive=("masscart", "masspole", "length"))
        self._constants = _constants(kept, 2)

    def reset(
        self, mask: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start new episodes where `mask [T, E]` is True (all if None); the states `[T, E, 4]` of all."""
        new = self._stage.start(mask, generator).unsqueeze(-1)
        start = by_component(self._stage.uniform(4).sub_(0.5).mul_(0.1))
        self._state = start if mask is None else torch.where(new, start, self._state)
        return self._state.clone(memory_format=torch.contiguous_format), {}

    def step(self, action: Tensor) -> Step:
        """Push each cart: `action [T, E]`, 0 or 1."""
        stage = self._stage
        running, action = stage.running().to(stage.dtype), stage.check_action(action)
        # time stands still where an episode is over: this is `dynamics` for the others, and costs less than a choice
        rates = _rates(self._constants, self._state, action)
        self._state = torch.addcmul(self._state, rates, running.unsqueeze(-1), value=TAU)
        terminated, truncated = stage.tick(_fallen(self._state))
        observation = self._state.clone(memory_format=torch.contiguous_format)
        return Step(observation, running, terminated, truncated, {})

    def dynamics(
        self, tasks: EnvironmentTasks, state: Tensor, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The equations above: next state, reward and terminated from `state [T, ..., 4]` and `action [T, ...]`.

        Nothing is random, so the generator is not used.
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
    """What the equations need of the physics, beside tensors with `axes` axes."""
    cart, pole, length, force, gravity = (per_task(tasks[k], axes) for k in PHYSICS)
    thrust, moment = force / (cart + pole), pole * length / (cart + pole)
    return -thrust, 2 * thrust, moment, gravity, 4 / 3 * length


def _rates(constants: tuple[Tensor, ...], state: Tensor, action: Tensor) -> Tensor:
    """The equations above: how fast each component of the state changes."""
    left, both, moment, gravity, inertia = constants
    _, speed, angle, spin = state.unbind(-1)
    cos, sin = angle.cos(), angle.sin()
    # at a few thousand numbers an operation costs what it takes to call it, hence the products with their sums
    push = torch.addcmul(left, both, action.to(state.dtype)).addcmul(moment, spin.square() * sin)
    spinning = (gravity * sin).addcmul(cos, push, value=-1) / inertia.addcmul(moment, cos.square(), value=-1)
    speeding = push.addcmul(moment, spinning * cos, value=-1)
    return torch.stack([speed, speeding, spin, spinning]).movedim(0, -1)


def _fallen(state: Tensor) -> Tensor:
    x, _, angle, _ = state.unbind(-1)
    return (x.abs() > EDGE).logical_or_(angle.abs() > LEANING)

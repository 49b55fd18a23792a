"""Cart-pole swing-up: a cart swings up the pole that hangs from it; masses, length, friction differ between tasks."""

import math
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
    task_generator,
)
from quickstudy.tasks.sampling import Range, as_range, stretch, uniform

PHYSICS = ("masscart", "masspole", "length", "friction", "gravity", "max_force")
TAU = 0.05  # seconds between states
PARTS = 2  # Runge-Kutta steps in that time
NEAR = 0.25  # metres: a tip that is this far from its target earns exp(-1/2)
STILL = 0.1  # standard deviation of each part of the state at the start
WIDE = (2.0, 3.0, math.pi, 8.0)  # half-widths of starts that are anywhere: m, m/s, rad, rad/s


@final
class CartPoleSwingUp:
    """Swing up the pole that hangs from a cart, and balance it in the middle of the track, by pushing the cart.

    With cart mass M, pole mass m, pole length l, friction b, gravity g, and the force u, clipped to ±max_force, the
    cart's position x (m) and the angle θ of the pole from upright to the right follow (Deisenroth 2010, appendix C,
    whose angle is π - θ)

        v = u - b ẋ
        ẍ = (2 m l θ̇² sin θ - 3 m g sin θ cos θ + 4 v) / (4 (M + m) - 3 m cos² θ)
        θ̈ = (6 (M + m) g sin θ - 3 m l θ̇² sin θ cos θ - 6 v cos θ) / (l (4 (M + m) - 3 m cos² θ))

    The force is constant for 0.05 s, which are two steps of the classic Runge-Kutta method. The observation is (x, ẋ,
    cos θ, sin θ, θ̇). An episode starts with x, ẋ, θ - π and θ̇ in N(0, 0.1²): the pole hangs. The reward of a step is
    exp(-d² / (2 · 0.25²)), with the distance d (m) of the pole's tip, after the step, from the place where it is
    upright above x = 0; so the return is at most the number of steps. Episodes never terminate: the track has no ends.

    A task consists of masscart and masspole (kg), length (m, the whole pole's, while `CartPole` has half of it),
    friction (N s/m), gravity (m/s²) and max_force (N), `[T]` each. Actions are forces up to the largest max_force of
    all tasks; each cart's motor gives at most its own.

    Args:
        masscart, masspole, length, friction, gravity, max_force: a number for all tasks, or a `(low, high)` range
            drawn for every task. By default masses, length and friction vary.
        start: "hanging" as above, or "anywhere": x in U(-2, 2), ẋ in U(-3, 3), θ in U(-π, π) and θ̇ in U(-8, 8), as
            for training a model of all states.
        num_envs: E, environments of each task.
        horizon: steps until an episode is truncated; 100 are 5 s.
        device: device of tasks, observations and rewards; None is torch's default device.

    Raises:
        ValueError: for masses, lengths or forces that are not above 0, friction or gravity below 0, empty ranges, and
            another start.

    >>> env = CartPoleSwingUp(num_envs=3)
    >>> env.set_tasks(env.sample_tasks(2, generator=torch.Generator().manual_seed(0)))
    >>> observation, _ = env.reset(generator=torch.Generator().manual_seed(1))
    >>> observation.shape, env.step(torch.zeros(2, 3, 1)).reward.shape
    (torch.Size([2, 3, 5]), torch.Size([2, 3]))
    """

    num_tasks, device, tasks = NUM_TASKS, DEVICE, TASKS

    def __init__(
        self,
        *,
        masscart: Range = (0.3, 1.0),
        masspole: Range = (0.2, 0.8),
        length: Range = (0.4, 0.8),
        friction: Range = (0.0, 0.5),
        gravity: Range = 9.82,
        max_force: Range = 10.0,
        start: Literal["hanging", "anywhere"] = "hanging",
        num_envs: int = 20,
        horizon: int = 100,
        device: torch.device | str | None = None,
    ):
        given = dict(zip(PHYSICS, (masscart, masspole, length, friction, gravity, max_force), strict=True))
        least = {"friction": 0.0, "gravity": 0.0}
        self._ranges = {
            k: as_range(k, v, least.get(k, -math.inf), -math.inf if k in least else 0) for k, v in given.items()
        }
        if start not in ("hanging", "anywhere"):
            raise ValueError(f'start={start!r}; expected "hanging" or "anywhere"')
        self.start, self.num_envs, self.horizon = start, num_envs, horizon
        high = np.array([np.inf, np.inf, 1.0, 1.0, np.inf], dtype=numpy_dtype())
        self.observation_space = Box(-high, high, dtype=numpy_dtype())
        strongest = self._ranges["max_force"]
        limit = strongest[1] if isinstance(strongest, tuple) else strongest
        self.action_space = Box(-limit, limit, (1,), dtype=numpy_dtype())
        self._state = torch.empty(0)
        self._stage = Stage(
            "CartPoleSwingUp", num_envs=num_envs, horizon=horizon, action_space=self.action_space, device=device
        )

    @classmethod
    def standard(cls, *, num_envs: int = 20, horizon: int = 100, device: torch.device | str | None = None) -> Self:
        """The cart-pole of PILCO (Deisenroth and Rasmussen 2011), the same in every task."""
        same: dict[str, Any] = {"masscart": 0.5, "masspole": 0.5, "length": 0.5, "friction": 0.1}
        return cls(**same, num_envs=num_envs, horizon=horizon, device=device)

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this environment."""
        return {**self._ranges, "start": self.start, "num_envs": self.num_envs, "horizon": self.horizon}

    def __repr__(self) -> str:
        return f"CartPoleSwingUp({', '.join(f'{word}={value!r}' for word, value in self.config().items())})"

    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """Draw masses, length, friction ..., `[T]` each; equal seeds give different tasks in different splits."""
        generator = task_generator(num_tasks, split, generator)
        draws = uniform(len(PHYSICS), num_tasks, generator=generator)
        return {k: stretch(draw, self._ranges[k]) for k, draw in zip(PHYSICS, draws, strict=True)}

    def set_tasks(self, tasks: EnvironmentTasks) -> None:
        """Set masses, length, friction, gravity and force, `[T]` each; call `reset` before the next step.

        Raises:
            TypeError, ValueError: for other names or shapes, and masses, lengths or forces that are not above 0,
                friction or gravity below 0.
        """
        positive = ("masscart", "masspole", "length", "max_force")
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(PHYSICS, ())
        self._stage.set_tasks(tasks, shapes, positive=positive, not_negative=("friction", "gravity"))

    def reset(
        self, mask: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start new episodes where `mask [T, E]` is True (everywhere for None), and return all states `[T, E, 5]`."""
        new = self._stage.start(mask, generator).unsqueeze(-1)
        if self.start == "hanging":
            x, speed, angle, spin = (STILL * self._stage.normal(4)).unbind(-1)
            angle = angle + math.pi
        else:
            draws = self._stage.uniform(4).mul_(2).sub_(1)
            x, speed, angle, spin = (draws * draws.new_tensor(WIDE)).unbind(-1)
        start = _observed(x, speed, angle, spin)
        self._state = start if mask is None else torch.where(new, start, self._state)
        return self._state.clone(memory_format=torch.contiguous_format), {}

    def step(self, action: Tensor) -> Step:
        """Push each cart: forces `action [T, E, 1]`."""
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
        """Next state, reward and terminated, by the equations above: `state [T, ..., 5]` and `action [T, ..., 1]`.

        CartPoleSwingUp is deterministic: `generator` is not used.
        """
        physics = {k: per_task(tasks[k], state.dim() - 1) for k in PHYSICS}
        force = action[..., 0].clamp(-physics["max_force"], physics["max_force"])
        x, speed, cos, sin, spin = state.unbind(-1)
        now = torch.stack([x, speed, torch.atan2(sin, cos), spin])
        part = TAU / PARTS
        for _ in range(PARTS):
            first = _rates(physics, now, force)
            second = _rates(physics, now + part / 2 * first, force)
            third = _rates(physics, now + part / 2 * second, force)
            fourth = _rates(physics, now + part * third, force)
            now = now + part / 6 * (first + 2 * (second + third) + fourth)
        following, length = _observed(*now), physics["length"]
        across = following[..., 0] + length * following[..., 3]
        below = length * (1 - following[..., 2])
        reward = torch.exp(-(across.square() + below.square()) / (2 * NEAR**2))
        return following, reward, torch.zeros_like(reward, dtype=torch.bool)

    def render(self, task: int = 0, environment: int = 0) -> np.ndarray:
        """A picture `[height, width, 3]` of one environment."""
        from quickstudy.rl.envs.rendering import cartpole

        self._stage.running()
        x, _, cos, sin, _ = self._state[task, environment].tolist()
        half = self._stage.tasks["length"] / 2
        angle, tallest = math.atan2(sin, cos), float(half.max())
        return cartpole(x, angle, float(half[task]), WIDE[0], tallest=tallest, hangs=True)


def _rates(physics: dict[str, Tensor], now: Tensor, force: Tensor) -> Tensor:
    """The time derivative `[4, T, ...]` of (x, ẋ, θ, θ̇), by the equations of `CartPoleSwingUp`."""
    _, speed, angle, spin = now
    cart, pole, length, friction, gravity, _ = (physics[k] for k in PHYSICS)
    cos, sin, both = angle.cos(), angle.sin(), cart + pole
    # for a few thousand numbers the time grows with the number of calls, so what the equations share is computed once
    push = torch.addcmul(force, friction, speed, value=-1)
    drive = torch.add(pole * length * spin.square() * sin, push, alpha=2)
    inertia = torch.addcmul(4 * both, 3 * pole, cos.square(), value=-1)
    speeding = torch.addcmul(2 * drive, 3 * pole * gravity * sin, cos, value=-1) / inertia
    spinning = torch.addcmul(6 * both * gravity * sin, drive, cos, value=-3) / (length * inertia)
    return torch.stack([speed, speeding, spin, spinning])


def _observed(x: Tensor, speed: Tensor, angle: Tensor, spin: Tensor) -> Tensor:
    """The observation `[..., 5]`, each component contiguous in memory."""
    return by_component(torch.stack([x, speed, angle.cos(), angle.sin(), spin], -1))

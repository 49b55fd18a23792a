"""The systems that are swung up: where models are trained, where agents act, and the value of a plan."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.decide.planning import Objective
from quickstudy.rl.envs.swing_up.cartpole import NEAR

POLE = 0.6  # metres: the mean length of the poles
Name = Literal["pendulum", "cart-pole"]


@final
@dataclass(frozen=True, kw_only=True)
class System:
    """One kind of systems whose physics differs from task to task.

    Args:
        training: makes the environment whose transitions train the models.
        acting: makes the environment in which agents act, one of each task, with episodes of so many steps.
        horizon: the usual number of steps of an episode.
        objective: the value of plans.
        planning: options of the planner.
        bounds: the least and the greatest return of an episode, as far as they are known.
    """

    training: Callable[[], Any]
    acting: Callable[[int], Any]
    horizon: int
    objective: Objective
    planning: dict[str, Any]
    bounds: tuple[float, float]


def upright(states: Tensor) -> Tensor:
    """The pendulum's own reward of the states `[H, T, K, 3]`, but for the cost of torques: `[T, K]`."""
    cos, sin, speed = states.unbind(-1)
    return -(torch.atan2(sin, cos).square() + 0.1 * speed.square()).sum(0)


def near_the_middle(states: Tensor) -> Tensor:
    """The cart-pole's reward of the states `[H, T, K, 5]` for a pole of usual length, and four times as wide: `[T, K]`.

    The reward itself is almost 0 far from its middle, where it cannot rank plans, and a pole's length is not known.
    """
    x, _, cos, sin, _ = states.unbind(-1)
    missed = (x + POLE * sin).square() + (POLE * (1 - cos)).square()
    return torch.exp(-missed / (2 * (4 * NEAR) ** 2)).sum(0)


SYSTEMS: dict[Name, System] = {
    "pendulum": System(
        training=lambda: qs.rl.Pendulum(num_envs=4),
        acting=lambda horizon: qs.rl.Pendulum(num_envs=1, horizon=horizon),
        horizon=200,
        objective=upright,
        planning={"horizon": 20, "temperature": 3.0, "correlation": 0.7},
        bounds=(-math.inf, 0.0),
    ),
    "cart-pole": System(
        training=lambda: qs.rl.CartPoleSwingUp(start="anywhere", num_envs=11, horizon=25),
        acting=lambda horizon: qs.rl.CartPoleSwingUp(num_envs=1, horizon=horizon),
        horizon=100,
        objective=near_the_middle,
        planning={"horizon": 20, "temperature": 0.5, "correlation": 0.7},
        bounds=(0.0, 100.0),
    ),
}

"""The systems that are swung up: where models are trained, where agents act, and the value of a plan."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.decide.planning import Objective

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


def upright_in_the_middle(states: Tensor) -> Tensor:
    """For states of the cart-pole `[H, T, K, 5]`: the pole should be upright, the cart in the middle, both at rest.

    The environment's own reward is almost 0 far from that, where it cannot rank plans.
    """
    x, _, cos, sin, spin = states.unbind(-1)
    return -(torch.atan2(sin, cos).square() + x.square() + 0.05 * spin.square()).sum(0)


SYSTEMS: dict[Name, System] = {
    "pendulum": System(
        training=lambda: qs.rl.Pendulum(num_envs=6),
        acting=lambda horizon: qs.rl.Pendulum(num_envs=1, horizon=horizon),
        horizon=200,
        objective=upright,
        planning={"horizon": 20, "temperature": 3.0, "correlation": 0.7},
        bounds=(-math.inf, 0.0),
    ),
    "cart-pole": System(
        training=lambda: qs.rl.CartPoleSwingUp(start="anywhere", num_envs=6, horizon=25),
        acting=lambda horizon: qs.rl.CartPoleSwingUp(num_envs=1, horizon=horizon),
        horizon=100,
        objective=upright_in_the_middle,
        planning={"horizon": 25, "temperature": 3.0, "correlation": 0.7},
        bounds=(0.0, 100.0),
    ),
}

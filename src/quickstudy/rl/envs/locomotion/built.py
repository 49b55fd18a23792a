"""Robots whose masses, damping and friction differ between tasks."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from quickstudy.learner import Split
from quickstudy.rl.environment import EnvironmentTasks
from quickstudy.rl.envs.locomotion.robot import Frame, Motion, Robot
from quickstudy.rl.envs.locomotion.simulation import import_mujoco
from quickstudy.rl.envs.stage import task_generator
from quickstudy.tasks.sampling import number, uniform

PARTS = ("mass", "damping", "friction")


def check_factors(mass: float, damping: float, friction: float) -> dict[str, float]:
    """The largest factors by name. Raises ValueError unless each is a number of at least 1."""
    given = dict(zip(PARTS, (mass, damping, friction), strict=True))
    return {name: number(name, value, least=1.0) for name, value in given.items()}


def shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """The shape of the factors of one task: one for each body but the world, degree of freedom, and geom."""
    return {"mass": (model.nbody - 1,), "damping": (model.nv,), "friction": (model.ngeom,)}


def draw_factors(
    model: Any, largest: Mapping[str, float], num_tasks: int, split: Split, generator: torch.Generator | None
) -> EnvironmentTasks:
    """Factors `[T, n]` by name, log-uniform between 1 / largest and largest."""
    generator = task_generator(num_tasks, split, generator)
    sizes = {name: shape[0] for name, shape in shapes(model).items()}
    draws = uniform(num_tasks, sum(sizes.values()), generator=generator).split(list(sizes.values()), -1)
    return {name: largest[name] ** (2 * draw - 1) for name, draw in zip(sizes, draws, strict=True)}


def built(model: Any, tasks: Mapping[str, Tensor]) -> list[Any]:
    """A model for each task, with masses (and inertias), damping and friction multiplied by its factors."""
    mujoco = import_mujoco()
    values = {name: tasks[name].double().cpu().numpy() for name in PARTS}
    models = []
    for task in range(len(values["mass"])):
        new = copy.copy(model)
        new.body_mass[1:] *= values["mass"][task]
        new.body_inertia[1:] *= values["mass"][task][:, None]
        new.dof_damping *= values["damping"][task]
        new.geom_friction *= values["friction"][task][:, None]
        mujoco.mj_setConst(new, mujoco.MjData(new))
        models.append(new)
    return models


class BuiltRobot(Robot):
    """A robot in a plane that runs forward. Its class says what it is, and what ends an episode.

    Args:
        robot: name of gymnasium's model.
        mass, damping, friction, control_cost, healthy_reward: as in `Hopper`.
        options: those of `Robot`.
    """

    def __init__(
        self,
        robot: str,
        *,
        mass: float,
        damping: float,
        friction: float,
        control_cost: float,
        healthy_reward: float,
        **options: Any,
    ):
        self._largest = check_factors(mass, damping, friction)
        self.control_cost = number("control_cost", control_cost)
        self.healthy_reward = number("healthy_reward", healthy_reward)
        super().__init__(Frame(robot, hidden=1, noise=0.005, normal=False, fastest=10.0), **options)

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this environment."""
        return {
            **self._largest,
            "control_cost": self.control_cost,
            "healthy_reward": self.healthy_reward,
            "frame_skip": self.frame_skip,
            "num_envs": self.num_envs,
            "horizon": self.horizon,
        }

    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """Draw factors of mass, damping and friction; equal seeds give different draws in different splits."""
        return draw_factors(self._simulation.model, self._largest, num_tasks, split, generator)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return shapes(self._simulation.model)

    def _positive(self) -> tuple[str, ...]:
        return PARTS

    def _models(self) -> Sequence[Any]:
        return built(self._simulation.model, self._stage.tasks)

    def _reward(self, motion: Motion) -> Tensor:
        healthy = self.healthy_reward * ~self._fallen(motion)
        return motion.progress[..., 0] + healthy - self.control_cost * motion.action.square().sum(-1)

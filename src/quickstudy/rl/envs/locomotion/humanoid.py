"""A humanoid that walks in a direction that it is not told."""

from collections.abc import Sequence
from typing import Any, final, get_args

import torch
from torch import Tensor

from quickstudy.checks import check_choice
from quickstudy.learner import Split
from quickstudy.rl.environment import EnvironmentTasks
from quickstudy.rl.envs.locomotion.directions import Directions, draw_directions
from quickstudy.rl.envs.locomotion.robot import Frame, Motion, Robot
from quickstudy.rl.envs.stage import task_generator
from quickstudy.tasks.sampling import number


@final
class Humanoid(Robot):
    """Walk in a direction of the plane that differs between tasks (Rothfuss et al. 2019, arXiv 1810.06784).

    Dynamics: gymnasium's Humanoid-v5, simulated by MuJoCo: 17 motors in [-0.4, 0.4], a step of 0.015 s. The observation
    `[45]` has positions, but for x and y, and velocities; gymnasium's inertias and forces are left out. Start:
    gymnasium's. Reward, with v the mean velocity of the torso during the step and a the action:

        1.25 direction · v + healthy_reward - control_cost Σ a²

    gymnasium takes the velocity of the centre of mass, and has a contact cost. Tasks: `direction [T, 2]`, a unit vector
    of any angle ("all"), or forward and backward ("two"), which are in every split. Horizon: 200. An episode terminates
    when the torso's height leaves 1 to 2 m; that step has no `healthy_reward`.

    Needs the extra `mujoco`: `pip install "quickstudy[mujoco]"`.

    Args:
        directions: all angles ("all"), or forward and backward ("two").
        control_cost: weight of the cost of motors.
        healthy_reward: reward for each step that does not terminate the episode.
        frame_skip: physics steps for each action.
        num_envs: E, environments of each task.
        horizon: steps until an episode is truncated.
        threads: threads of the simulation; by default as many as torch uses. Results do not depend on it.
        device: device of tasks, observations and rewards; None is torch's default device. The physics runs on the CPU.

    Raises:
        ModuleNotFoundError: without mujoco.
        ValueError: for other directions.
    """

    def __init__(
        self,
        *,
        directions: Directions = "all",
        control_cost: float = 0.1,
        healthy_reward: float = 5.0,
        frame_skip: int = 5,
        num_envs: int = 20,
        horizon: int = 200,
        threads: int | None = None,
        device: torch.device | str | None = None,
    ):
        check_choice("directions", directions, get_args(Directions))
        self.directions, self.control_cost = directions, number("control_cost", control_cost)
        self.healthy_reward = number("healthy_reward", healthy_reward)
        super().__init__(
            Frame("humanoid", hidden=2, noise=0.01, normal=False),
            num_envs=num_envs,
            horizon=horizon,
            frame_skip=frame_skip,
            threads=threads,
            device=device,
        )

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this environment."""
        return {
            "directions": self.directions,
            "control_cost": self.control_cost,
            "healthy_reward": self.healthy_reward,
            "frame_skip": self.frame_skip,
            "num_envs": self.num_envs,
            "horizon": self.horizon,
        }

    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """Draw directions `[T, 2]`; equal seeds give different draws in different splits."""
        return {"direction": draw_directions(self.directions, num_tasks, task_generator(num_tasks, split, generator))}

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"direction": (2,)}

    def _positive(self) -> tuple[str, ...]:
        return ()

    def _models(self) -> Sequence[Any]:
        return ()

    def _reward(self, motion: Motion) -> Tensor:
        along = (self._stage.tasks["direction"].unsqueeze(1) * motion.progress).sum(-1)
        healthy = self.healthy_reward * ~self._fallen(motion)
        return 1.25 * along + healthy - self.control_cost * motion.action.square().sum(-1)

    def _fallen(self, motion: Motion) -> Tensor:
        height = motion.position[..., 2]
        return ~((height > 1.0) & (height < 2.0))

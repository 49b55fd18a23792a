"""A four-legged ant that runs at a speed, in a direction or to a place that it is not told."""

from collections.abc import Sequence
from typing import Any, Literal, final, get_args

import torch
from torch import Tensor

from quickstudy.checks import check_choice
from quickstudy.learner import Split
from quickstudy.rl.environment import EnvironmentTasks
from quickstudy.rl.envs.locomotion.directions import Directions, draw_directions
from quickstudy.rl.envs.locomotion.robot import Frame, Motion, Robot
from quickstudy.rl.envs.stage import task_generator
from quickstudy.tasks.sampling import Range, as_range, number, stretch, uniform

Aim = Literal["velocity", "direction", "goal"]


@final
class Ant(Robot):
    """Run at a velocity, in a direction or to a goal that differs between tasks (Finn et al. 2017, section 5.3).

    Dynamics: gymnasium's Ant-v5 without contact forces in observation and reward, simulated by MuJoCo: 8 motors in
    [-1, 1], a step of 0.05 s. The observation `[27]` is gymnasium's: positions but for x and y, and velocities. Start:
    gymnasium's. Reward, with v the mean velocity of the torso's centre during the step, (x, y) its place after the
    step, and a the action:

        velocity:   1 - |v_x - target|                   + healthy_reward - control_cost Σ a²
        direction:  direction · v                        + healthy_reward - control_cost Σ a²
        goal:       4 - |x - goal_x| - |y - goal_y|      + healthy_reward - control_cost Σ a²

    Tasks: `velocity [T]` (m/s), `direction [T, 2]`, a unit vector, or `goal [T, 2]` (m), uniform in (-3, 3)². With
    `directions="two"` a direction is forward or backward, and both are in every split; with "all" it has any angle.
    Horizon: 200. An episode terminates when the torso's height leaves 0.2 to 1 m; that step has no `healthy_reward`.

    Variants: the defaults are those of Finn et al. 2017, but for the simulator and its contact cost. ProMP:
    `directions="all", control_cost=0.5, healthy_reward=1.0`; gymnasium's own reward has the last two. gymnasium takes
    the velocity from the torso's place as it was one physics step earlier.

    Needs the extra `mujoco`: `pip install "quickstudy[mujoco]"`.

    Args:
        aim: what differs between tasks.
        velocity: range of the velocities, in m/s.
        directions: forward and backward ("two"), or all angles ("all").
        control_cost: weight of the cost of motors.
        healthy_reward: reward for each step that does not terminate the episode.
        frame_skip: physics steps for each action.
        num_envs: E, environments of each task.
        horizon: steps until an episode is truncated.
        threads: threads of the simulation; by default as many as torch uses. Results do not depend on it.
        device: device of tasks, observations and rewards; None is torch's default device. The physics runs on the CPU.

    Raises:
        ModuleNotFoundError: without mujoco.
        ValueError: for another aim, and empty ranges.
    """

    def __init__(
        self,
        aim: Aim = "direction",
        *,
        velocity: Range = (0.0, 3.0),
        directions: Directions = "two",
        control_cost: float = 0.005,
        healthy_reward: float = 0.05,
        frame_skip: int = 5,
        num_envs: int = 20,
        horizon: int = 200,
        threads: int | None = None,
        device: torch.device | str | None = None,
    ):
        check_choice("aim", aim, get_args(Aim))
        check_choice("directions", directions, get_args(Directions))
        self.aim, self._velocity, self.directions = aim, as_range("velocity", velocity), directions
        self.control_cost = number("control_cost", control_cost)
        self.healthy_reward = number("healthy_reward", healthy_reward)
        super().__init__(
            Frame("ant", hidden=2, noise=0.1, normal=True),
            num_envs=num_envs,
            horizon=horizon,
            frame_skip=frame_skip,
            threads=threads,
            device=device,
        )

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this environment."""
        return {
            "aim": self.aim,
            "velocity": self._velocity,
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
        """Draw velocities `[T]`, directions or goals `[T, 2]`; equal seeds differ between splits."""
        generator = task_generator(num_tasks, split, generator)
        if self.aim == "velocity":
            return {"velocity": stretch(uniform(num_tasks, generator=generator), self._velocity)}
        if self.aim == "direction":
            return {"direction": draw_directions(self.directions, num_tasks, generator)}
        return {"goal": stretch(uniform(num_tasks, 2, generator=generator), (-3.0, 3.0))}

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {self.aim: () if self.aim == "velocity" else (2,)}

    def _positive(self) -> tuple[str, ...]:
        return ()

    def _models(self) -> Sequence[Any]:
        return ()

    def _reward(self, motion: Motion) -> Tensor:
        wanted = self._stage.tasks[self.aim].unsqueeze(1)
        if self.aim == "velocity":
            earned = 1 - (motion.progress[..., 0] - wanted).abs()
        elif self.aim == "direction":
            earned = (wanted * motion.progress).sum(-1)
        else:
            earned = 4 - (motion.position[..., :2] - wanted).abs().sum(-1)
        healthy = self.healthy_reward * ~self._fallen(motion)
        return earned + healthy - self.control_cost * motion.action.square().sum(-1)

    def _fallen(self, motion: Motion) -> Tensor:
        height = motion.position[..., 2]
        return ~((height >= 0.2) & (height <= 1.0))

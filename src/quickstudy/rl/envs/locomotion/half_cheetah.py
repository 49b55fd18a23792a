"""A two-legged cheetah that runs at a speed, or in a direction, that it is not told."""

from collections.abc import Sequence
from typing import Any, Literal, final, get_args

import torch
from torch import Tensor

from quickstudy.checks import check_choice
from quickstudy.learner import Split
from quickstudy.rl.environment import EnvironmentTasks
from quickstudy.rl.envs.locomotion.robot import Frame, Motion, Robot
from quickstudy.rl.envs.stage import task_generator
from quickstudy.tasks.sampling import Range, as_range, number, stretch, uniform

Aim = Literal["velocity", "direction"]


@final
class HalfCheetah(Robot):
    """Run at a velocity, or in a direction, that differs between tasks (Finn et al. 2017, section 5.3).

    Dynamics: gymnasium's HalfCheetah-v5, simulated by MuJoCo: 6 motors in [-1, 1], a step of 0.05 s. The observation
    `[17]` is gymnasium's: positions but for x, and velocities. Start: gymnasium's. Reward, with v the mean velocity
    along x during the step and a the action:

        velocity:   -|v - target| - control_cost Σ a²
        direction:  direction v   - control_cost Σ a²

    Tasks: `velocity [T]` (m/s), drawn from a range, or `direction [T]`, 1 or -1 with equal probability; both
    directions are in every split. Horizon: 200. Episodes never terminate.

    Variants: the defaults are those of Finn et al. 2017, but for `frame_skip`: their simulator took one physics step of
    0.01 s for each action, `frame_skip=1`, so an episode had 2 s of physics in place of 10. PEARL and VariBAD draw
    velocities from (0, 3). gymnasium's own reward has `control_cost=0.1`.

    Needs the extra `mujoco`: `pip install "quickstudy[mujoco]"`.

    Args:
        aim: what differs between tasks.
        velocity: range of the velocities, in m/s.
        control_cost: weight of the cost of motors.
        frame_skip: physics steps for each action.
        num_envs: E, environments of each task.
        horizon: steps until an episode is truncated.
        threads: threads of the simulation; by default as many as torch uses. Results do not depend on it.
        device: device of tasks, observations and rewards; None is torch's default device. The physics runs on the CPU.

    Raises:
        ModuleNotFoundError: without mujoco.
        ValueError: for another aim, and empty ranges.

    >>> env = HalfCheetah("direction", num_envs=2)  # doctest: +SKIP
    >>> env.set_tasks({"direction": torch.tensor([1.0, -1.0])})  # doctest: +SKIP
    """

    def __init__(
        self,
        aim: Aim = "velocity",
        *,
        velocity: Range = (0.0, 2.0),
        control_cost: float = 0.05,
        frame_skip: int = 5,
        num_envs: int = 20,
        horizon: int = 200,
        threads: int | None = None,
        device: torch.device | str | None = None,
    ):
        check_choice("aim", aim, get_args(Aim))
        self.aim, self._velocity = aim, as_range("velocity", velocity)
        self.control_cost = number("control_cost", control_cost)
        super().__init__(
            Frame("half_cheetah", hidden=1, noise=0.1, normal=True),
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
            "control_cost": self.control_cost,
            "frame_skip": self.frame_skip,
            "num_envs": self.num_envs,
            "horizon": self.horizon,
        }

    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """Draw velocities or directions, `[T]`; equal seeds give different draws in different splits."""
        draws = uniform(num_tasks, generator=task_generator(num_tasks, split, generator))
        if self.aim == "velocity":
            return {"velocity": stretch(draws, self._velocity)}
        return {"direction": torch.where(draws < 0.5, -1.0, 1.0).to(draws)}

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {self.aim: ()}

    def _positive(self) -> tuple[str, ...]:
        return ()

    def _models(self) -> Sequence[Any]:
        return ()

    def _reward(self, motion: Motion) -> Tensor:
        wanted, v = self._stage.tasks[self.aim].unsqueeze(1), motion.progress[..., 0]
        earned = wanted * v if self.aim == "direction" else -(v - wanted).abs()
        return earned - self.control_cost * motion.action.square().sum(-1)

    def _fallen(self, motion: Motion) -> Tensor:
        return torch.zeros_like(motion.progress[..., 0], dtype=torch.bool)

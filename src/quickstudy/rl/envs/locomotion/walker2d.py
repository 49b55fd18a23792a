"""A robot on two legs, in a plane, whose masses, damping and friction are not told."""

from typing import final

import torch
from torch import Tensor

from quickstudy.rl.envs.locomotion.built import BuiltRobot
from quickstudy.rl.envs.locomotion.robot import Motion


@final
class Walker2d(BuiltRobot):
    """Run on two legs with masses, damping and friction that differ between tasks (Rakelly et al. 2019, PEARL).

    Dynamics: gymnasium's Walker2d-v5, simulated by MuJoCo: 6 motors in [-1, 1], a step of 0.008 s. The observation
    `[17]` is gymnasium's: positions but for x, and velocities, clipped to ±10. Start: gymnasium's. Reward, with v the
    mean velocity along x during the step and a the action:

        v + healthy_reward - control_cost Σ a²

    Tasks: factors `mass [T, bodies]` (of mass and inertia), `damping [T, joints]` and `friction [T, geoms]`, each drawn
    log-uniformly between 1 / largest and largest. Horizon: 200. An episode terminates when its height leaves 0.8 to
    2 m, or its torso leans by 1 rad; that step has no `healthy_reward`.

    Variants: the defaults of the factors are those of PEARL's rand-params environments, 1.5³ and 1.3³; there inertia
    has a factor of its own. Rewards are gymnasium's.

    Needs the extra `mujoco`: `pip install "quickstudy[mujoco]"`.

    Args:
        mass, damping, friction: largest factors; 1 leaves the robot as it is.
        control_cost: weight of the cost of motors.
        healthy_reward: reward for each step that does not terminate the episode.
        frame_skip: physics steps for each action.
        num_envs: E, environments of each task.
        horizon: steps until an episode is truncated.
        threads: threads of the simulation; by default as many as torch uses. Results do not depend on it.
        device: device of tasks, observations and rewards; None is torch's default device. The physics runs on the CPU.

    Raises:
        ModuleNotFoundError: without mujoco.
        ValueError: for factors below 1.
    """

    def __init__(
        self,
        *,
        mass: float = 3.375,
        damping: float = 2.197,
        friction: float = 3.375,
        control_cost: float = 0.001,
        healthy_reward: float = 1.0,
        frame_skip: int = 4,
        num_envs: int = 20,
        horizon: int = 200,
        threads: int | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__(
            "walker2d_v5",
            mass=mass,
            damping=damping,
            friction=friction,
            control_cost=control_cost,
            healthy_reward=healthy_reward,
            num_envs=num_envs,
            horizon=horizon,
            frame_skip=frame_skip,
            threads=threads,
            device=device,
        )

    def _fallen(self, motion: Motion) -> Tensor:
        height, angle = motion.position[..., 1], motion.position[..., 2]
        return ~((height > 0.8) & (height < 2.0) & (angle.abs() < 1.0))

"""What all robots have in common: tasks, episodes, observations, pictures."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from quickstudy.learner import Split
from quickstudy.rl.environment import EnvironmentTasks, Step
from quickstudy.rl.envs.locomotion.simulation import Simulation
from quickstudy.rl.envs.stage import DEVICE, NUM_TASKS, TASKS, Stage, numpy_dtype


class Frame(NamedTuple):
    """What is fixed for each kind of robot.

    Args:
        robot: name of gymnasium's model.
        hidden: the number of leading positions that are not observed: 1 for robots in a plane, 2 for others.
        noise: the start is U(-noise, noise) away from the model's position.
        normal: whether the start's velocity is normal with standard deviation `noise`, in place of uniform.
        fastest: observed velocities are clipped to ±fastest.
    """

    robot: str
    hidden: int
    noise: float
    normal: bool
    fastest: float = float("inf")


class Motion(NamedTuple):
    """One step of all robots, in double precision.

    Args:
        position: generalized positions `[T, E, nq]` after the step.
        speed: generalized velocities `[T, E, nv]` after the step.
        progress: mean velocity of the root during the step, `[T, E, hidden]`: along x, and along y if it turns.
        action: `[T, E, nu]`, clipped to the motors' range.
    """

    position: Tensor
    speed: Tensor
    progress: Tensor
    action: Tensor


class Robot(ABC):
    """`E` environments of each of `T` tasks. A robot's class says what a task is, what is rewarded, and what ends it.

    Args:
        frame: the robot.
        num_envs, horizon, device: as in other environments. The physics runs on the CPU whatever the device is.
        frame_skip, threads: as in `Simulation`.
    """

    num_tasks, device, tasks = NUM_TASKS, DEVICE, TASKS

    def __init__(
        self,
        frame: Frame,
        *,
        num_envs: int,
        horizon: int,
        frame_skip: int,
        threads: int | None,
        device: torch.device | str | None,
    ):
        self._frame, self._simulation = frame, Simulation(frame.robot, frame_skip=frame_skip, threads=threads)
        model = self._simulation.model
        self.num_envs, self.horizon, self.frame_skip = num_envs, horizon, frame_skip
        low, high = model.actuator_ctrlrange.T.astype(numpy_dtype())
        size = model.nq - frame.hidden + model.nv
        self.observation_space = Box(-np.inf, np.inf, (size,), dtype=numpy_dtype())
        self.action_space = Box(low, high, dtype=numpy_dtype())
        self._stage = Stage(
            type(self).__name__, num_envs=num_envs, horizon=horizon, action_space=self.action_space, device=device
        )
        self._observation = torch.empty(0)

    @abstractmethod
    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """Draw tasks; equal seeds give different draws in different splits."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this environment."""

    @abstractmethod
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one task's values, by name."""

    @abstractmethod
    def _positive(self) -> tuple[str, ...]:
        """Names of the values that must be above 0."""

    @abstractmethod
    def _models(self) -> Sequence[Any]:
        """A model for each task; none if all tasks have the robot as it is."""

    @abstractmethod
    def _reward(self, motion: Motion) -> Tensor:
        """Rewards `[T, E]` of one step."""

    @abstractmethod
    def _fallen(self, motion: Motion) -> Tensor:
        """`[T, E]` bool: episodes that terminate with this step."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{word}={value!r}' for word, value in self.config().items())})"

    def set_tasks(self, tasks: EnvironmentTasks) -> None:
        """Set the tasks' values, `[T, ...]` each; call `reset` before the next step.

        Raises:
            TypeError, ValueError: for other names or shapes, and values that are not finite, or not above 0.
        """
        given = tasks.get("direction") if isinstance(tasks, dict) else None
        if isinstance(given, Tensor) and given.is_floating_point() and given.dim() in (1, 2):
            size = given.abs() if given.dim() == 1 else given.norm(dim=1)
            wrong = ((size - 1).abs() > 1e-3) & size.isfinite()
            if bool(wrong.any()):
                task = int(wrong.nonzero()[0])
                raise ValueError(
                    f"{type(self).__name__}.set_tasks: direction of task {task} is {given[task].tolist()}; expected "
                    f"{'1 or -1' if given.dim() == 1 else 'a vector of length 1'}"
                )
        self._stage.set_tasks(tasks, self._shapes(), positive=self._positive())
        models = [model for model in self._models() for _ in range(self.num_envs)]
        self._simulation.set_models(self.num_tasks * self.num_envs, models)

    def reset(
        self, mask: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start new episodes where `mask [T, E]` is True (everywhere for None); return all observations."""
        stage, simulation, frame = self._stage, self._simulation, self._frame
        new = stage.start(mask, generator).flatten().cpu().numpy()
        model = simulation.model
        drawn = stage.normal(model.nq + model.nv).flatten(0, 1).double().cpu()
        even = (drawn / 2**0.5).erf()  # uniform in (-1, 1)
        speed = (drawn if frame.normal else even)[:, model.nq :]
        simulation.position[new] = (model.qpos0 + frame.noise * even[:, : model.nq].numpy())[new]
        simulation.velocity[new] = (frame.noise * speed.numpy())[new]
        self._observation = self._observe()
        return self._observation.clone(), {}

    def step(self, action: Tensor) -> Step:
        """Move each robot: motors `action [T, E, nu]`, clipped to their range."""
        stage, simulation = self._stage, self._simulation
        running, action = stage.running(), stage.check_action(action)
        low, high = simulation.model.actuator_ctrlrange.T
        control = action.double().cpu().numpy().clip(low, high)
        before = simulation.position[:, : self._frame.hidden].copy()
        simulation.advance(control.reshape(-1, control.shape[-1]), running.flatten().cpu().numpy())
        progress = (simulation.position[:, : self._frame.hidden] - before) / simulation.seconds
        motion = Motion(*map(self._tensor, (simulation.position, simulation.velocity, progress, control)))
        reward, fallen = self._reward(motion).to(stage.dtype), self._fallen(motion).to(stage.device)
        self._observation = self._observe()
        terminated, truncated = stage.tick(fallen)
        names = ("x_velocity", "y_velocity")[: self._frame.hidden]
        info = {name: motion.progress[..., i].to(stage.dtype) for i, name in enumerate(names)}
        return Step(self._observation.clone(), torch.where(running, reward, 0.0), terminated, truncated, info)

    def render(self, task: int = 0, environment: int = 0) -> np.ndarray:
        """A picture `[height, width, 3]` of one environment, which follows the robot."""
        from quickstudy.rl.envs.locomotion.drawing import robot

        self._stage.running()
        place = self._simulation.position[task * self.num_envs + environment]
        goal = self._stage.tasks.get("goal")
        marked = None if goal is None else tuple(goal[task].tolist())
        return robot(self._simulation.model, place, planar=self._frame.hidden == 1, goal=marked)

    def _observe(self) -> Tensor:
        """Positions, without those that are hidden, and velocities, `[T, E, do]`."""
        fastest, simulation = self._frame.fastest, self._simulation
        parts = (simulation.position[:, self._frame.hidden :], simulation.velocity.clip(-fastest, fastest))
        return self._tensor(np.concatenate(parts, -1)).to(self._stage.dtype)

    def _tensor(self, values: np.ndarray) -> Tensor:
        """`values [T E, n]` (or `[T, E, n]`) as a new tensor `[T, E, n]` on the environment's device."""
        return torch.tensor(values, device=self._stage.device).view(self.num_tasks, self.num_envs, -1)

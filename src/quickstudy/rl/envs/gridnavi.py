"""GridNavi: a walk on a grid to a goal that is not observed."""

from typing import Any, final

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from quickstudy.checks import check_whole
from quickstudy.learner import Split
from quickstudy.rl.environment import EnvironmentTasks, Step
from quickstudy.rl.envs.stage import DEVICE, NUM_TASKS, TASKS, Stage, numpy_dtype, per_task, task_generator
from quickstudy.tasks.sampling import uniform

MOVES = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))  # of actions 0 to 4: stay, up, right, down, left


@final
class GridNavi:
    """A walker on a grid of cells is rewarded for each step that ends on a goal, which it does not see.

    As in the code of Zintgraf et al. 2020 (VariBAD, arXiv 1910.08348, section 5.1). Dynamics: an episode starts in the
    lower left cell, (0, 0); the actions are 0 to stay, 1 up, 2 right, 3 down and 4 left; a move beyond the edge leaves
    the walker where it is. The observation is the cell, (x, y). Reward: 1 for each step after which the walker is on
    the goal, -0.1 for every other step; the goal does not end the episode. Goals: any cell with equal probability, but
    for the start and the three cells around it, so 21 cells of the 5x5 grid. Horizon: 15 steps.

    With four episodes of the same task, whose goal stays, Bayes-optimal behaviour has an expected return of 4.000 in
    the first episode and 11.071 in each later one, 37.214 in all; told the goal, it is 44.286. The policies of
    `quickstudy.rl.envs.references.gridnavi` attain these.

    A task consists of `goal [T, 2]`, whole numbers. As published, every goal is in every split: what is learned is to
    search, and the splits differ in their draws only. `check_environment` is told so by
    `skip={"held out tasks are held out": "..."}`.

    Args:
        cells: cells of each side of the grid, at least 3.
        num_envs: E, environments of each task.
        horizon: steps until an episode is truncated.
        device: device of tasks, observations and rewards; None is torch's default device.

    Raises:
        ValueError: for fewer than 3 cells.

    >>> env = GridNavi(num_envs=2)
    >>> env.set_tasks({"goal": torch.tensor([[2.0, 0.0]])})
    >>> env.reset()[0]
    tensor([[[0., 0.],
             [0., 0.]]])
    >>> _ = env.step(torch.tensor([[2, 1]]))
    >>> step = env.step(torch.tensor([[2, 1]]))
    >>> step.observation.tolist(), step.reward
    ([[[2.0, 0.0], [0.0, 2.0]]], tensor([[ 1.0000, -0.1000]]))
    """

    num_tasks, device, tasks = NUM_TASKS, DEVICE, TASKS

    def __init__(
        self,
        *,
        cells: int = 5,
        num_envs: int = 20,
        horizon: int = 15,
        device: torch.device | str | None = None,
    ):
        self.cells = check_whole("cells", cells, 3)
        self.num_envs, self.horizon = num_envs, horizon
        self.observation_space = Box(0.0, cells - 1.0, (2,), dtype=numpy_dtype())
        self.action_space = Discrete(len(MOVES))
        self._place = torch.empty(0)
        self._stage = Stage(
            "GridNavi", num_envs=num_envs, horizon=horizon, action_space=self.action_space, device=device
        )
        self._moves = torch.tensor(MOVES, dtype=self._stage.dtype, device=self._stage.device)

    @property
    def goals(self) -> Tensor:
        """All cells that may be the goal, `[G, 2]`; as tasks they give exact expectations."""
        row = torch.arange(self.cells, dtype=self._stage.dtype, device=self._stage.device)
        cells = torch.cartesian_prod(row, row)
        return cells[cells.amax(1) > 1]

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this environment."""
        return {"cells": self.cells, "num_envs": self.num_envs, "horizon": self.horizon}

    def __repr__(self) -> str:
        return f"GridNavi({', '.join(f'{word}={value!r}' for word, value in self.config().items())})"

    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """Draw goals `[T, 2]`; equal seeds give different draws in different splits."""
        generator = task_generator(num_tasks, split, generator)
        draws, goals = uniform(num_tasks, generator=generator), self.goals
        which = (draws * len(goals)).long().clamp_max(len(goals) - 1)
        return {"goal": goals.to(draws)[which]}

    def set_tasks(self, tasks: EnvironmentTasks) -> None:
        """Set the goals `[T, 2]`; call `reset` before the next step.

        Raises:
            TypeError, ValueError: for other names or shapes, and goals that are none of `goals`.
        """
        goal = tasks.get("goal") if isinstance(tasks, dict) else None
        if isinstance(goal, Tensor) and goal.dim() == 2 and goal.shape[1] == 2:
            known = (self.goals.to(goal) == goal[:, None]).all(-1).any(1)
            wrong = goal.isfinite().all(1) & ~known
            if bool(wrong.any()):
                task = int(wrong.nonzero()[0])
                raise ValueError(
                    f"GridNavi.set_tasks: goal of task {task} is {goal[task].tolist()}; expected a cell (x, y) of "
                    f"whole numbers from 0 to {self.cells - 1} of which one is at least 2 (env.goals lists them)"
                )
        self._stage.set_tasks(tasks, {"goal": (2,)})

    def reset(
        self, mask: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start new episodes where `mask [T, E]` is True (everywhere for None); return all cells `[T, E, 2]`."""
        new = self._stage.start(mask, generator).unsqueeze(-1)
        start = torch.zeros(*new.shape[:2], 2, dtype=self._stage.dtype, device=self._stage.device)
        self._place = start if mask is None else torch.where(new, start, self._place)
        return self._place.clone(), {}

    def step(self, action: Tensor) -> Step:
        """Take action `action [T, E]` in each environment."""
        stage = self._stage
        running, action = stage.running(), stage.check_action(action)
        place, reward, ended = self.dynamics(stage.tasks, self._place, action)
        self._place = torch.where(running.unsqueeze(-1), place, self._place)
        terminated, truncated = stage.tick(ended)
        return Step(self._place.clone(), torch.where(running, reward, 0.0), terminated, truncated, {})

    def dynamics(
        self, tasks: EnvironmentTasks, state: Tensor, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Next cell, reward and terminated from the cell `state [T, ..., 2]` and `action [T, ...]`."""
        place = (state + self._moves[action]).clamp(0, self.cells - 1)
        there = (place == per_task(tasks["goal"], state.dim() - 1)).all(-1)
        reward = torch.full_like(place[..., 0], -0.1).masked_fill(there, 1.0)
        return place, reward, torch.zeros_like(there)

    def render(self, task: int = 0, environment: int = 0) -> np.ndarray:
        """A picture `[height, width, 3]` of one environment: the walker (blue) and the goal (green)."""
        from quickstudy.rl.envs.rendering import grid

        self._stage.running()
        x, y = self._place[task, environment].tolist()
        goal_x, goal_y = self._stage.tasks["goal"][task].tolist()
        return grid((x, y), (goal_x, goal_y), self.cells)

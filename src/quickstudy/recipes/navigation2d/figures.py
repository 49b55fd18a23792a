"""Figures of the navigation recipes."""

from collections.abc import Mapping
from typing import Any

import matplotlib.style as mplstyle
import torch
from matplotlib.figure import Figure

import quickstudy as qs
from quickstudy.chance import Stream, mix
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.navigation2d.board import Navigation, environment
from quickstudy.recipes.navigation2d.measure import GOALS, Measured, Walks
from quickstudy.report import figures
from quickstudy.report.animation import animate
from quickstudy.report.palette import INK, look
from quickstudy.report.tables import PARTS
from quickstudy.rl.envs.filmed import Filmed


def walks_figure(learners: Mapping[str, Walks], options: Navigation) -> Figure:
    """Paths towards the same goals for every learner, one row for each number of gradient steps."""
    rows = max(len(walks.paths) for walks in learners.values())
    goals = max(len(walks.goals) for walks in learners.values())
    span = max(float(walks.goals.abs().max()) for walks in learners.values()) + 0.25
    limits = (-0.1, 1.1) if options.board == "unit" else (-span, span)
    with mplstyle.context(figures.STYLE):
        width = min(goals * len(learners) + 0.4, 10.0)
        figure = Figure(figsize=(width, (width / goals / len(learners) + 0.06) * rows + 0.3), layout="constrained")
        parts = figure.subfigures(1, len(learners), squeeze=False)[0]
        for part, (name, walks) in zip(parts, learners.items(), strict=True):
            part.suptitle(PARTS[name], fontsize=9, fontweight="bold")
            grid = part.subplots(rows, goals, squeeze=False)
            for k, row in enumerate(grid):
                row[0].set_ylabel(f"{k} step{'s' * (k != 1)}" if k < len(walks.paths) else "")
                for place, axes in enumerate(row):
                    if k >= len(walks.paths) or place >= len(walks.goals):
                        axes.set_axis_off()
                        continue
                    for path in walks.paths[k][place]:
                        axes.plot(*path.T.tolist(), color=look(name).colour, linewidth=0.8, alpha=0.7)
                    goal = walks.goals[place].tolist()
                    axes.plot(*goal, marker="*", color=INK, markersize=6, zorder=3)
                    axes.set(xticks=[], yticks=[], xlim=limits, ylim=limits, aspect="equal")
    return figure


def film(learner: Any, options: Navigation, stage: Stage, measured: Measured, *, sees_goal: bool = False) -> None:
    """Write an animation of the paths to one goal, before and after every gradient step."""
    lr, steps = measured.rates, len(measured.returns["return"]) - 1
    chance = torch.Generator().manual_seed(mix(options.test_seed, 0, Stream.EVALUATION))
    board = environment(options, options.test_episodes, sees_goal=sees_goal)
    goals = board.sample_tasks(options.test_tasks, split="test", generator=chance)
    far = int((goals["goal"] - 0.5 * (options.board == "unit")).norm(dim=1)[:GOALS].argmax())
    filmed = Filmed(environment(options, options.test_episodes), which=(0, 0), shrink=2)
    board = qs.rl.Informed(filmed, ("goal",)) if sees_goal else filmed
    board.set_tasks({name: values[far : far + 1] for name, values in goals.items()})
    actor = learner.actor(lr=list(lr) or None)
    for k in range(steps + 1):
        episodes = actor.rollout(board, generator=chance)
        actor = actor.adapt(episodes) if k < steps else actor
    captions = ["before", *(f"{k} step{'s' * (k > 1)}" for k in range(1, steps + 1))]
    films = dict(zip(captions, (filmed.films[k] for k in range(steps + 1)), strict=True))
    animate(stage.folder / "figures" / "walking.gif", films, fps=15)

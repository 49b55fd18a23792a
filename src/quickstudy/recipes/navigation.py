"""What the navigation recipes share: the boards, the learners, and how adaptation is measured and drawn."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import matplotlib.style as mplstyle
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

import quickstudy as qs
from quickstudy.recipes.options import Options
from quickstudy.report import figures
from quickstudy.training.evaluation import Metric
from quickstudy.training.seeds import Stream, mix
from quickstudy.training.statistics import over_tasks

STEPS = 3  # gradient steps measured
GOALS, WALKS = 6, 3  # drawn


@dataclass(frozen=True, kw_only=True)
class Navigation(Options):
    """The authors' settings by default, but for the second rate of measuring."""

    steps: int = 100
    """Updates of the policy (100 in the authors' script)."""
    tasks: int = 20
    """Goals in an update."""
    episodes: int = 20
    """Episodes of each goal before every step."""
    width: int = 100
    """Units in each of the policy's two hidden layers."""
    inner_lr: float = 0.5
    """Rate of the inner step (0.5 in the authors' code)."""
    test_lr: tuple[float, ...] = (0.5, 0.1)
    """Rates of the first, second ... step when measuring; the last one goes on (0.25 in the authors' code)."""
    max_kl: float = 0.01
    """Bound of the trust region."""
    board: Literal["maml", "unit"] = "maml"
    """The MAML paper's plane, or the walled unit board with noise and inertia."""
    test_tasks: int = 200
    """Unseen goals to measure on."""
    test_episodes: int = 40
    """Episodes seen before every gradient step when measuring."""
    test_seed: int = 0
    """Seed of the unseen goals and of the measurement."""
    which: Literal["best", "last"] = "last"
    """Which weights to measure."""


def board(options: Navigation, episodes: int) -> qs.rl.Navigation2D:
    """The environments."""
    kind = qs.rl.Navigation2D.unit_board if options.board == "unit" else qs.rl.Navigation2D
    return kind(num_envs=episodes)


def learner(options: Navigation, *, inputs: int = 2, steps: int = 1, **more: Any) -> qs.rl.MAMLTRPO:
    """A Gaussian policy with two hidden layers of ReLUs, meta-trained with TRPO."""
    network = qs.nets.MLP(inputs, [options.width, options.width], 2)
    log_std = 0.0 if options.board == "maml" else float(np.log(0.1))  # the unit board takes moves up to 0.1
    policy = qs.rl.GaussianPolicy(network, 2, log_std=log_std)
    return qs.rl.MAMLTRPO(policy, lr=options.inner_lr, steps=steps, max_kl=options.max_kl, **more)


class Walks(NamedTuple):
    """What is drawn: some goals, and how the policy walked towards them.

    Args:
        goals: `[G, 2]`.
        paths: after every gradient step, for every goal some walks `[n, 2]`.
    """

    goals: Tensor
    paths: list[list[list[Tensor]]]


def measure(
    trained: qs.rl.MAMLTRPO, options: Navigation, *, told: bool = False, steps: int = STEPS
) -> tuple[dict[str, Metric], Walks]:
    """Mean return of an episode for unseen goals after 0, 1 ... gradient steps.

    What is adapted on is counted in two ways: so many episodes a step; or, as in the authors' code, so many transitions
    (`test_episodes` x horizon), of which only finished episodes count: once adapted, many more and shorter ones.

    Args:
        told: show the policy the goal.
        steps: how many gradient steps.
    """
    environment: Any = board(options, options.test_episodes)
    environment = qs.rl.Informed(environment, ("goal",)) if told else environment
    seed = torch.Generator().manual_seed(mix(options.test_seed, 0, Stream.EVALUATION))
    goals = environment.sample_tasks(options.test_tasks, split="test", generator=seed)
    environment.set_tasks(goals)
    metrics, paths = {}, []
    for way in ("", "_by_transitions") if steps else ("",):
        chance = torch.Generator().manual_seed(mix(options.test_seed, 1, Stream.EVALUATION))
        actor = trained.actor(lr=list(options.test_lr))
        for k in range(steps + 1):
            episodes = actor.rollout(environment, generator=chance)
            metrics[f"return{way}/steps={k}"] = over_tasks(episodes.returns().mean(1))
            if not way:
                paths.append([[_walk(episodes, goal, e) for e in range(WALKS)] for goal in range(GOALS)])
            if k < steps:
                seen = actor.rollout(environment, generator=chance, restart=True) if way else episodes
                actor = actor.adapt(seen)
    return metrics, Walks(goals["goal"][:GOALS], paths)


def _walk(episodes: qs.rl.Episodes, task: int, environment: int) -> Tensor:
    real = episodes.mask[task, environment]
    seen, after = (getattr(episodes, name)[task, environment, :, :2] for name in ("observation", "next_observation"))
    return torch.cat([seen[:1], after[real]])


def walks_figure(walks: Walks, options: Navigation, title: str) -> Figure:
    """One row of goals after every gradient step, with some walks towards each."""
    with mplstyle.context(figures.STYLE):
        span = float(walks.goals.abs().max()) + 0.25
        limits = (-0.1, 1.1) if options.board == "unit" else (-span, span)
        rows, columns = len(walks.paths), len(walks.goals)
        figure = Figure(figsize=(7, 1.2 * rows + 0.4), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for k, (row, paths) in enumerate(zip(grid, walks.paths, strict=True)):
            row[0].set_ylabel(f"{k} step{'s' * (k != 1)}")
            for axes, goal, some in zip(row, walks.goals.tolist(), paths, strict=True):
                for path in some:
                    axes.plot(*path.T.tolist(), color=figures.BLUE, linewidth=0.8, alpha=0.7)
                axes.plot(*goal, marker="*", color=figures.ORANGE, markersize=8, zorder=3)
                axes.set(xticks=[], yticks=[], xlim=limits, ylim=limits, aspect="equal")
        figure.suptitle(title)
    return figure


def steps_figure(curves: Mapping[str, Mapping[str, Metric]], title: str) -> Figure:
    """Return against gradient steps, one line a learner.

    Args:
        curves: label -> metrics of `measure`.
    """
    series = []
    for (label, metrics), colour in zip(curves.items(), (figures.BLUE, figures.ORANGE, figures.GREY), strict=False):
        found = [metrics[f"return/steps={k}"] for k in range(STEPS + 1) if f"return/steps={k}" in metrics]
        means, ci = [m.mean for m in found], [m.ci95 for m in found]
        series.append(figures.Series(label, list(range(len(found))), means, ci, colour))
    return figures.lines(series, xlabel="gradient steps", ylabel="return", title=title, whole=True)

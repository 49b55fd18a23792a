"""RL^2 searches GridNavi for a goal over four episodes, beside the best policy there is (Zintgraf et al. 2020).

The grid is that of the VariBAD paper's code: 5x5 cells, 21 goals, 15 steps, and four episodes of each goal. *Optimal*
is Bayes-optimal, and *told* knows the goal; their expected returns are exact. RL^2 is measured on every goal equally
often, with actions that are drawn (`rl2`) and with the most probable ones (`rl2_greedy`).
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from matplotlib.figure import Figure
from torch import Tensor

import quickstudy as qs
from quickstudy.chance import Stream, mix
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.stage import Stage
from quickstudy.report import figures
from quickstudy.report.figures import Series
from quickstudy.report.tables import PARTS
from quickstudy.rl.envs.references import gridnavi

LABELS = {
    "rl2": PARTS["rl2"],
    "rl2_greedy": PARTS["rl2_greedy"],
    "optimal": "Bayes-optimal",
    "told": "told the goal",
}


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Options of the recipe."""

    cells: int = 5
    """Cells of each side of the grid."""
    episodes: int = 4
    """Episodes of a trial, in which the goal stays."""
    steps: int = 600
    """Updates of PPO; the published training has 20 million steps of the environment, this one 3 million."""
    tasks: int = 84
    """Trials in an update, each with a goal of its own."""
    width: int = 64
    """Units of the memory; 128 in the publication."""
    lr: float = 5e-3
    """Learning rate of Adam."""
    discount: float = 0.95
    """Discount of rewards."""
    gae_lambda: float = 0.9
    """Lambda of generalised advantage estimation."""
    entropy: float = 0.01
    """Weight of the policy's entropy."""
    test_tasks: int = 100
    """Trials of each goal to measure on."""
    which: Literal["best", "last"] = "last"
    """Weights to measure; a run of a policy keeps the last ones."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    env = qs.rl.GridNavi(cells=options.cells, num_envs=1)
    chosen: dict[str, Any] = {name: getattr(options, name) for name in ("width", "discount", "gae_lambda", "entropy")}
    learner = qs.rl.RL2.of(env, episodes=options.episodes, outer_lr=options.lr, **chosen)
    trained = stage.train(learner, env, fit=qs.rl.fit, steps=options.steps, tasks=options.tasks)
    stage.say(f"measuring on {options.test_tasks} trials of each goal")
    walks = qs.rl.GridNavi(cells=options.cells, num_envs=options.test_tasks)
    walks.set_tasks({"goal": walks.goals})
    chance = torch.Generator().manual_seed(mix(options.test_seed, 0, Stream.EVALUATION))
    found: dict[str, Tensor] = {}  # [trials, episodes], means over goals
    for name, greedy in (("rl2", False), ("rl2_greedy", True)):
        actor, returns = trained.actor(), []
        for _ in range(options.episodes):
            episodes = actor.rollout(walks, generator=chance, greedy=greedy)
            returns.append(episodes.returns())
            actor = actor.adapt(episodes)
        found[name] = torch.stack(returns, 2).mean(0)
    tour = gridnavi.Tour.optimal(walks)
    found["optimal"] = gridnavi.play(tour, walks, options.episodes).mean(0)
    found["told"] = gridnavi.play(tour, walks, options.episodes, gridnavi.told(walks)).mean(0)
    metrics: dict[str, Metric] = {}
    for name, own in found.items():
        metrics |= {f"{name}/return/episode={k + 1}": _over_trials(own[:, k]) for k in range(options.episodes)}
        metrics[f"{name}/total"] = _over_trials(own.sum(1))
    caption = "Mean return over all goals, by episode of a trial."
    stage.draw("episodes", lambda: _figure(metrics, list(found), options.episodes), caption)
    return metrics


def _over_trials(values: Tensor) -> Metric:
    return over_tasks(values.double())._replace(over="trials of all goals")


def _figure(metrics: dict[str, Metric], names: list[str], episodes: int) -> Figure:
    series = []
    for name in names:
        each = [metrics[f"{name}/return/episode={k}"] for k in range(1, episodes + 1)]
        numbers = list(range(1, episodes + 1))
        series.append(Series(LABELS[name], numbers, [m.mean for m in each], [m.ci95 or 0.0 for m in each]))
    return figures.lines(series, xlabel="episode", ylabel="return of an episode", whole=True)

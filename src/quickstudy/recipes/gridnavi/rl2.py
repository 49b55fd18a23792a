"""RL^2 searches GridNavi for a goal over four episodes, beside the best policy there is (Zintgraf et al. 2020).

The grid is that of the VariBAD paper's code: 5x5 cells, 21 goals, 15 steps, and four episodes of each goal. *Optimal*
is Bayes-optimal, and *told* knows the goal; their expected returns are exact. RL^2 is measured on every goal equally
often, with actions that are drawn (`rl2`) and with the most probable ones (`rl2_greedy`).
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch

import quickstudy as qs
from quickstudy.chance import Stream, mix
from quickstudy.evaluation.intervals import Metric
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.gridnavi.measure import EXACT, every_goal, exact, return_metrics, returns, returns_figure, trial
from quickstudy.report.tables import PARTS

LABELS = {name: PARTS[name] for name in ("rl2", "rl2_greedy")} | EXACT


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Options of the recipe."""

    cells: int = 5
    """Cells of each side of the grid."""
    episodes: int = 4
    """Episodes of a trial, in which the goal stays."""
    steps: int = 600
    """Updates of PPO, 3 million steps of the environment; 100 million in the configuration of the authors' code."""
    tasks: int = 84
    """Trials in an update, each with a goal of its own."""
    width: int = 64
    """Units of the memory; 64 in the configuration of the authors' code."""
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
    walks = every_goal(options.cells, options.test_tasks)
    chance = torch.Generator().manual_seed(mix(options.test_seed, 0, Stream.EVALUATION))
    played = (trial(trained, walks, options.episodes, chance, greedy=greedy) for greedy in (False, True))
    found = dict(zip(("rl2", "rl2_greedy"), map(returns, played), strict=True)) | exact(walks, options.episodes)
    metrics = return_metrics(found)
    caption = "Mean return over all goals, by episode of a trial."
    stage.draw("episodes", lambda: returns_figure(metrics, LABELS, options.episodes), caption)
    return metrics

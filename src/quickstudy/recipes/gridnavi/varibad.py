"""VariBAD searches GridNavi for a goal over four episodes, and its belief is compared with the exact posterior.

The grid is that of the VariBAD paper's code (Zintgraf et al. 2020): 5x5 cells, 21 goals, 15 steps, and four episodes of
each goal. *Optimal* is Bayes-optimal, and *told* knows the goal; their expected returns are exact. VariBAD is measured
on every goal equally often, with actions that are drawn (`varibad`) and with the most probable ones
(`varibad_greedy`).

The exact posterior over goals is uniform over the cells that were not visited, and certain once the goal is found. From
VariBAD's belief before each step, the probability of a reward in each cell is decoded, and divided by its sum over the
21 cells. `total_variation` is the distance of the two, from 0 to 1, along trials with drawn actions; *fixed* is that of
a belief that never changes. The decoder was trained on the cells that the policy visits, which depend on the goal. For
`reread` the same beliefs are read by a decoder that is then told the reward of every cell, in other trials.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from matplotlib.figure import Figure

import quickstudy as qs
from quickstudy.chance import Stream, mix
from quickstudy.evaluation.intervals import Metric
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.gridnavi.beliefs import (
    belief_metrics,
    beliefs_figure,
    decoded,
    distances,
    distances_figure,
    posteriors,
    reread,
)
from quickstudy.recipes.gridnavi.measure import EXACT, every_goal, exact, return_metrics, returns, returns_figure, trial

LABELS = {"varibad": "VariBAD", "varibad_greedy": "VariBAD, most probable action"} | EXACT


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Options of the recipe."""

    cells: int = 5
    """Cells of each side of the grid."""
    episodes: int = 4
    """Episodes of a trial, in which the goal stays."""
    steps: int = 2000
    """Updates of PPO, 10 million steps of the environment; 100 million in the configuration of the authors' code."""
    tasks: int = 84
    """Trials in an update, each with a goal of its own; 16 in the publication."""
    width: int = 64
    """Units of the memory; 64 in the publication."""
    latent: int = 5
    """Components of the latent variable; 5 in the publication."""
    lr: float = 1.5e-3
    """Learning rate of Adam for the policy; 0.0007 in the publication."""
    vae_lr: float = 1e-3
    """Learning rate of Adam for encoder and decoder; 0.001 in the publication."""
    vae_steps: int = 10
    """Steps of the autoencoder in an update; 3 in the publication."""
    vae_trials: int = 50
    """Trials in each of these steps; 25 in the publication."""
    vae_beliefs: int = 12
    """Beliefs of a trial that are decoded; all 60 in the publication."""
    discount: float = 0.95
    """Discount of rewards; 0.95 in the publication."""
    gae_lambda: float = 0.9
    """Lambda of generalised advantage estimation; 0.95 in the publication."""
    entropy: float = 0.01
    """Weight of the policy's entropy; 0.1 in the publication."""
    reread_steps: int = 1000
    """Steps in which a second decoder is told the reward of every cell, after training."""
    test_tasks: int = 100
    """Trials of each goal to measure on."""
    which: Literal["best", "last"] = "last"
    """Weights to measure; a run of a policy keeps the last ones."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    env = qs.rl.GridNavi(cells=options.cells, num_envs=1)
    names = ("width", "latent", "discount", "gae_lambda", "entropy", "vae_lr", "vae_steps", "vae_trials", "vae_beliefs")
    chosen: dict[str, Any] = {name: getattr(options, name) for name in names}
    learner = qs.rl.VariBAD.of(
        env,
        episodes=options.episodes,
        rewards="positive",  # as in the publication: whether the reward is 1
        reads=("next_observation",),
        outer_lr=options.lr,
        **chosen,
    )
    trained = stage.train(learner, env, fit=qs.rl.fit, steps=options.steps, tasks=options.tasks)
    stage.say(f"measuring on {options.test_tasks} trials of each goal")
    walks = every_goal(options.cells, options.test_tasks)
    chance = torch.Generator().manual_seed(mix(options.test_seed, 0, Stream.EVALUATION))
    played, greedy = (trial(trained, walks, options.episodes, chance, greedy=greedy) for greedy in (False, True))
    found = {"varibad": returns(played), "varibad_greedy": returns(greedy), **exact(walks, options.episodes)}
    told = trial(trained, walks, options.episodes, chance, greedy=False)  # other trials
    again = reread(trained.autoencoder, walks, told, options.reread_steps, chance)
    both = {"varibad": trained.autoencoder, "reread": again}
    truth = posteriors(walks, played)
    said = {name: decoded(autoencoder, walks, played, chance) for name, autoencoder in both.items()}
    away = distances(truth, said)
    metrics = return_metrics(found) | belief_metrics(away, walks.horizon)

    def episodes() -> Figure:
        return returns_figure(metrics, LABELS, options.episodes)

    stage.draw("episodes", episodes, "Mean return over all goals, by episode of a trial.")
    stage.draw("distances", lambda: distances_figure(away), "Distance of the belief from the exact posterior, by step.")
    caption = "Exact and decoded probability of a reward in each cell, along one trial; circle: walker, star: goal."
    rows = {"decoded": said["varibad"], "read again": said["reread"]}
    stage.draw("beliefs", lambda: beliefs_figure(walks, played, truth, rows), caption)
    return metrics

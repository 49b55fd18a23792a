"""RL^2 learns to play Bernoulli bandits, beside policies that know how bandits are drawn (Duan et al. 2016, table 1).

Every bandit has `--arms` arms that pay with unknown probabilities, drawn from U(0, 1), and is played for `--pulls`
pulls. The published protocol has 5, 10 and 50 arms and 10, 100 and 500 pulls; with 10 pulls greed is nearly optimal,
so that the default is 100. All policies play the same unseen bandits: the index policy is nearly optimal, Thompson
sampling and greed know the prior, too, and *random* does not learn. The publication reports 78.7 of 100 for RL^2 with
five arms, where the index policy has 78.8.

An update has 250 bandits, where the publication has 2,500. With the published discount and without a weight of the
entropy, 250 such updates ended at 64 of 100; so here this weight begins at 0.1 and falls to 0, and the discount begins
at 0 and ends at 0.9.
"""

from dataclasses import dataclass
from typing import Literal

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
from quickstudy.rl.envs.references.bandit import BanditPolicy, Greedy, Index, Thompson, play


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Options of the recipe."""

    arms: int = 5
    """Arms of a bandit; 5, 10 or 50 in the publication."""
    pulls: int = 100
    """Pulls in a trial; 10, 100 or 500 in the publication."""
    steps: int = 600
    """Updates of PPO."""
    tasks: int = 250
    """Bandits in an update, each played once."""
    width: int = 64
    """Units of the memory; 256 in the publication."""
    lr: float = 3e-3
    """Learning rate of Adam."""
    discount: float = 0.9
    """Discount of rewards that is reached at last; 0.99 in the publication."""
    gae_lambda: float = 0.7
    """Lambda of generalised advantage estimation; 0.3 in the publication."""
    entropy: float = 0.1
    """Weight of the policy's entropy in the first update; it falls to 0."""
    anneal: float = 0.9
    """Share of the updates over which the discount grows from 0 and the entropy's weight falls to 0."""
    test_tasks: int = 2000
    """Unseen bandits to measure on."""
    which: Literal["best", "last"] = "last"
    """Weights to measure; a run of a policy keeps the last ones."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    env = qs.rl.Bandit(arms=options.arms, num_envs=1, horizon=options.pulls)
    names = ("width", "discount", "gae_lambda", "entropy")
    chosen = {name: getattr(options, name) for name in names}
    eased = max(1, round(options.anneal * options.steps))
    learner = qs.rl.RL2.of(env, episodes=1, outer_lr=options.lr, anneal=eased, **chosen)
    trained = stage.train(learner, env, fit=qs.rl.fit, steps=options.steps, tasks=options.tasks)
    chance = torch.Generator().manual_seed(mix(options.test_seed, 0, Stream.EVALUATION))
    bandits = env.sample_tasks(options.test_tasks, split="test", generator=chance)
    stage.say(f"measuring on {options.test_tasks} unseen bandits")
    env.set_tasks(bandits)
    rewards = {"rl2": trained.actor().rollout(env, generator=chance).reward[:, 0]}
    rewards["rl2_greedy"] = trained.actor().rollout(env, generator=chance, greedy=True).reward[:, 0]
    others: dict[str, BanditPolicy] = {"index": Index(options.pulls), "thompson": Thompson(), "greedy": Greedy()}
    for name, policy in others.items():
        rewards[name] = play(policy, bandits["probability"], options.pulls, chance)
    rewards["random"] = play(_Random(), bandits["probability"], options.pulls, chance)
    caption = f"Mean reward of each pull, of {options.test_tasks} unseen bandits with {options.arms} arms."
    stage.draw("pulls", lambda: _figure(rewards), caption)
    found = {name: own.double().sum(1) for name, own in rewards.items()}
    metrics = {f"{name}/return": over_tasks(own) for name, own in found.items()}
    for name in ("rl2", "rl2_greedy"):
        metrics[f"{name}/share_of_index"] = over_tasks(found[name] / found["index"].mean())
    return metrics


class _Random:
    """Arms by chance."""

    def choose(self, won: Tensor, lost: Tensor, left: int, generator: torch.Generator | None) -> Tensor:
        return torch.randint(won.shape[1], (len(won),), generator=generator)


def _figure(rewards: dict[str, Tensor]) -> Figure:
    series = []
    for name, own in rewards.items():
        each = [over_tasks(pull) for pull in own.double().unbind(1)]
        numbers = list(range(1, len(each) + 1))
        series.append(Series(PARTS[name], numbers, [m.mean for m in each], [m.ci95 or 0.0 for m in each]))
    return figures.lines(series, xlabel="pull", ylabel="mean reward", bounds=(0.0, 1.0))

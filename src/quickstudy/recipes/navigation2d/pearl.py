"""PEARL on 2-D navigation, beside RL^2 and MAML with equal numbers of transitions (Rakelly et al. 2019, section 6).

A point robot begins anywhere on the board [-1, 1]^2, has 20 steps of at most 0.1 in each coordinate, and is paid minus
its distance from a goal anywhere on the board, which it does not see. On unseen goals, each learner plays four
episodes, one after another, and adapts to each of them before the next; *oracle* is told the goal and goes there.

RL^2 and MAML are trained with as many transitions as PEARL (`rl2`, `maml`), and with `--more` times as many
(`rl2_more`, `maml_more`). MAML takes a gradient step on one episode of 20 transitions, as all learners see the same
data of a new task; `maml_many` and `maml_many_more` are the same policies with 20 episodes for each step, as in
training.
"""

from collections.abc import Mapping
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

HORIZON = 20
EPISODES = 4  # of a new goal, at test time
ROLLOUTS = 20  # episodes of MAML's gradient steps, in training
TRIALS, GOALS = 50, 20  # tasks in an update of RL^2, and of MAML
LABELS = {
    "pearl": "PEARL",
    "rl2": PARTS["rl2"],
    "rl2_more": "RL^2, more transitions",
    "maml": PARTS["maml"],
    "maml_more": "MAML, more transitions",
    "maml_many": "MAML, 20 episodes a step",
    "maml_many_more": "MAML, more transitions, 20 episodes a step",
    "random": PARTS["random"],
    "oracle": PARTS["oracle"],
}


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Options of the recipe."""

    steps: int = 250
    """Updates of PEARL; each visits some goals and takes gradient steps."""
    tasks: int = 10
    """Goals that an update visits."""
    train_tasks: int = 200
    """Goals in training; 80 in the publication's code, on a half circle of goals."""
    width: int = 64
    """Units in both hidden layers of PEARL's networks; 300 in three layers in the publication."""
    latent: int = 10
    """Components of PEARL's latent variable; 5 in the publication."""
    gradient_steps: int = 100
    """Gradient steps of an update of PEARL."""
    batch: int = 32
    """Transitions of each goal in such a step."""
    lr: float = 2e-3
    """PEARL's learning rate of Adam."""
    kl: float = 0.003
    """PEARL's weight of the divergence from the prior."""
    discount: float = 0.8
    """PEARL's discount of rewards; 0.9 in the publication's code, on its half circle of goals."""
    rivals: tuple[Literal["rl2", "maml"], ...] = ("rl2", "maml")
    """Learners beside PEARL."""
    more: int = 20
    """How many times as many transitions the second training of each rival has."""
    test_tasks: int = 200
    """Unseen goals to measure on."""
    which: Literal["best", "last"] = "last"
    """Weights to measure; a run of a policy keeps the last ones."""


def board(envs: int) -> qs.rl.Navigation2D:
    """The board of the point robot."""
    return qs.rl.Navigation2D(goals=(-1.0, 1.0), start=(-1.0, 1.0), arrival="never", horizon=HORIZON, num_envs=envs)


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    learners = build(options)
    trained = {
        "pearl": stage.train(learners["pearl"], board(1), fit=qs.rl.fit, steps=options.steps, tasks=options.tasks)
    }
    seen = (options.train_tasks + (options.steps - 1) * options.tasks) * learners["pearl"].episodes * HORIZON
    stage.say(f"PEARL has seen {seen:,} transitions")
    for rival in options.rivals:
        envs, tasks, episodes = (1, TRIALS, EPISODES) if rival == "rl2" else (ROLLOUTS, GOALS, 2)
        for name, times in ((rival, 1), (f"{rival}_more", options.more)):
            steps = max(1, round(times * seen / (envs * tasks * episodes * HORIZON)))
            more = {"fit": qs.rl.fit, "steps": steps, "tasks": tasks, "part": name}
            trained[name] = stage.train(learners[name], board(envs), **more)
    trained["random"] = learners["random"]
    found = measure(trained, options)
    metrics = {
        f"{name}/return/episode={k + 1}": over_tasks(own[k].double())
        for name, own in found.items()
        for k in range(EPISODES)
    }
    stage.draw("episodes", lambda: _figure(metrics, list(found)), "Return of an episode on unseen goals, by episode.")
    return metrics


def build(options: Options) -> dict[str, Any]:
    """All learners, before training."""
    env, sizes = board(1), [options.width, options.width]
    names = ("latent", "train_tasks", "gradient_steps", "batch", "kl", "discount")
    chosen: dict[str, Any] = {name: getattr(options, name) for name in names}
    found: dict[str, Any] = {
        "pearl": qs.rl.PEARL.of(env, hidden=sizes, outer_lr=options.lr, context=40, target_rate=0.01, **chosen)
    }
    for name in ("rl2", "rl2_more"):
        found[name] = qs.rl.RL2.of(env, width=64, episodes=EPISODES, discount=0.95, gae_lambda=0.9)
    for name in ("maml", "maml_more", "random"):
        found[name] = qs.rl.MAMLTRPO(qs.rl.GaussianPolicy(qs.nets.MLP(2, [64, 64], 2), 2), lr=0.1)
    return found


def measure(trained: Mapping[str, Any], options: Options) -> dict[str, Tensor]:
    """The return of each episode of a new goal, `[4, T]`, of every learner."""
    seed = torch.Generator().manual_seed(mix(options.test_seed, 0, Stream.EVALUATION))
    goals = board(1).sample_tasks(options.test_tasks, split="test", generator=seed)
    found: dict[str, Tensor] = {}
    for name, learner in trained.items():
        found[name] = _episodes(learner, goals, 1, options)
        if name.startswith("maml"):
            found[name.replace("maml", "maml_many")] = _episodes(learner, goals, ROLLOUTS, options)
    found["oracle"] = oracle(goals, options).expand(EPISODES, -1)
    return found


def oracle(goals: dict[str, Tensor], options: Options) -> Tensor:
    """The return `[T]` of going straight to the goal in both coordinates, which nothing exceeds; over 20 starts."""
    world = board(20)
    world.set_tasks(goals)
    goal, seed = goals["goal"].unsqueeze(1), torch.Generator().manual_seed(mix(options.test_seed, 1, Stream.EVALUATION))
    place, _ = world.reset(generator=seed)
    total = torch.zeros(place.shape[:2])
    for _ in range(HORIZON):
        step = world.step((goal - place) / 0.1)  # clipped to [-1, 1]
        place, total = step.observation, total + step.reward
    return total.mean(1)


def _episodes(learner: Any, goals: dict[str, Tensor], envs: int, options: Options) -> Tensor:
    world, actor = board(envs), learner.actor()
    world.set_tasks(goals)
    chance = torch.Generator().manual_seed(mix(options.test_seed, 1, Stream.EVALUATION))
    returns = []
    for k in range(EPISODES):
        episodes = actor.rollout(world, generator=chance)
        returns.append(episodes.returns().mean(1))
        actor = actor.adapt(episodes) if k + 1 < EPISODES else actor
    return torch.stack(returns)


def _figure(metrics: Mapping[str, Metric], names: list[str]) -> Figure:
    series, numbers = [], list(range(1, EPISODES + 1))
    for name in names:
        each = [metrics[f"{name}/return/episode={k}"] for k in numbers]
        series.append(Series(LABELS[name], numbers, [m.mean for m in each], [m.ci95 or 0.0 for m in each]))
    return figures.lines(series, xlabel="episode on a new goal", ylabel="return of an episode", whole=True)

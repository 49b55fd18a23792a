"""Answers to messages about navigation: policies that adapt to a goal by gradient steps on their own episodes."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import torch

import quickstudy as qs
from quickstudy.play.message import Message
from quickstudy.play.server import Answer

STEPS = 3  # gradient steps
EPISODES = (5, 40, 80)  # for each step: the fewest, the usual number, which is that of the recipe's test, and the most
PATHS = 5  # episodes whose paths are sent
FAR = 0.7  # the largest coordinate of a goal
SEEN = 0.5  # the largest coordinate of a goal in training
LARGEST_SEED = 1_000_000_000
DIGITS = 9


class Walker(NamedTuple):
    """A learner of policies on the page.

    Args:
        title: its name in words.
        note: how to read its panel, one sentence.
        name: the name under which it comes with the package.
        rates: learning rates of its gradient steps, chosen on validation goals by its run.
    """

    title: str
    note: str
    name: str
    rates: tuple[float, ...]


WALKERS = {
    "maml": Walker(
        "MAML",
        "Trained so that one gradient step on episodes at a goal leads there; before it, it strays around its start.",
        "maml/navigation",
        (0.6, 0.2, 0.1),
    ),
    "pretrained": Walker(
        "Pretrained",
        "Trained for the mean over all goals, then fine-tuned with rates of its own: the plain rival.",
        "pretrained/navigation",
        (0.2, 0.1, 0.05),
    ),
}


def setup() -> dict[str, Any]:
    """What the page needs to know of the activity, for JSON."""
    walkers = {name: {"title": w.title, "note": w.note, "rates": w.rates} for name, w in WALKERS.items()}
    return {"walkers": walkers, "steps": STEPS, "episodes": EPISODES, "far": FAR, "seen": SEEN}


def answers() -> dict[str, Answer]:
    """The functions that answer messages about navigation: one for each learner, so that each is shown when ready."""
    return {
        f"navigation/{name}": partial(adapt, qs.load(walker.name).actor(lr=list(walker.rates)))
        for name, walker in WALKERS.items()
    }


def adapt(actor: qs.rl.Actor, message: Message) -> dict[str, Any]:
    """Paths and returns of a policy before adaptation, and after each of three gradient steps towards a goal.

    The message has `goal`, and optionally `episodes` (collected before every step) and `seed` (of all random numbers).
    """
    goal = message.numbers("goal", 2, -FAR, FAR)
    fewest, usual, most = EPISODES
    board = qs.rl.Navigation2D(num_envs=message.whole("episodes", fewest, most, usual))
    board.set_tasks({"goal": torch.tensor([goal])})
    chance = torch.Generator().manual_seed(message.whole("seed", 0, LARGEST_SEED, 0))
    stages = []
    for step in range(STEPS + 1):
        episodes = actor.rollout(board, generator=chance)
        stages.append(_stage(episodes))
        if step < STEPS:
            actor = actor.adapt(episodes)
    return {"stages": stages, "best": straight(goal)}


def straight(goal: list[float]) -> Mapping[str, Any]:
    """The best return that is possible, which a policy that sees the goal can have, and its path.

    Each coordinate moves by up to 0.1, whatever the other does. So every distance on the way is as small as it can be
    if each coordinate goes to the goal as fast as it can.
    """
    board = qs.rl.Navigation2D(num_envs=1)
    task, reach = {"goal": torch.tensor([goal])}, board.config()["reach"]
    position, total, path = torch.zeros(1, 2), 0.0, [[0.0, 0.0]]
    for _ in range(board.horizon):
        position, reward, ended = board.dynamics(task, position, (task["goal"] - position) / reach)
        total += float(reward)
        path.append([round(v, DIGITS) for v in position[0].double().tolist()])
        if bool(ended):
            break
    return {"return": round(total, DIGITS), "path": path}


def _stage(episodes: qs.rl.Episodes) -> dict[str, Any]:
    """The mean return of the episodes of one task, how many of them arrived, and the paths of some."""
    arrived = (episodes.terminated & episodes.mask).any(2)
    return {
        "return": round(float(episodes.returns().mean()), DIGITS),
        "arrived": int(arrived.sum()),
        "paths": [_path(episodes, which) for which in range(min(PATHS, arrived.shape[1]))],
    }


def _path(episodes: qs.rl.Episodes, which: int) -> list[list[float]]:
    real = episodes.mask[0, which]
    walked = torch.cat([episodes.observation[0, which, :1], episodes.next_observation[0, which][real]])
    return [[round(v, DIGITS) for v in place] for place in walked.double().tolist()]

"""A Neural Process that balances unknown carts, beside its rivals on the same ones.

It is trained on transitions of simulated carts. Of an unseen cart it knows what it sees: every transition is appended
to the support set, and every plan follows one function drawn from the belief. The rivals plan through the true physics,
through a network that was trained on all carts and never adapts, and through networks trained on each cart from
scratch (PETS); DQN and REINFORCE have no model.
"""

import json
from dataclasses import dataclass
from typing import Any

import quickstudy as qs
from quickstudy.recipes import carts
from quickstudy.recipes.options import Sampled
from quickstudy.recipes.stage import Stage
from quickstudy.training import atomic
from quickstudy.training.statistics import Metric


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Chosen by hand, on carts of other seeds and some of seed 0."""

    steps: int = 8_000
    """Meta-training steps."""
    test_tasks: int = 20
    """Unseen carts, of each seed its own."""
    unknown: carts.Carts = "masses"
    """What is unknown: both masses (0.1 to 3 kg, 0.01 to 1 kg), or also length, force and the force's sign (gains)."""
    methods: tuple[str, ...] = ("np", "simulator", "fixed", "pets", "dqn", "reinforce")
    """Who acts."""
    episodes: int = 5
    """Of every cart."""
    model_free_episodes: int = 150
    """Of every cart, for DQN and REINFORCE."""
    horizon: int = 500
    """Steps after which an episode ends."""
    planner: carts.Planner = "mppi"
    """How plans are found."""
    plan: int = 25
    """Steps that a plan looks ahead."""
    candidates: int = 250
    """Plans in an iteration."""
    iterations: int = 2
    """Of the planner, for every action."""
    ensemble_steps: int = 500
    """Training steps of PETS after every episode."""
    width: int = 32
    """Units of every layer of the Neural Process: small, since planning asks it for 250,000 states at once."""
    latent: int = 16
    """Dimensions of its latent."""
    tasks: int = 32
    """Carts in a meta-batch."""
    support: tuple[int, int] = (0, 50)
    """Fewest and most transitions to encode in training; drawn anew for every batch."""
    query: int = 64
    """Transitions to be predicted in training."""
    lr: float = 2e-3
    """Rate of Adam, at the start of its cosine."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, let everybody act, draw."""
    others = set(options.methods) - set(carts.TITLES)
    if others or not options.methods:
        given = " ".join(options.methods)
        raise ValueError(f"--methods {given}: expected some of {' '.join(carts.TITLES)}")
    family = carts.family(options.unknown)
    dx, dy = family.encoding.dx, family.encoding.dy
    learners: dict[str, Any] = {
        "np": qs.NeuralProcess(
            dx, dy, width=options.width, latent=options.latent, encoder_depth=3, decoder_depth=3, sigma_floor=3e-3
        ),
        "fixed": qs.Pretrained(qs.nets.MLP(dx, [options.width] * 2, dy, activation="gelu"), steps=0),
    }
    training: dict[str, Any] = {
        "steps": options.steps,
        "tasks": options.tasks,
        "support": options.support,
        "query": options.query,
    }
    training |= {"lr": options.lr, "schedule": "cosine", "clip": 1.0}
    for name in [name for name in learners if name in options.methods]:
        learners[name] = stage.train(learners[name], family, part=name, **training).to("cpu")
    stage.describe()

    stage.say(f"{options.test_tasks} unseen carts")
    lives = carts.measure(learners, options, stage.say)
    if stage.mode != "measure":
        atomic.write_file(stage.folder / "lives.json", json.dumps(carts.to_json(lives)).encode())
    stage.draw("episodes", lambda: carts.figure(lives, "episodes"))
    stage.draw("seconds", lambda: carts.figure(lives, "seconds"))
    return carts.metrics(lives, options.episodes)

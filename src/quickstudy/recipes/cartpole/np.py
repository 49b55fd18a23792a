"""A Neural Process that balances unknown carts, beside its rivals on the same ones.

It is trained on transitions of simulated carts. Of an unseen cart it knows what it sees: every transition is appended
to the support set, and every plan follows one function drawn from the belief. The rivals plan through the true physics,
through a network that was trained on all carts and never adapts, and through networks trained on each cart from
scratch (PETS); DQN and REINFORCE have no model. Others act where they are asked for: PPO, which has none either;
learners in the Neural Process's place, that see the same (CNP, MAML); and an actor-critic of each cart, which learns
between episodes in futures that the Neural Process imagines, and plans nothing.
"""

from dataclasses import dataclass
from typing import Any

import quickstudy as qs
from quickstudy.decide.living import Agent
from quickstudy.evaluation.intervals import Metric
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.cartpole import carts
from quickstudy.recipes.cartpole.carts import gather as gather
from quickstudy.recipes.cartpole.film import Remembered, film


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Chosen by hand, on carts of other seeds and some of seed 0."""

    steps: int = 8_000
    """Meta-training steps."""
    test_tasks: int = 20
    """Unseen carts, of each seed its own."""
    test_seed: int = 0
    """Seed, together with that of the training, of the unseen carts and of where their episodes begin."""
    unknown: carts.Carts = "masses"
    """What is unknown: both masses (0.1 to 3 kg, 0.01 to 1 kg), or also length, force and the force's sign (gains)."""
    methods: tuple[str, ...] = ("np", "simulator", "fixed", "pets", "dqn", "reinforce")
    """Who acts; also actor-critic, ppo, cnp and maml."""
    episodes: int = 5
    """Of every cart."""
    model_free_episodes: int = 150
    """Of every cart, for DQN, REINFORCE and PPO."""
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
    start: int = 60
    """Batches of futures that the actor-critic learns from before it meets a cart, once for all carts."""
    imagined: int = 30
    """Batches of futures that it learns from after every episode."""
    width: int = 32
    """Units of every layer of the learners: small, since planning asks it for 250,000 states at once."""
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
    inner_lr: float = 0.1
    """Rate of MAML's inner steps."""
    inner_steps: int = 3
    """MAML's inner steps, in training and on a cart."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, let everybody act, draw."""
    carts.check(options)
    family = carts.family(options.unknown)
    learners = untrained(options, family.encoding.dx, family.encoding.dy)
    training: dict[str, Any] = {
        "steps": options.steps,
        "tasks": options.tasks,
        "support": options.support,
        "query": options.query,
    }
    training |= {"lr": options.lr, "schedule": "cosine", "clip": 1.0}
    wanted = {carts.LEARNER[name] for name in options.methods if name in carts.LEARNER}
    for name in [name for name in learners if name in wanted]:
        learners[name] = stage.train(learners[name], family, part=name, **training).to("cpu")
    stage.describe()

    stage.say(f"{options.test_tasks} unseen carts")
    decided: dict[str, Remembered] = {}

    def remembered(name: str, who: Agent) -> Agent:
        return decided.setdefault(name, Remembered(who)) if name == options.methods[0] else who

    lives = carts.measure(learners, options, stage.say, wrap=remembered)
    stage.keep("lives", carts.to_json(lives))
    stage.draw("episodes", lambda: carts.figure(lives, "episodes"))
    stage.draw("seconds", lambda: carts.figure(lives, "seconds"))
    if stage.mode != "measure" and options.methods[0] not in carts.MODEL_FREE:
        film(decided[options.methods[0]].actions, options, stage)
    return carts.metrics(lives, options.episodes)


def untrained(options: Options, dx: int, dy: int) -> dict[str, Any]:
    """All the learners, since the initial weights of one come after those of the one before."""
    sizes: dict[str, Any] = {"width": options.width, "encoder_depth": 3, "decoder_depth": 3, "sigma_floor": 3e-3}

    def network() -> qs.nets.MLP:
        return qs.nets.MLP(dx, [options.width] * 2, dy, activation="gelu")

    return {
        "np": qs.NeuralProcess(dx, dy, latent=options.latent, **sizes),
        "fixed": qs.Pretrained(network(), steps=0),
        "cnp": qs.CNP(dx, dy, **sizes),
        "maml": qs.MAML(network(), lr=options.inner_lr, steps=options.inner_steps),
    }

"""A Neural Process balances carts with unknown physics, in comparison with rivals on the same carts.

The Neural Process is meta-trained on transitions of simulated carts. On an unseen cart every transition is appended to
the support set, and every plan uses one function sampled from the predictive distribution. The rivals plan with the
true physics, with a network that was trained on all carts and never adapts, or with networks trained on each cart from
scratch (PETS); DQN and REINFORCE are model-free. `--methods` can add others: PPO, which is model-free, too; ALPaCA, CNP
and MAML in place of the Neural Process; and an actor-critic for each cart, which does not plan, and is trained between
episodes on rollouts that the Neural Process imagines.
"""

from dataclasses import dataclass
from typing import Any

import quickstudy as qs
from quickstudy.decide.living import Agent
from quickstudy.evaluation.intervals import Metric
from quickstudy.experiments import lives
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.cartpole import carts
from quickstudy.recipes.cartpole.carts import gather as gather
from quickstudy.recipes.cartpole.film import Recorded, film


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Options of the recipe. The defaults were chosen by hand, on carts of other seeds and on some of seed 0."""

    steps: int = 8_000
    """Meta-training steps."""
    test_tasks: int = 20
    """Unseen carts; each seed has its own."""
    test_seed: int = 0
    """Seed of the unseen carts and of their initial states; they depend on --seed, too."""
    unknown: carts.Carts = "masses"
    """What varies: the masses, 0.1-3 kg (cart) and 0.01-1 kg (pole); with gains also length, force and its sign."""
    methods: tuple[str, ...] = ("np", "simulator", "fixed", "pets", "dqn", "reinforce")
    """Methods to compare; alpaca, actor-critic, ppo, cnp and maml can be added."""
    episodes: int = 5
    """Episodes on every unseen cart."""
    model_free_episodes: int = 150
    """Episodes on every unseen cart for the model-free methods, DQN, REINFORCE and PPO."""
    horizon: int = 500
    """Steps after which an episode ends."""
    planner: carts.Planner = "mppi"
    """Planner: model-predictive path integral (mppi) or cross-entropy method (cem)."""
    plan: int = 25
    """Planning horizon in steps."""
    candidates: int = 250
    """Action sequences that the planner samples in an iteration."""
    iterations: int = 2
    """Iterations of the planner for every action."""
    ensemble_steps: int = 500
    """Training steps of PETS after every episode."""
    start: int = 60
    """Batches of imagined rollouts that train the actor-critic before its first cart, once for all carts."""
    imagined: int = 30
    """Batches of imagined rollouts that train the actor-critic after every episode."""
    width: int = 32
    """Units of every layer of the learners; few, since a plan predicts 250,000 states at once."""
    latent: int = 16
    """Dimensions of the Neural Process's latent variable."""
    features: int = 32
    """Features of ALPaCA, whose last layer is Bayesian."""
    tasks: int = 32
    """Carts in a meta-batch."""
    support: tuple[int, int] = (0, 50)
    """Fewest and most support transitions in training; the number is drawn for every batch."""
    query: int = 64
    """Query transitions of each cart in training."""
    lr: float = 2e-3
    """Initial learning rate of Adam; it falls along a cosine."""
    inner_lr: float = 0.1
    """Learning rate of MAML's inner steps."""
    inner_steps: int = 3
    """MAML's inner steps, in training and on a cart."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train the learners, run every method on the unseen carts, and draw the results."""
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
    used = {carts.LEARNER[name] for name in options.methods if name in carts.LEARNER}
    for name in [name for name in learners if name in used]:
        learners[name] = stage.train(learners[name], family, part=name, **training).to("cpu")
    stage.describe()

    stage.say(f"measuring on {options.test_tasks} unseen carts")
    recorded: dict[str, Recorded] = {}

    def record_first(name: str, agent: Agent) -> Agent:
        return recorded.setdefault(name, Recorded(agent)) if name == options.methods[0] else agent

    found = carts.measure(learners, options, stage.say, wrap=record_first)
    stage.keep("lives", lives.to_json(found))
    carts.draw(found, options, stage)
    if stage.mode != "measure" and options.methods[0] not in carts.MODEL_FREE:
        film(recorded[options.methods[0]].actions, options, stage)
    return lives.metrics(found, options.episodes)


def untrained(options: Options, dx: int, dy: int) -> dict[str, Any]:
    """All learners before training, used or not, so that the initial weights do not depend on the methods."""
    sizes: dict[str, Any] = {"width": options.width, "encoder_depth": 3, "decoder_depth": 3, "sigma_floor": 3e-3}

    def network(outputs: int = dy) -> qs.nets.MLP:
        return qs.nets.MLP(dx, [options.width] * 2, outputs, activation="gelu")

    return {
        "np": qs.NeuralProcess(dx, dy, latent=options.latent, **sizes),
        "fixed": qs.Pretrained(network(), steps=0),
        "cnp": qs.CNP(dx, dy, **sizes),
        "maml": qs.MAML(network(), lr=options.inner_lr, steps=options.inner_steps),
        "alpaca": qs.ALPaCA(network(options.features), dy=dy, features=options.features, noise=0.03),
    }

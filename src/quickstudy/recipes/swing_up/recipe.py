"""A Neural Process swings up pendulums, or poles on carts, of unknown physics, beside rivals on the same systems.

All learners are trained on transitions of simulated systems: the change of state by state and action. On an unseen
system every transition is appended to the support set, and every plan uses one function sampled from the predictive
distribution. The rivals are ALPaCA, a network that was trained on all systems and never adapts, and the true physics.
All of them plan continuous actions by MPPI, and start each episode in the same states.

`shortfall` is the part of the true physics' return that a method loses, on the same systems from the same starts: the
mean difference of returns over the size of the true physics' mean return. 0.1 means within 10%.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.chance import Stream, mix
from quickstudy.decide.control import Adapting, Control, Knowledge, Known
from quickstudy.decide.encoding import Encoding
from quickstudy.decide.living import Life, live
from quickstudy.decide.models import Fixed, Simulated
from quickstudy.decide.planning import mppi
from quickstudy.decide.transitions import Transitions
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.experiments import across_seeds, lives
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.swing_up.systems import SYSTEMS, Name
from quickstudy.report.tables import PARTS

METHODS = ("np", "simulator", "alpaca", "fixed")  # each has the random numbers of its place: append new ones at the end
RETURN = "return of an episode"


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Options of the recipe. The defaults were chosen by hand, on other systems than the unseen ones."""

    system: Name = "pendulum"
    """The system: gymnasium's pendulum (mass and length are unknown), or PILCO's cart-pole (friction, too)."""
    steps: int = 2_000
    """Meta-training steps of each learner."""
    test_tasks: int = 20
    """Unseen systems; each seed has its own."""
    test_seed: int = 0
    """Seed of the unseen systems and of their initial states; they depend on --seed, too."""
    methods: tuple[str, ...] = METHODS
    """Methods to compare: np, simulator, alpaca, fixed."""
    episodes: int = 3
    """Episodes on every unseen system."""
    horizon: int | None = None
    """Steps of an episode; by default 200 of the pendulum, 100 of the cart-pole."""
    candidates: int = 200
    """Action sequences that the planner samples in an iteration."""
    width: int = 64
    """Units of every layer of the learners, and features of ALPaCA, whose last layer is Bayesian."""
    latent: int = 16
    """Dimensions of the Neural Process's latent variable."""
    tasks: int = 16
    """Systems in a meta-batch."""
    support: tuple[int, int] = (0, 50)
    """Fewest and most support transitions in training; the number is drawn for every batch."""
    query: int = 100
    """Query transitions of each system in training."""
    lr: float = 2e-3
    """Initial learning rate of Adam; it falls along a cosine."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train the learners, let every method act on the unseen systems, and draw the results."""
    _check(options)
    system = SYSTEMS[options.system]
    family = Transitions.from_environment(system.training())
    learners = untrained(options, family.dx, family.dy)
    training: dict[str, Any] = {"steps": options.steps, "tasks": options.tasks, "query": options.query}
    training |= {"support": options.support, "lr": options.lr, "schedule": "cosine", "clip": 1.0}
    for name in [name for name in learners if name in options.methods]:
        learners[name] = stage.train(learners[name], family, part=name, **training).to("cpu")
    stage.describe()
    stage.say(f"measuring on {options.test_tasks} unseen systems")
    found: dict[str, Life] = {}
    for name in options.methods:
        found[name] = act(name, learners, family.encoding, options)
        means = " ".join(f"{mean:.1f}" for mean in found[name].returns.mean(1).tolist())
        stage.say(f"{PARTS[name]}: {means} in {found[name].seconds[-1]:.0f} s")
    stage.keep("lives", lives.to_json(found))
    stage.draw("episodes", lambda: lives.figure(found, "episodes", RETURN, system.bounds))
    return lives.metrics(found, options.episodes) | shortfalls(found)


def gather(options: Options, stage: Stage) -> None:
    """Combine the results of all seeds: returns over all systems, interquartile means, what is lost of the return."""
    found = lives.gather(options.seeds, stage, reference="simulator")
    stage.draw("episodes", lambda: lives.figure(found, "episodes", RETURN, SYSTEMS[options.system].bounds))


def untrained(options: Options, dx: int, dy: int) -> dict[str, Any]:
    """All learners before training, used or not, so that the initial weights do not depend on the methods."""
    width = options.width

    def network(outputs: int) -> qs.nets.MLP:
        return qs.nets.MLP(dx, [width] * 2, outputs, activation="gelu")

    sizes: dict[str, Any] = {"width": width, "encoder_depth": 3, "decoder_depth": 3, "sigma_floor": 3e-3}
    return {
        "np": qs.NeuralProcess(dx, dy, latent=options.latent, **sizes),
        "alpaca": qs.ALPaCA(network(width), dy=dy, features=width, noise=0.03),
        "fixed": qs.Pretrained(network(dy), steps=0),
    }


def act(name: str, learners: Mapping[str, Any], encoding: Encoding, options: Options) -> Life:
    """The episodes of a method on the unseen systems of this seed. Every method has its own stream of random numbers.

    The starts are the same for all of them.
    """
    system = SYSTEMS[options.system]
    env = system.acting(options.horizon or system.horizon)
    env.set_tasks(lives.unseen(env, options.test_tasks, options.test_seed, options.seed))
    generator = torch.Generator().manual_seed(mix(options.seed, METHODS.index(name), Stream.ACTING))
    knowledge: Knowledge
    if name == "simulator":
        knowledge = Known(Simulated(env, env.tasks))
    elif name == "fixed":
        knowledge = Known(Fixed(learners[name].network.eval(), encoding))
    else:
        knowledge = Adapting(learners[name], encoding, options.test_tasks, generator=generator)
    planner = mppi(space=env.action_space, candidates=options.candidates, **system.planning)
    agent = Control(knowledge, planner, system.objective, generator=generator)
    return live(env, agent, episodes=options.episodes, generator=lives.initial_states(options))


def shortfalls(found: Mapping[str, Life]) -> dict[str, Metric]:
    """The part of the true simulator's return that each method loses, by episode; nothing without the simulator."""
    if "simulator" not in found:
        return {}
    best = found["simulator"].returns
    others: dict[str, Tensor] = {name: life.returns for name, life in found.items() if name != "simulator"}
    return {
        f"{name}/shortfall/episode={e + 1}": over_tasks(across_seeds.shortfall(returns[e], best[e]))
        for name, returns in others.items()
        for e in range(len(returns))
    }


def _check(options: Options) -> None:
    methods = options.methods
    if set(methods) - set(METHODS) or not methods or len(set(methods)) < len(methods):
        raise ValueError(f"--methods {' '.join(methods)}: expected some of {' '.join(METHODS)}, each once")
    for name in ("episodes", "candidates", "horizon"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise ValueError(f"--{name} {getattr(options, name)}: expected at least 1")

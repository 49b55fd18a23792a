"""The cart-pole experiment with unknown physics: both families of carts, the methods, the measurement, the figures."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch

import quickstudy as qs
from quickstudy.chance import Stream, mix
from quickstudy.decide.actor_critic import ActorCritic, shared_start
from quickstudy.decide.control import Adapting, Control, Known
from quickstudy.decide.dqn import DQN
from quickstudy.decide.encoding import Encoding
from quickstudy.decide.ensemble import Ensemble
from quickstudy.decide.living import Agent, Life, live
from quickstudy.decide.models import Fixed, Simulated
from quickstudy.decide.objective import Balance
from quickstudy.decide.planning import cross_entropy, mppi
from quickstudy.decide.ppo import PPO
from quickstudy.decide.reinforce import Reinforce
from quickstudy.decide.transitions import Transitions
from quickstudy.experiments import lives
from quickstudy.experiments.stage import Stage
from quickstudy.report.tables import PARTS

Carts = Literal["masses", "gains"]
Planner = Literal["mppi", "cem"]
METHODS = ("np", "simulator", "fixed", "pets", "dqn", "reinforce", "actor-critic", "ppo", "cnp", "maml", "alpaca")
MODEL_FREE = {"dqn": DQN, "reinforce": Reinforce, "ppo": PPO}
LEARNER = {
    "np": "np",
    "actor-critic": "np",
    "cnp": "cnp",
    "maml": "maml",
    "alpaca": "alpaca",
    "fixed": "fixed",
}  # the learner that each method uses
PLACES = {
    name: place for place, name in enumerate(METHODS)
}  # the stream of each method's random numbers: append new methods at the end


def check(options: Any) -> None:
    """Raise ValueError if an option has an invalid value."""
    methods = options.methods
    if set(methods) - set(METHODS) or not methods or len(set(methods)) < len(methods):
        raise ValueError(f"--methods {' '.join(methods)}: expected some of {' '.join(METHODS)}, each once")
    least = dict.fromkeys(("episodes", "model_free_episodes", "horizon", "plan", "candidates", "iterations"), 1)
    for name, low in {**least, "ensemble_steps": 1, "start": 0, "imagined": 0}.items():
        if getattr(options, name) < low:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(options, name)}: expected at least {low}")


def environment(carts: Carts, horizon: int = 500) -> Any:
    """The environment; masses vary, and with "gains" also length and force, which is reversed in half of the carts."""
    if carts == "masses":
        return qs.rl.CartPole(num_envs=1, horizon=horizon)
    return qs.rl.CartPole(length=(0.25, 1.0), force_mag=(5.0, 20.0), flip=0.5, num_envs=1, horizon=horizon)


def family(carts: Carts) -> Transitions:
    """The task family for the learners: transitions of training carts."""
    return Transitions(environment(carts), both_signs=carts == "gains")


def unseen_carts(options: Any) -> Any:
    """The environment with the test carts of this seed."""
    env = environment(options.unknown, options.horizon)
    env.set_tasks(lives.unseen(env, options.test_tasks, options.test_seed, options.seed))
    return env


def agent(name: str, learners: Mapping[str, Any], env: Any, transitions: Transitions, options: Any) -> Agent:
    """The agent of a method before its first episode. Every method has its own stream of random numbers."""
    generator = torch.Generator().manual_seed(mix(options.seed, PLACES[name], Stream.ACTING))
    encoding, tasks = transitions.encoding, env.num_tasks
    if name in MODEL_FREE:
        return MODEL_FREE[name](encoding.state_scale, tasks, generator=generator)
    if name == "actor-critic":
        return actor_critic(learners["np"], encoding, tasks, options, generator)
    knowledge: Any
    if name in ("np", "cnp", "alpaca"):
        knowledge = Adapting(learners[name], encoding, tasks, generator=generator)
    elif name == "maml":  # MAML adapts again to all transitions every time, which takes longer and longer
        knowledge = Adapting(learners[name], encoding, tasks, every=10, most=200, generator=generator)
    elif name == "fixed":
        knowledge = Known(Fixed(learners[name].network.eval(), encoding))
    elif name == "pets":
        knowledge = Ensemble(encoding, tasks, steps=options.ensemble_steps, generator=generator)
    else:
        knowledge = Known(Simulated(env, env.tasks))
    sizes = {"horizon": options.plan, "candidates": options.candidates, "iterations": options.iterations}
    elites = max(1, options.candidates // 10)
    planner = mppi(**sizes) if options.planner == "mppi" else cross_entropy(elites=elites, **sizes)
    return Control(knowledge, planner, Balance.cartpole(), generator=generator)


def actor_critic(learner: Any, encoding: Encoding, tasks: int, options: Any, generator: torch.Generator) -> Agent:
    """An actor-critic for each cart, initialised with one that is trained on the learner's prior over carts."""
    objective, scale = Balance.cartpole(), encoding.state_scale
    prior = Adapting(learner, encoding, 1, generator=generator)
    sizes = {"updates": options.start, "futures": 64, "functions": 8}
    start = shared_start(prior, objective, scale, generator=generator, **sizes)
    knowledge = Adapting(learner, encoding, tasks, generator=generator)
    after = {"updates": options.imagined, "first": 0}
    return ActorCritic(knowledge, objective, scale, tasks, initial=start, generator=generator, **after)


def measure(
    learners: Mapping[str, Any],
    options: Any,
    say: Callable[[str], None],
    *,
    wrap: Callable[[str, Agent], Agent] = lambda name, agent: agent,
) -> dict[str, Life]:
    """Run every method on the same unseen carts; `wrap(name, agent)` returns the agent to use."""
    env, transitions = unseen_carts(options), family(options.unknown)
    found = {}
    for name in options.methods:
        episodes = options.model_free_episodes if name in MODEL_FREE else options.episodes
        wrapped = wrap(name, agent(name, learners, env, transitions, options))
        found[name] = live(env, wrapped, episodes=episodes, generator=lives.initial_states(options))
        say(f"{PARTS[name]}: {_listed(found[name])}")
    return found


def gather(options: Any, stage: Stage) -> None:
    """Combine the results of all seeds: returns over all carts, interquartile means, probabilities of improvement."""
    draw(lives.gather(options.seeds, stage), options, stage)


def draw(found: Mapping[str, Life], options: Any, stage: Stage) -> None:
    """Draw the returns against episodes, and against seconds of computation."""
    ylabel, bounds = f"steps balanced, of {options.horizon}", (0.0, float(options.horizon))
    stage.draw("episodes", lambda: lives.figure(found, "episodes", ylabel, bounds))
    stage.draw("seconds", lambda: lives.figure(found, "seconds", ylabel, bounds))


def _listed(life: Life) -> str:
    """Mean returns of the first episodes and the last, in one line."""
    means = life.returns.mean(1).tolist()
    shown = means if len(means) <= 6 else [*means[:5], means[-1]]
    return f"{' '.join(f'{m:.0f}' for m in shown)} of {len(means)} episodes in {life.seconds[-1]:.0f} s"

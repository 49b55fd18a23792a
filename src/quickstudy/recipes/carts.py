"""What the recipes of carts share: the two families, who acts in them, and the pictures."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

import quickstudy as qs
from quickstudy.decide.control import Adapting, Control, Known
from quickstudy.decide.dqn import DQN
from quickstudy.decide.ensemble import Ensemble
from quickstudy.decide.living import Agent, Life, live
from quickstudy.decide.models import Fixed, Simulated
from quickstudy.decide.objective import Balance
from quickstudy.decide.planning import cross_entropy, mppi
from quickstudy.decide.reinforce import Reinforce
from quickstudy.decide.transitions import Transitions
from quickstudy.report import figures
from quickstudy.report.figures import Series
from quickstudy.rl.environment import EnvironmentTasks
from quickstudy.training.seeds import Stream, mix
from quickstudy.training.statistics import Metric, over_tasks

Carts = Literal["masses", "gains"]
Planner = Literal["mppi", "cem"]
TITLES = {
    "np": "Neural Process",
    "simulator": "true simulator",
    "fixed": "never adapts",
    "pets": "PETS, from scratch",
    "dqn": "DQN, from scratch",
    "reinforce": "REINFORCE, from scratch",
}
COLOURS = {
    "np": figures.GREEN,
    "simulator": figures.GREY,
    "fixed": figures.ORANGE,
    "pets": figures.PURPLE,
    "dqn": figures.SKY,
    "reinforce": figures.AMBER,
}
MODEL_FREE = ("dqn", "reinforce")
PLACES = {name: place for place, name in enumerate(TITLES)}  # of each method's own random numbers


def environment(carts: Carts, horizon: int = 500) -> Any:
    """Masses vary; or masses, length and force, which pushes the wrong way in half of the carts."""
    if carts == "masses":
        return qs.rl.CartPole(num_envs=1, horizon=horizon)
    return qs.rl.CartPole(length=(0.25, 1.0), force_mag=(5.0, 20.0), flip=0.5, num_envs=1, horizon=horizon)


def family(carts: Carts) -> Transitions:
    """What is learned from in training."""
    return Transitions(environment(carts), both_signs=carts == "gains")


def unseen(env: Any, tasks: int, test_seed: int, seed: int) -> EnvironmentTasks:
    """Carts of no training run, other ones for each seed."""
    return env.sample_tasks(
        tasks, split="test", generator=torch.Generator().manual_seed(mix(test_seed, seed, Stream.EVALUATION))
    )


def agent(name: str, learners: Mapping[str, Any], env: Any, transitions: Transitions, options: Any) -> Agent:
    """Whoever acts by that name, with random numbers of its own, knowing nothing yet of the carts it will meet."""
    generator = torch.Generator().manual_seed(mix(options.seed, PLACES[name], Stream.EVALUATION_NOISE))
    encoding, tasks = transitions.encoding, env.num_tasks
    if name == "dqn":
        return DQN(encoding.state_scale, tasks, generator=generator)
    if name == "reinforce":
        return Reinforce(encoding.state_scale, tasks, generator=generator)
    knowledge: Any
    if name == "np":
        knowledge = Adapting(learners[name], encoding, tasks, generator=generator)
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


def measure(learners: Mapping[str, Any], options: Any, say: Callable[[str], None]) -> dict[str, Life]:
    """Every method's life on the same unseen carts."""
    env, transitions = environment(options.unknown, options.horizon), family(options.unknown)
    env.set_tasks(unseen(env, options.test_tasks, options.test_seed, options.seed))
    lives = {}
    for name in options.methods:
        episodes = options.model_free_episodes if name in MODEL_FREE else options.episodes
        starts = torch.Generator().manual_seed(mix(options.test_seed, options.seed, Stream.EVALUATION_NOISE))
        who = agent(name, learners, env, transitions, options)
        lives[name] = live(env, who, episodes=episodes, generator=starts)
        say(f"{TITLES[name]}: {_listed(lives[name])}")
    return lives


def metrics(lives: Mapping[str, Life], few: int) -> dict[str, Metric]:
    """Returns over carts: of each of the first `few` episodes, and of the last."""
    found: dict[str, Metric] = {}
    for name, life in lives.items():
        episodes = [e for e in range(1, len(life.returns) + 1) if e <= few or e == len(life.returns)]
        found |= {f"{name}/return/episode={e}": over_tasks(life.returns[e - 1]) for e in episodes}
    return found


def to_json(lives: Mapping[str, Life]) -> dict[str, Any]:
    """Returns and seconds as they were."""
    return {
        name: {
            "returns": life.returns.tolist(),
            "seconds": [round(s, 2) for s in life.seconds.tolist()],
            "decisions": life.decisions,
        }
        for name, life in lives.items()
    }


def figure(lives: Mapping[str, Life], by: Literal["episodes", "seconds"]) -> Figure:
    """Return against episodes, or seconds of acting and thinking, with 95% bands over carts."""
    series = []
    for name, life in lives.items():
        each = [over_tasks(returns) for returns in life.returns]
        x = list(range(1, len(each) + 1)) if by == "episodes" else life.seconds.tolist()
        series.append(Series(TITLES[name], x, [m.mean for m in each], [m.ci95 for m in each], COLOURS[name]))
    drawn = figures.lines(series, xlabel="episodes" if by == "episodes" else "seconds, all carts", ylabel="return")
    drawn.axes[0].set_xscale("log")
    drawn.axes[0].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    drawn.axes[0].xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    drawn.axes[0].xaxis.set_minor_formatter(NullFormatter())
    return drawn


def _listed(life: Life) -> str:
    means = life.returns.mean(1).tolist()
    shown = means if len(means) <= 6 else [*means[:5], means[-1]]
    return f"{' '.join(f'{m:.0f}' for m in shown)} of {len(means)} episodes in {life.seconds[-1]:.0f} s"

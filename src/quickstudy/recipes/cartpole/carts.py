"""What the recipes of carts share: the two families, who acts in them, and the pictures."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

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
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.experiments import together
from quickstudy.experiments.stage import Stage
from quickstudy.report import figures
from quickstudy.report.figures import Series
from quickstudy.report.tables import PARTS
from quickstudy.rl.environment import EnvironmentTasks

Carts = Literal["masses", "gains"]
Planner = Literal["mppi", "cem"]
METHODS = ("np", "simulator", "fixed", "pets", "dqn", "reinforce", "actor-critic", "ppo", "cnp", "maml")
COLOURS = {
    "np": figures.GREEN,
    "simulator": figures.GREY,
    "fixed": figures.ORANGE,
    "pets": figures.PURPLE,
    "dqn": figures.SKY,
    "reinforce": figures.AMBER,
    "actor-critic": figures.WINE,
    "ppo": figures.OLIVE,
    "cnp": figures.INK,
    "maml": figures.BLUE,
}
MODEL_FREE = {"dqn": DQN, "reinforce": Reinforce, "ppo": PPO}
LEARNER = {"np": "np", "actor-critic": "np", "cnp": "cnp", "maml": "maml", "fixed": "fixed"}  # what is trained for whom
PLACES = {name: place for place, name in enumerate(METHODS)}  # of each method's own random numbers: new ones go last


def check(options: Any) -> None:
    """ValueError for what would otherwise end the recipe after its trainings."""
    methods = options.methods
    if set(methods) - set(METHODS) or not methods or len(set(methods)) < len(methods):
        raise ValueError(f"--methods {' '.join(methods)}: expected some of {' '.join(METHODS)}, each once")
    least = dict.fromkeys(("episodes", "model_free_episodes", "horizon", "plan", "candidates", "iterations"), 1)
    for name, low in {**least, "ensemble_steps": 1, "start": 0, "imagined": 0}.items():
        if getattr(options, name) < low:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(options, name)}: expected at least {low}")


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


def met(options: Any) -> Any:
    """The environment, with the carts that this seed meets."""
    env = environment(options.unknown, options.horizon)
    env.set_tasks(unseen(env, options.test_tasks, options.test_seed, options.seed))
    return env


def starts(options: Any) -> torch.Generator:
    """From where all episodes of everybody begin."""
    return torch.Generator().manual_seed(mix(options.test_seed, options.seed, Stream.EVALUATION_NOISE))


def agent(name: str, learners: Mapping[str, Any], env: Any, transitions: Transitions, options: Any) -> Agent:
    """Whoever acts by that name, with random numbers of its own, knowing nothing yet of the carts it will meet."""
    generator = torch.Generator().manual_seed(mix(options.seed, PLACES[name], Stream.ACTING))
    encoding, tasks = transitions.encoding, env.num_tasks
    if name in MODEL_FREE:
        return MODEL_FREE[name](encoding.state_scale, tasks, generator=generator)
    if name == "actor-critic":
        return imagining(learners["np"], encoding, tasks, options, generator)
    knowledge: Any
    if name in ("np", "cnp"):
        knowledge = Adapting(learners[name], encoding, tasks, generator=generator)
    elif name == "maml":  # adapts anew whenever it is told, which takes as long as all that was seen
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


def imagining(learner: Any, encoding: Encoding, tasks: int, options: Any, generator: torch.Generator) -> Agent:
    """An actor-critic of each cart, all of which begin as one that was trained on what the learner expects of any."""
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
    wrap: Callable[[str, Agent], Agent] = lambda name, who: who,
) -> dict[str, Life]:
    """Every method's life on the same unseen carts; `wrap` may put something between an agent and its life."""
    env, transitions = met(options), family(options.unknown)
    lives = {}
    for name in options.methods:
        episodes = options.model_free_episodes if name in MODEL_FREE else options.episodes
        who = wrap(name, agent(name, learners, env, transitions, options))
        lives[name] = live(env, who, episodes=episodes, generator=starts(options))
        say(f"{PARTS[name]}: {_listed(lives[name])}")
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


def gather(options: Any, stage: Stage) -> None:
    """What all seeds say together: returns over the carts of all, interquartile means, who beats whom."""
    kept = together.read(stage, "lives", options.seeds)
    # every seed meets carts of its own: they are tasks, each met once
    scores = {
        name: torch.cat([torch.tensor(seed[name]["returns"], dtype=torch.float64) for seed in kept], 1).unsqueeze(1)
        for name in kept[0]
    }
    seconds = {name: torch.tensor([seed[name]["seconds"] for seed in kept]).mean(0) for name in kept[0]}
    lives = {name: Life(s[:, 0], seconds[name], 0) for name, s in scores.items()}
    together.evaluate(scores, stage, COLOURS, by="episodes", first=1, over_tasks=True)
    stage.draw("episodes", lambda: figure(lives, "episodes"))
    stage.draw("seconds", lambda: figure(lives, "seconds"))


def figure(lives: Mapping[str, Life], by: Literal["episodes", "seconds"]) -> Figure:
    """Return against episodes, or seconds of acting and thinking, with 95% bands over carts."""
    series = []
    for name, life in lives.items():
        each = [over_tasks(returns) for returns in life.returns]
        x = list(range(1, len(each) + 1)) if by == "episodes" else life.seconds.tolist()
        series.append(Series(PARTS[name], x, [m.mean for m in each], [m.ci95 for m in each], COLOURS[name]))
    drawn = figures.lines(series, xlabel="episodes" if by == "episodes" else "seconds, all carts", ylabel="return")
    drawn.axes[0].set_xscale("log")
    places = [x for item in series for x in item.x]
    crowded = max(places) > 1000 * min(places)
    drawn.axes[0].xaxis.set_major_locator(LogLocator(subs=(1,) if crowded else (1, 2, 5)))
    drawn.axes[0].xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    drawn.axes[0].xaxis.set_minor_formatter(NullFormatter())
    return drawn


def _listed(life: Life) -> str:
    means = life.returns.mean(1).tolist()
    shown = means if len(means) <= 6 else [*means[:5], means[-1]]
    return f"{' '.join(f'{m:.0f}' for m in shown)} of {len(means)} episodes in {life.seconds[-1]:.0f} s"

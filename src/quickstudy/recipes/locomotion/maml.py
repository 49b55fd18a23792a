"""MAML on robots that run: the experiments of Finn et al. 2017, section 5.3, in MuJoCo.

TRPO meta-trains a policy for its return after one policy-gradient step on 20 episodes of a task: a cheetah or an ant is
to run in a direction or at a speed that it is not told. The return on unseen tasks is measured after 0 to 3 steps,
beside a policy trained on all tasks at once (*pretrained*), one that is told the task (*oracle*), and an untrained one.
`progress` is the share of the way from the pretrained policy's return after as many steps to that of the oracle.

Published, cheetah direction: MAML -50.7, 293, 313, 316; pretrained -43.0, -24.8, -12.9, 19.6; oracle 443. The authors'
simulator took one physics step for each action (`--frame-skip 1`), and later ones take 5: an episode is then 10 s in
place of 2 s, and returns are larger. The recipe needs the extra `mujoco`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.chance import Stream, mix
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.experiments.across_seeds import gather as gather
from quickstudy.experiments.across_seeds import steps_figure
from quickstudy.experiments.options import Options as Base
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.locomotion.robots import Robot, make
from quickstudy.report.animation import animate
from quickstudy.report.tables import PARTS
from quickstudy.rl.envs.filmed import Filmed
from quickstudy.rl.envs.locomotion.simulation import import_mujoco

RATES = (2.0, 1.0, 0.5)  # candidates at test time, as multiples of the learning rate of training
CHOOSING = 20  # validation tasks on which a learning rate is chosen


@dataclass(frozen=True, kw_only=True)
class Options(Base):
    """Options of the recipe. The defaults are those of the authors for the cheetah's direction."""

    robot: Robot = "cheetah-direction"
    """The robot, and what differs between tasks."""
    steps: int = 100
    """Updates of each policy."""
    tasks: int = 40
    """Tasks in an update."""
    episodes: int = 20
    """Episodes collected for each task before every gradient step."""
    horizon: int = 200
    """Steps of an episode."""
    frame_skip: int | None = None
    """Physics steps for each action; by default the robot's (5 for the cheetah); 1 in the authors' simulator."""
    width: int = 100
    """Units in each of the policy's two hidden layers."""
    inner_lr: float = 0.1
    """Learning rate of the inner gradient step."""
    inner_steps: int = 1
    """Inner gradient steps in training."""
    estimator: Literal["maml", "lvc", "dice", "loaded_dice", "emaml"] = "maml"
    """Estimator of the inner gradient and its derivative; the authors' is maml."""
    max_kl: float = 0.02
    """Largest KL divergence of an update (the trust region of TRPO)."""
    rivals: tuple[Literal["pretrained", "oracle", "random"], ...] = ("pretrained", "oracle", "random")
    """Rivals to measure: a policy trained on all tasks at once, one that is told the task, and an untrained one."""
    test_tasks: int = 40
    """Unseen tasks to measure on."""
    test_episodes: int = 20
    """Episodes collected for each unseen task before every gradient step."""
    test_steps: int = 3
    """Gradient steps on each unseen task; the return is measured after every one of them."""
    test_seed: int = 0
    """Seed of the unseen tasks and of the episodes on them."""
    which: Literal["best", "last"] = "last"
    """Weights to measure: the best on the validation tasks, or the last."""


def check_packages(options: Options) -> None:
    """Raise ModuleNotFoundError without the package that simulates the robots."""
    import_mujoco()


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    learners = {"maml": _learner(options, options.inner_steps)}
    for rival in options.rivals:
        learners[rival] = _learner(options, 0, told=rival == "oracle")
    returns: dict[str, Tensor] = {}  # [steps + 1, T]
    rates: dict[str, float] = {}
    for name, learner in learners.items():
        told = name == "oracle"
        env = _environment(options, options.episodes, told=told)
        if name != "random":
            size = {"steps": options.steps, "tasks": options.tasks}
            learners[name] = learner = stage.train(learner, env, part=name, fit=qs.rl.fit, **size).to("cpu")
        steps = 0 if told else options.test_steps
        rates[name] = rate = options.inner_lr * (_factor(learner, options) if steps else 1.0)
        returns[name] = qs.rl.returns_by_step(
            learner,
            _environment(options, options.test_episodes, told=told),
            tasks=options.test_tasks,
            steps=range(steps + 1),
            lr=rate,
            seed=options.test_seed,
        )
        means = " ".join(f"{float(value):.1f}" for value in returns[name].mean(1))
        stage.say(f"{PARTS[name]}: return {means} on {options.test_tasks} unseen tasks, learning rate {rate:g}")
    stage.keep("returns", {name: {"return": own.tolist(), "rate": rates[name]} for name, own in returns.items()})
    metrics = {f"{name}/return/steps={k}": over_tasks(r) for name, own in returns.items() for k, r in enumerate(own)}
    metrics |= _progress(returns)
    drawn = {name: metric for name, metric in metrics.items() if "/return/" in name}
    stage.draw("returns", lambda: steps_figure(drawn), "Return of an episode by gradient steps, on unseen tasks.")
    if stage.draws:
        _film(learners["maml"], rates["maml"], options, stage)
    return metrics


def _environment(options: Options, episodes: int, *, told: bool = False) -> Any:
    return make(options.robot, num_envs=episodes, horizon=options.horizon, frame_skip=options.frame_skip, told=told)


def _learner(options: Options, steps: int, *, told: bool = False) -> qs.rl.MAMLTRPO:
    """MAML with TRPO; `steps=0` is TRPO on all tasks at once."""
    env = _environment(options, 1, told=told)
    (inputs,), (outputs,) = env.observation_space.shape, env.action_space.shape
    policy = qs.rl.GaussianPolicy(qs.nets.MLP(inputs, [options.width, options.width], outputs), outputs)
    search: dict[str, Any] = {"estimator": options.estimator, "max_kl": options.max_kl}
    return qs.rl.MAMLTRPO(policy, lr=options.inner_lr, steps=steps, **search)


def _factor(learner: qs.rl.MAMLTRPO, options: Options) -> float:
    """Of `RATES`, that with the best return after one step on validation tasks."""
    env, tasks = _environment(options, options.test_episodes), min(CHOOSING, options.test_tasks)
    seed = mix(options.seed, 0, Stream.VALIDATION)

    def after(factor: float) -> float:
        rate = factor * options.inner_lr
        found = qs.rl.returns_by_step(learner, env, tasks=tasks, steps=1, lr=rate, split="validation", seed=seed)
        return float(found.mean())

    return max(RATES, key=after)


def _progress(returns: Mapping[str, Tensor]) -> dict[str, Metric]:
    """The share of the way from the pretrained policy to the one that is told the task, by gradient steps."""
    if not {"pretrained", "oracle"} <= returns.keys():
        return {}
    pretrained, best = returns["pretrained"].double(), returns["oracle"][0].double().mean()
    found = {}
    for k, own in enumerate(returns["maml"].double()):
        share = (own - pretrained[k]) / (best - pretrained[k].mean())
        found[f"maml/progress/steps={k}"] = over_tasks(share)
    return found


def _film(learner: qs.rl.MAMLTRPO, rate: float, options: Options, stage: Stage) -> None:
    """Write an animation of an episode before and after one gradient step, in the two tasks that differ most."""
    chance = torch.Generator().manual_seed(mix(options.test_seed, 0, Stream.EVALUATION))
    tasks = _environment(options, 1).sample_tasks(options.test_tasks, split="test", generator=chance)
    order = torch.cat([value.reshape(len(value), -1) for value in tasks.values()], 1).sum(1)
    films = {}
    for word, which in (("one task", int(order.argmin())), ("another", int(order.argmax()))):
        filmed = Filmed(_environment(options, options.test_episodes), every=2)
        filmed.set_tasks({name: value[which : which + 1] for name, value in tasks.items()})
        actor = learner.actor(lr=rate)
        for when in ("before", "after 1 step"):
            episodes = actor.rollout(filmed, generator=chance)
            films[f"{word}, {when}"] = filmed.films[len(filmed.films) - 1]
            actor = actor.adapt(episodes)
    animate(stage.folder / "figures" / "running.gif", films, fps=10)

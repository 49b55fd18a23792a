"""Every learner on the same curves, under an equal budget: the comparison that papers make in passing.

Everybody sees the same batches, for the same number of steps (or of seconds), with Adam, a cosine schedule and as many
trials of Optuna to choose its settings by, on validation tasks. Gradient-based learners have one kind of network, of
which CAVIA's has more inputs, WarpGrad's more layers, and Bayesian MAML five. The ranges to choose from are everybody's
own (`contenders.py`).

Measured on unseen curves, of MAML's sine waves or of a harder family: error after 0, 1, 5 and 10 gradient steps and
after as many as serve best on validation tasks, for each number of points seen (the pretrained rival's rule is chosen
with them); log-likelihood and calibration where there is a density; how long adapting takes, parameters, and seconds of
training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from quickstudy.learner import TaskFamily
from quickstudy.recipes import together
from quickstudy.recipes.compared import Facts, best_of, errors_figure, measure, medians, what_training_took
from quickstudy.recipes.contenders import CONTENDERS
from quickstudy.recipes.families import FAMILIES, Family
from quickstudy.recipes.options import Sampled
from quickstudy.recipes.side_by_side import at_a_time, side_by_side
from quickstudy.recipes.stage import Stage
from quickstudy.recipes.trained import train, train_alone
from quickstudy.recipes.tuned import Found, choices
from quickstudy.report.runs import read_result
from quickstudy.report.tables import PARTS
from quickstudy.training.statistics import Metric, over_seeds


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """One budget for all."""

    steps: int = 20_000
    """Meta-training steps of every learner."""
    seconds: float = 0.0
    """In place of steps: about so many seconds of losses and gradients, as timed when training begins; 0: the steps."""
    methods: tuple[str, ...] = tuple(CONTENDERS)
    """Who takes part."""
    trials: int = 6
    """Settings tried for everybody, on validation tasks."""
    trial_steps: int = 4_000
    """Meta-training steps of a trial."""
    family: Family = "sinusoid"
    """The curves: MAML's waves, those of the Meta-SGD paper (frequency varies too), or a harder family."""
    noise: float = 0.0
    """Standard deviation of the observations' noise."""
    shots: tuple[int, ...] = (5, 10, 20)
    """Points seen of each unseen curve when measuring."""
    tasks: int = 25
    """Tasks in a meta-batch."""
    support: tuple[int, int] = (5, 20)
    """Fewest and most points to adapt to in training; drawn anew for every batch."""
    query: int = 10
    """Points to be judged on in training."""
    width: int = 40
    """Units in each of the two hidden layers of the gradient-based learners' network."""
    clip: float = 10.0
    """Largest norm of a meta-gradient."""
    test_tasks: int = 1_000
    """Unseen curves to measure on."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Tune, train, measure, draw."""
    check(options)
    family = curves(options)
    stage.describe()
    found = choices(options, family, stage)
    metrics: dict[str, Metric] = {}
    facts: dict[str, Facts] = {}
    earlier = what_training_took(stage)
    for name in taking_part(options, found):
        learner, trained = train(name, found[name], options, stage, family)
        if learner is None:
            continue
        own, facts[name] = measure(name, learner, family, options)
        facts[name] |= earlier.get(name, trained) if stage.mode == "measure" else trained
        metrics |= {f"{name}/{key}": metric for key, metric in own.items()}
        middle = options.shots[len(options.shots) // 2]
        stage.say(f"{PARTS[name]}: error {best_of(metrics, name, middle).mean:.3g} with {middle} points seen")
    stage.keep("facts", facts)
    stage.draw("errors", lambda: errors_figure(metrics, options.shots))
    return metrics


def prepare(options: Options, stage: Stage) -> None:
    """Tune once for all seeds; where several processes may run, train every learner of every seed side by side."""
    check(options)
    family = curves(options)
    found = choices(options, family, stage)
    names = taking_part(options, found)
    at_once = at_a_time(options, len(names) * len(options.seeds))
    if stage.mode == "measure" or at_once == 1:
        return
    names = sorted(names, key=lambda name: -found[name]["seconds"])  # the longest first, so that none is left alone
    jobs = {
        f"seed {seed}, {PARTS[name]}": partial(train_alone, name, found[name], options, family, seed, stage.command)
        for name in names
        for seed in options.seeds
    }
    stage.say(f"{len(names)} learners of {len(options.seeds)} seeds, {at_once} at a time")
    side_by_side(jobs, stage.reporter, at_once)


def taking_part(options: Options, found: dict[str, Found]) -> list[str]:
    """Whose tuning has found settings.

    Raises:
        RuntimeError: if nobody's has.
    """
    names = [name for name in options.methods if found[name]["choice"] is not None]
    if not names:
        raise RuntimeError(f"every trial of every learner diverged ({', '.join(options.methods)})")
    return names


def curves(options: Options) -> TaskFamily:
    """Where tasks come from."""
    return FAMILIES[options.family](noise=options.noise)


def gather(options: Options, stage: Stage) -> None:
    """The figure of all seeds."""
    seeds: Sequence[Any] = [read_result(stage.folder / f"seed-{seed}")["metrics"] for seed in options.seeds]
    metrics = over_seeds(seeds)
    stage.keep("facts", medians(together.read(stage, "facts", options.seeds)))
    stage.draw("errors", lambda: errors_figure(metrics, options.shots))


def check(options: Options) -> None:
    """Raise ValueError for options that make no sense."""
    unknown = [name for name in options.methods if name not in CONTENDERS]
    if unknown:
        raise ValueError(f"--methods {unknown[0]}: choose from {', '.join(CONTENDERS)}")
    if not options.methods or len(set(options.methods)) < len(options.methods):
        raise ValueError(f"--methods {' '.join(options.methods)}: expected at least one, and none twice")
    if not options.shots:
        raise ValueError("--shots: expected at least one number of points")
    for name in ("trials", "trial_steps", "tasks", "query", "width"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(options, name)}: expected at least 1")
    if options.seconds < 0:
        raise ValueError(f"--seconds {options.seconds}: expected a number of at least 0")

"""Every learner on the same sine waves, under an equal budget: the comparison that papers make in passing.

Everybody sees the same batches, for the same number of steps (or of seconds), with Adam, a cosine schedule and as many
trials of Optuna to choose its settings by, on validation tasks. Gradient-based learners share one network. The
pretrained rival fine-tunes with the rule and the number of steps that serve it best, for each number of points seen.

Measured on unseen waves: error after 0, 1, 5 and 10 gradient steps, log-likelihood and calibration where there is a
density, how long adapting takes, parameters, and seconds of training.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import nn

import quickstudy as qs
from quickstudy.learner import TaskFamily
from quickstudy.recipes import sinusoids, together
from quickstudy.recipes.contenders import CONTENDERS
from quickstudy.recipes.options import Sampled
from quickstudy.recipes.stage import Stage
from quickstudy.recipes.tuned import choices, training
from quickstudy.report import figures
from quickstudy.report.figures import Series
from quickstudy.report.runs import read_config, read_result
from quickstudy.report.tables import PARTS
from quickstudy.training.statistics import Metric, over_seeds

STEPS = (0, 1, 5, 10)  # gradient steps after which learners are measured
TIMED = 25  # tasks that are adapted together when it is timed


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """One budget for all."""

    steps: int = 20_000
    """Meta-training steps of every learner."""
    seconds: float = 0.0
    """In place of steps: about so many seconds of training for every learner; 0 leaves the steps as they are."""
    methods: tuple[str, ...] = tuple(CONTENDERS)
    """Who takes part."""
    trials: int = 6
    """Settings tried for everybody, on validation tasks."""
    trial_steps: int = 4_000
    """Meta-training steps of a trial."""
    waves: sinusoids.Waves = "maml"
    """Amplitude and phase vary (maml), or frequency too, as in the Meta-SGD paper (meta-sgd)."""
    noise: float = 0.0
    """Standard deviation of the observations' noise."""
    shots: tuple[int, ...] = (5, 10, 20)
    """Points seen of each unseen wave when measuring."""
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
    """Unseen waves to measure on."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Tune, train, measure, draw."""
    check(options)
    waves = family(options)
    stage.describe()
    found = choices(options, waves, stage)
    metrics: dict[str, Metric] = {}
    facts: dict[str, dict[str, float]] = {}
    earlier = what_training_took(stage)
    for name in options.methods:
        choice = found[name]["choice"]
        torch.manual_seed(options.seed)
        learner = CONTENDERS[name].make(options.width, choice)
        steps = budget(options, stage, name, learner, waves)
        before = stage.seconds
        how = training(options, choice, steps)
        for said_by_the_stage in ("seed", "device", "evaluate_every"):
            del how[said_by_the_stage]
        learner = stage.train(learner, waves, part=name, **how)
        own, facts[name] = measure(name, learner, waves, options)
        trained = {"steps": steps, "training_seconds": round(stage.seconds - before, 3)}
        facts[name] |= earlier.get(name, trained) if stage.mode == "measure" else trained
        metrics |= {f"{name}/{key}": metric for key, metric in own.items()}
        middle = options.shots[len(options.shots) // 2]
        best = min(m.mean for key, m in own.items() if key.split("/steps=")[0].endswith(f"mse/k={middle}"))
        stage.say(f"{PARTS[name]}: error {best:.3g} with {middle} points seen")
    stage.keep("facts", facts)
    stage.draw("errors", lambda: errors_figure(metrics, options))
    return metrics


def budget(options: Options, stage: Stage, name: str, learner: nn.Module, waves: TaskFamily) -> int:
    """Meta-training steps: as the run has them already, as asked for, or as many as the seconds allow."""
    if not options.seconds:
        return options.steps
    begun = stage.folder / name
    if (begun / "config.json").exists():
        return int(read_config(begun)["steps"])
    return steps_within(options.seconds, learner, waves, options)


def prepare(options: Options, stage: Stage) -> None:
    """Tune once, for all seeds."""
    check(options)
    choices(options, family(options), stage)


def family(options: Options) -> TaskFamily:
    """The waves."""
    make = qs.tasks.Sinusoid.meta_sgd if options.waves == "meta-sgd" else qs.tasks.Sinusoid
    return make(noise=options.noise)


def gather(options: Options, stage: Stage) -> None:
    """The figure of all seeds."""
    seeds = [read_result(stage.folder / f"seed-{seed}")["metrics"] for seed in options.seeds]
    metrics = over_seeds(seeds)
    stage.keep("facts", medians(together.read(stage, "facts", options.seeds)))
    stage.draw("errors", lambda: errors_figure(metrics, options))


def what_training_took(stage: Stage) -> dict[str, dict[str, float]]:
    """Of a run that is measured again: measuring changes neither steps nor seconds of training."""
    file = stage.folder / "facts.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    return {name: {key: one[key] for key in ("steps", "training_seconds")} for name, one in found.items()}


def medians(facts: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """What it took, the median over seeds."""
    return {name: {key: median(one[name][key] for one in facts) for key in facts[0][name]} for name in facts[0]}


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


def measure(name: str, learner: Any, waves: TaskFamily, options: Options) -> tuple[dict[str, Metric], dict[str, float]]:
    """How well one learner does, and what it takes."""
    steps = STEPS if CONTENDERS[name].kind == "gradient" else None
    found: dict[str, Metric] = {}
    facts: dict[str, float] = {}
    for shots in options.shots:
        tuned = learner
        if name == "pretrained":
            tuned = qs.tune_adaptation(learner, waves, support=shots).learner
            best = sinusoids.measure(tuned, waves, options, (shots,), (tuned.steps,))
            found |= {"tuned_" + key.split("/steps=")[0]: m for key, m in best.items()}
            facts[f"tuned_steps/k={shots}"] = tuned.steps
        found |= sinusoids.measure(tuned, waves, options, (shots,), steps)
    facts["parameters"] = sum(p.numel() for p in learner.parameters())
    facts["adapt_ms"] = round(1e3 * adapting(learner, waves, 10 if steps else None), 3)
    return found, facts


def adapting(learner: Any, waves: TaskFamily, steps: int | None) -> float:
    """Seconds to adapt to 10 points of 25 tasks and to predict 100 more, the median of 20 times."""
    place = next(learner.parameters()).device
    chance = torch.Generator(place).manual_seed(0)
    tasks = waves.sample(TIMED, support=10, query=100, split="test", generator=chance)

    def once() -> None:
        with torch.no_grad():
            learner.adapt(tasks.support, steps=steps)(tasks.query.x).mean.sum().item()

    return timed(once, 20)


def steps_within(seconds: float, learner: Any, waves: TaskFamily, options: Options) -> int:
    """How many meta-training steps take about so many seconds here."""
    draw = waves.sample(options.tasks, support=sum(options.support) // 2, query=options.query)

    def once() -> None:
        learner.meta_loss(draw).backward()
        learner.zero_grad()

    return max(1, round(seconds / timed(once, 30)))


def timed(once: Callable[[], None], times: int) -> float:
    """The median of `times` calls in seconds, after a few more."""
    for _ in range(5):
        once()
    spans = []
    for _ in range(times):
        start = time.perf_counter()
        once()
        spans.append(time.perf_counter() - start)
    return median(spans)


def best_of(metrics: dict[str, Metric], name: str, shots: int) -> Metric:
    """Its error with `shots` points seen: tuned, after the most gradient steps, or as it adapts."""
    names = f"tuned_mse/k={shots}", f"mse/k={shots}/steps={STEPS[-1]}", f"mse/k={shots}"
    return next(metrics[f"{name}/{key}"] for key in names if f"{name}/{key}" in metrics)


def errors_figure(metrics: dict[str, Metric], options: Options) -> Any:
    """Everybody's error by points seen, after the most gradient steps."""
    series = []
    for name in options.methods:
        points = [best_of(metrics, name, k) for k in options.shots]
        style = "-" if CONTENDERS[name].kind == "gradient" else "--"
        means, widths = [p.mean for p in points], [p.ci95 for p in points]
        series.append(Series(PARTS[name], list(options.shots), means, widths, None, style))
    return figures.lines(series, xlabel="points seen", ylabel="mean squared error", log=True, whole=True)

"""Measurements of every learner in a comparison: errors on unseen curves, time to adapt, number of parameters."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import torch
from matplotlib.figure import Figure

import quickstudy as qs
from quickstudy.evaluation.intervals import Metric
from quickstudy.experiments.stage import Stage
from quickstudy.learner import TaskFamily
from quickstudy.recipes.sinusoid import waves as sinusoids
from quickstudy.recipes.sinusoid.compare.methods import METHODS
from quickstudy.recipes.sinusoid.compare.options import Options
from quickstudy.report.dot_plot import dots
from quickstudy.report.tables import PARTS

STEPS = (0, 1, 5, 10)  # gradient steps after which learners are measured, besides the number in training
TIMED_TASKS = 25  # tasks in the batch with which adaptation is timed
UNTIMED, TIMED = 5, 20  # calls before adaptation is timed, and calls that are timed

Facts = dict[str, float]


def measure(name: str, learner: Any, family: TaskFamily, options: Options) -> tuple[dict[str, Metric], Facts]:
    """Metrics of one learner, and facts: its parameters, its time to adapt, its tuned numbers of gradient steps."""
    steps = options.counts(STEPS, learner.steps) if METHODS[name].kind == "gradient" else None
    found: dict[str, Metric] = {}
    facts: Facts = {}
    for shots in options.shots:
        tuned = qs.tune_adaptation(learner, family, support=shots).learner if name == "pretrained" else learner
        best = measured = sinusoids.measure(tuned, family, options, (shots,), steps)
        if steps is not None:
            count = tuned.steps if name == "pretrained" else sinusoids.best_count(learner, family, shots)
            if count not in steps:
                best = sinusoids.measure(tuned, family, options, (shots,), (count,))
            best = {key: metric for key, metric in best.items() if key.endswith(f"/steps={count}")}
            facts[f"tuned_steps/k={shots}"] = count
        found |= measured | {"tuned_" + key.split("/steps=")[0]: metric for key, metric in best.items()}
    facts["parameters"] = sum(p.numel() for p in learner.parameters())
    facts["adapt_ms"] = round(1e3 * adaptation_seconds(learner, family, 10 if steps else None), 3)
    return found, facts


def adaptation_seconds(learner: Any, family: TaskFamily, steps: int | None) -> float:
    """Seconds to adapt to 10 points and predict 100 points of each of 25 tasks; the median of `TIMED` measurements."""
    device = next(learner.parameters()).device
    chance = torch.Generator(device).manual_seed(0)
    tasks = family.sample(TIMED_TASKS, support=10, query=100, split="test", generator=chance)

    def adapt() -> None:
        with torch.no_grad():
            learner.adapt(tasks.support, steps=steps)(tasks.query.x).mean.sum().item()

    return median_seconds(adapt, TIMED)


def steps_within(seconds: float, learner: Any, family: TaskFamily, options: Options) -> int:
    """The number of meta-training steps that take about `seconds` on this machine."""
    tasks = family.sample(options.tasks, support=sum(options.support) // 2, query=options.query)
    tasks = tasks.to(next(learner.parameters()).device)

    def step() -> None:
        learner.meta_loss(tasks).backward()
        sum(p.grad.sum() for p in learner.parameters() if p.grad is not None).item()  # waits for a GPU
        learner.zero_grad()

    return max(1, round(seconds / median_seconds(step, 30)))


def median_seconds(function: Callable[[], None], calls: int) -> float:
    """The median duration of `calls` calls in seconds, after `UNTIMED` calls that are not timed."""
    for _ in range(UNTIMED):
        function()
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def training_facts(stage: Stage) -> dict[str, Facts]:
    """Steps and seconds of training from `facts.json` of a run that is measured again, which keeps them."""
    file = stage.folder / "facts.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return {name: {key: one[key] for key in ("steps", "training_seconds", "diverged")} for name, one in found.items()}


def medians(facts: Sequence[Mapping[str, Facts]]) -> dict[str, Facts]:
    """The medians of all facts over seeds, for the learners that have a result for every seed."""
    names = [name for name in facts[0] if all(name in one for one in facts)]
    return {name: {key: median(one[name][key] for one in facts) for key in facts[0][name]} for name in names}


def best_of(metrics: Mapping[str, Metric], name: str, shots: int) -> Metric:
    """The error of a learner with `shots` support points, after the chosen number of steps if it has gradient steps."""
    return metrics[f"{name}/tuned_mse/k={shots}"]


def errors_figure(metrics: Mapping[str, Metric], shots: Sequence[int]) -> Figure:
    """The errors of all learners, after the number of gradient steps that is best on validation tasks."""
    names = dict.fromkeys(key.split("/")[0] for key in metrics)
    rows = {PARTS[name]: [best_of(metrics, name, k) for k in sorted(shots)] for name in names}
    before = [m.mean for key, m in metrics.items() if "/mse/" in key and key.endswith("/steps=0")]
    top = 2 * max(before, default=math.inf)
    return dots(rows, [f"{k} points seen" for k in sorted(shots)], xlabel="mean squared error", top=top)

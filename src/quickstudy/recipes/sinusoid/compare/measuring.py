"""What is measured of everybody who takes part in a comparison: errors on unseen curves, and what adapting takes."""

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

STEPS = (0, 1, 5, 10)  # gradient steps after which learners are measured, besides those of training
TIMED = 25  # tasks that are adapted together when it is timed

Facts = dict[str, float]


def measure(name: str, learner: Any, family: TaskFamily, options: Options) -> tuple[dict[str, Metric], Facts]:
    """How well one learner does, and what it takes."""
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
    facts["adapt_ms"] = round(1e3 * adapting(learner, family, 10 if steps else None), 3)
    return found, facts


def adapting(learner: Any, family: TaskFamily, steps: int | None) -> float:
    """Seconds to adapt to 10 points of 25 tasks and to predict 100 more, the median of 20 times."""
    place = next(learner.parameters()).device
    chance = torch.Generator(place).manual_seed(0)
    tasks = family.sample(TIMED, support=10, query=100, split="test", generator=chance)

    def once() -> None:
        with torch.no_grad():
            learner.adapt(tasks.support, steps=steps)(tasks.query.x).mean.sum().item()

    return timed(once, 20)


def steps_within(seconds: float, learner: Any, family: TaskFamily, options: Options) -> int:
    """How many meta-training steps take about so many seconds here."""
    draw = family.sample(options.tasks, support=sum(options.support) // 2, query=options.query)
    draw = draw.to(next(learner.parameters()).device)

    def once() -> None:
        learner.meta_loss(draw).backward()
        sum(p.grad.sum() for p in learner.parameters() if p.grad is not None).item()  # a GPU is waited for
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


def what_training_took(stage: Stage) -> dict[str, Facts]:
    """Of a run that is measured again: measuring changes neither steps nor seconds of training."""
    file = stage.folder / "facts.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    return {name: {key: one[key] for key in ("steps", "training_seconds", "diverged")} for name, one in found.items()}


def medians(facts: Sequence[Mapping[str, Facts]]) -> dict[str, Facts]:
    """What it took, the median over seeds; of what has a result in all of them."""
    names = [name for name in facts[0] if all(name in one for one in facts)]
    return {name: {key: median(one[name][key] for one in facts) for key in facts[0][name]} for name in names}


def best_of(metrics: Mapping[str, Metric], name: str, shots: int) -> Metric:
    """Its error with `shots` points seen: after the number of gradient steps chosen for it, or as it adapts."""
    return metrics[f"{name}/tuned_mse/k={shots}"]


def errors_figure(metrics: Mapping[str, Metric], shots: Sequence[int]) -> Figure:
    """Everybody's error after the number of gradient steps that is best on validation tasks."""
    names = dict.fromkeys(key.split("/")[0] for key in metrics)
    rows = {PARTS[name]: [best_of(metrics, name, k) for k in sorted(shots)] for name in names}
    before = [m.mean for key, m in metrics.items() if "/mse/" in key and key.endswith("/steps=0")]
    top = 2 * max(before, default=math.inf)
    return dots(rows, [f"{k} points seen" for k in sorted(shots)], xlabel="mean squared error", top=top)

"""What is on record of an experiment: the JSON that its recipe has left in results/."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"


class Value(NamedTuple):
    """A mean and half the width of its 95% confidence interval; NaN for what is not finite or not known."""

    mean: float
    ci95: float = math.nan

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> "Value":
        """From `{"mean": ..., "ci95": ...}`, where null stands for a number that is not finite."""
        mean, ci95 = found["mean"], found.get("ci95")
        return cls(math.nan if mean is None else mean, math.nan if ci95 is None else ci95)


class Made(NamedTuple):
    """How a run was made; the budget is training steps, seeds and seconds, in words."""

    command: str
    budget: str
    commit: str
    hardware: str


@dataclass(frozen=True)
class Record:
    """One experiment, with runs of the same experiment by other learners that were added later.

    Args:
        name: of its folder in results/.
        made: how it was made, and how each addition was.
        metrics: by the names that the recipe gave them.
        counted: over how many seeds or tasks the means are: `(3, "seeds")`.
        seeds: the metrics of each seed.
        facts: what each learner takes, medians over seeds.
        choices: the settings that were chosen for each learner.
        evaluation: interquartile means and probabilities of improvement.
    """

    name: str
    made: tuple[Made, ...]
    metrics: Mapping[str, Mapping[str, Any]]
    counted: tuple[int, str]
    seeds: tuple[Mapping[str, Any], ...] = ()
    facts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    choices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, metric: str) -> Value:
        return Value.read(self.metrics[metric])

    def learners(self, metric: str, rest: str) -> dict[str, Value]:
        """The value of `LEARNER/metric/rest` by learner, in the order in which they were measured."""
        end = f"/{metric}/{rest}"
        return {key.removesuffix(end): self[key] for key in self.metrics if key.endswith(end)}

    def diverged(self, metric: str) -> int:
        """In how many seeds the mean over tasks is not finite."""
        return sum(seed[metric]["mean"] is None for seed in self.seeds)


def read(name: str, *joined: str) -> Record:
    """The record of results/`name`, and of runs of the same experiment that joined later."""
    results = list(_each("result.json", name, *joined))
    values = [value for result in results for value in result["metrics"].values()]
    return Record(
        name,
        tuple(_made(result) for result in results),
        _together(result["metrics"] for result in results),
        (values[0]["n"], values[0]["over"]),
        tuple(json.loads(file.read_text())["metrics"] for file in sorted((RESULTS / name).glob("seed-*.json"))),
        _together(_each("facts.json", name, *joined)),
        _together(_each("choices.json", name, *joined)),
        _together(_each("evaluation.json", name, *joined)),
    )


def _made(result: Mapping[str, Any]) -> Made:
    seed = result["seed"]
    seeds = f"seeds {', '.join(map(str, seed))}" if isinstance(seed, list) else f"seed {seed}"
    took = f"{result['seconds']:,.0f} s of training" + (" for all seeds" if isinstance(seed, list) else "")
    budget = f"{result['steps']:,} training steps · {seeds} · {took}"
    return Made(result["command"], budget, (result["commit"] or "unknown")[:10], result["hardware"])


def _each(file: str, *folders: str) -> Iterator[dict[str, Any]]:
    for folder in folders:
        if (RESULTS / folder / file).exists():
            yield json.loads((RESULTS / folder / file).read_text())


def _together(parts: Iterator[Mapping[str, Any]]) -> dict[str, Any]:
    """The entries of all parts; those of one name are put together, too, and the last part counts where they differ."""
    found: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            found[key] = {**found.get(key, {}), **value} if isinstance(value, Mapping) else value
    return found

"""Everything that was measured as CSV, one value a line."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from quickstudy.report.tables import PARTS, entry
from results_pages.record import Record, Value

Lines = Sequence[Mapping[str, Any]]


def to_csv(lines: Lines) -> str:
    """With a header of all columns that have a value somewhere."""
    columns = list(dict.fromkeys(key for line in lines for key, value in line.items() if value != ""))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _number(value) for key, value in line.items()} for line in lines)
    return text.getvalue()


def metrics(record: Record, learner: str = "", **also: str) -> Lines:
    """Every metric of a record.

    Args:
        learner: whose they are, where the names of the metrics do not say it.
        also: more columns, the same on every line.
    """
    lines = []
    for name, content in record.metrics.items():
        found = entry(name, content)
        keys = {{"k": "K", "y": "outcome"}.get(key, key): value for key, value in found.keys.items()}
        value = Value.read(content)
        numbers = {"mean": value.mean, "ci95": value.ci95, "n": content["n"], "over": content["over"]}
        lines.append({"learner": found.part or learner, **also, "metric": found.metric, **_placed(keys), **numbers})
    return lines


def costs(record: Record) -> Lines:
    """What each learner takes, and the settings that were chosen for it."""
    lines = []
    for name, facts in record.facts.items():
        chosen = (record.choices.get(name) or {}).get("choice") or {}
        costs = {COSTS[key]: value for key, value in facts.items()}
        settings = {f"chosen {key}": value for key, value in chosen.items()}
        lines.append({"learner": PARTS[name], **costs, **settings})
    return lines


def evaluation(record: Record) -> Lines:
    """Interquartile means, means, probabilities of improvement and shortfalls, with bootstrapped intervals."""
    lines = []
    for name, scores in record.evaluation["scores"].items():
        for when, kinds in scores.items():
            kind, _, count = when.partition("=")
            lines += [
                {"learner": PARTS[name], "metric": PLAIN[metric], kind: count, **value}
                for metric, value in kinds.items()
            ]
    for pair, value in record.evaluation["probability_of_improvement"].items():
        one, _, other = pair.partition(" over ")
        lines.append({"learner": PARTS[one], "metric": f"probability that it beats {PARTS[other]}", **value})
    for name, lost in record.evaluation.get("shortfall", {}).items():
        for when, value in lost.items():
            kind, _, count = when.partition("=")
            lines.append({"learner": PARTS[name], "metric": "shortfall", kind: count, **value})
    return lines


COSTS = {
    "parameters": "parameters",
    "steps": "training steps",
    "training_seconds": "seconds of training",
    "diverged": "settings that diverged",
    "adapt_ms": "milliseconds to adapt 25 tasks and predict",
    **{f"tuned_steps/k={k}": f"steps of adapting, K={k}" for k in (5, 10, 20)},
}
PLAIN = {"iqm": "interquartile mean", "mean": "mean"}
KEYS = ("outcome", "K", "kernel", "steps", "episode", "step", "support")


def _placed(keys: Mapping[str, str]) -> dict[str, str]:
    """All keys in one order, so that the columns of a file are in it too."""
    unknown = set(keys) - set(KEYS)
    assert not unknown, f"no column for {unknown}"
    return {key: keys.get(key, "") for key in KEYS}


def _number(value: Any) -> Any:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else f"{value:.6g}"
    return value

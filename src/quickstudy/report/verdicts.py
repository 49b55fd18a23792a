"""Sentences that say where a learner without meta-learning predicts or acts better than every meta-learner."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from quickstudy.report.tables import HIGHER_IS_BETTER, LOWER_IS_BETTER, METRICS, PARTS, REFERENCES, Entry, column, entry

PLAIN = ("pretrained", "random", "gp", "gp_shared", "group_blind", "fixed", "pets", "dqn", "reinforce", "ppo")
"""Keys in `PARTS` of the learners without meta-learning."""
_ENDS = tuple(f", {PARTS[key]}" for key in PLAIN)


def verdicts(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each metric and learner without meta-learning that is better than every meta-learner.

    It is better if its 95% interval lies wholly on the better side of the intervals of all meta-learners, after
    whatever number of gradient steps. Values with tuned adaptation take the place of the others. Where a mean has no
    interval, nothing is said.

    Args:
        results: the `metrics` of each run, by its name, as for `quickstudy.report.tables.tables`.

    >>> measured = {"np/rmse/k=4": {"mean": 9.0, "ci95": 1.0}, "group_blind/rmse/k=4": {"mean": 5.0, "ci95": 1.0}}
    >>> verdicts({"": measured})
    ['At K=4, "group-blind mean" is better than every meta-learner (root mean squared error; intervals do not touch).']
    """
    entries = [entry(name, value, run) for run, found in results.items() for name, value in found.items()]
    found = []
    for metric in (m for m in METRICS if m in LOWER_IS_BETTER | HIGHER_IS_BETTER):
        where: dict[str, list[str]] = {}  # the places where a learner is better, by its name
        for place, group in _by_place(metric, entries).items():
            for name in _ahead(metric, group):
                where.setdefault(name, []).append(place)
        found += [_sentence(metric, name, places) for name, places in where.items()]
    return found


def _by_place(metric: str, entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Return the entries that compete in a metric, by the place where they do: a column, and an episode if it has one.

    An entry with tuned adaptation takes the place of those of the same learner without.
    """
    tuned = {(e.part, _place(e)) for e in entries if e.metric == f"tuned_{metric}"}
    found: dict[str, list[Entry]] = {}
    for e in entries:
        replaced = e.metric == metric and (e.part, _place(e)) in tuned
        if e.metric in (metric, f"tuned_{metric}") and not replaced and not e.part.endswith(REFERENCES):
            found.setdefault(_place(e), []).append(e)
    return found


def _place(e: Entry) -> str:
    words = [] if column(e) == "mean" else [column(e)]
    words += [f"predicting {e.keys['y']}"] if "y" in e.keys else []
    return ", ".join(
        [*words, *(f"{key} {value}" for key, value in e.keys.items() if key not in ("k", "y", "steps", "kernel"))]
    )


def _ahead(metric: str, group: Sequence[Entry]) -> list[str]:
    """Return the names of the learners without meta-learning that are better than all others in the group."""
    sign = 1 if metric in LOWER_IS_BETTER else -1
    finite = [e for e in group if math.isfinite(e.mean)]  # a mean that is not finite is behind every other one
    others = [e for e in finite if not _is_plain(e)]
    if not others or any(e.ci95 is None for e in others):
        return []
    best = min(sign * e.mean - (e.ci95 or 0.0) for e in others)
    plain = [e for e in finite if _is_plain(e) and e.ci95 is not None]
    return list(dict.fromkeys(e.part for e in plain if sign * e.mean + (e.ci95 or 0.0) < best))


def _is_plain(e: Entry) -> bool:
    return f", {e.part}".endswith(_ENDS)  # the name of a run may stand before that of the learner


def _sentence(metric: str, name: str, places: Sequence[str]) -> str:
    *some, last = [place for place in places if place] or [""]
    at = f"At {', '.join(some)}{' and ' if some else ''}{last}, " if last else ""
    return f'{at}"{name}" is better than every meta-learner ({METRICS[metric]}; intervals do not touch).'

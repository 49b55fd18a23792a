"""Error and log-likelihood of every learner on every table, relative to the curve for all groups."""

from collections.abc import Mapping
from typing import Any

import matplotlib.style as mplstyle
from matplotlib.figure import Figure

from quickstudy.recipes.few_rows.scores import BLIND, Scores, main_column
from quickstudy.report.figures import STYLE, log_scale
from quickstudy.report.palette import BLUE, GREEN, INK, MARKERS, ORANGE, PURPLE, SKY
from quickstudy.tables.choosing import ALL

TOP = 3.0  # larger relative errors are drawn hollow, here
COLOURS = {"line": SKY, "curve": BLUE, "gp": GREEN, "process": PURPLE, "trees": ORANGE, ALL: INK}
"""Learners that have a colour; others are small grey dots."""
NAMES = {
    "line": "mixed model, line",
    "curve": "mixed model, curve",
    "gp": "curve and Gaussian process",
    "process": "CNP on residuals",
    "trees": "boosted trees",
    ALL: "mixture of all",
}


def compared(tables: Mapping[str, Scores]) -> Figure:
    """A row for each table, the one where seeing rows helps most at the top."""
    order = sorted(tables, key=lambda name: _relative(tables[name], ALL)[0], reverse=True)
    with mplstyle.context(STYLE):
        figure = Figure(figsize=(7.2, 1.0 + 0.2 * len(order)))
        left, right = figure.subplots(1, 2, sharey=True)
        for row, name in enumerate(order):
            scores = tables[name]
            for learner in scores["learners"]:
                if learner == BLIND:
                    continue
                place = _relative(scores, learner)
                style: dict[str, Any] = {"ms": 2.5, "marker": "o", "color": "0.75", "zorder": 1}
                if learner in COLOURS:
                    marker = MARKERS[list(COLOURS).index(learner)]
                    style = {"ms": 5 if learner == ALL else 3.5, "marker": marker, "color": COLOURS[learner]}
                    style |= {"mew": 0, "zorder": 3 if learner == ALL else 2}
                    if row == 0:
                        style["label"] = NAMES[learner]
                error = place[0] if place[0] <= TOP else TOP  # also for an error that is not finite
                left.plot(error, row, ls="none", **style | ({} if error == place[0] else {"mfc": "none", "mew": 0.7}))
                right.plot(place[1], row, ls="none", **{k: v for k, v in style.items() if k != "label"})
        for axes, at in ((left, 1.0), (right, 0.0)):
            axes.axvline(at, color="0.6", lw=0.8, zorder=0)
            axes.grid(axis="y", linewidth=0.4)
        log_scale(left, "x")
        left.set_xlim(right=TOP * 1.05)
        left.set_yticks(range(len(order)), order)
        left.set_ylim(-0.6, len(order) - 0.4)
        left.set_xlabel("RMSE / RMSE of one curve for all")
        right.set_xlabel("log-likelihood - that of one curve for all")
        figure.legend(loc="outside upper center", ncols=3)
    return figure


def _relative(scores: Scores, learner: str) -> tuple[float, float]:
    own, blind = main_column(scores, learner), main_column(scores, BLIND)
    return own["rmse"][0] / blind["rmse"][0], own["log_likelihood"][0] - blind["log_likelihood"][0]

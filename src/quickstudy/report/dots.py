"""Many learners in one picture: a row for each, the best at the top."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.style as mplstyle
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from quickstudy.evaluation.intervals import Metric
from quickstudy.report.figures import BLUE, GREEN, ORANGE, PURPLE, SKY, STYLE

COLOURS = (ORANGE, BLUE, GREEN, PURPLE, SKY)


def dots(rows: Mapping[str, Sequence[Metric]], columns: Sequence[str], *, xlabel: str, top: float = math.inf) -> Figure:
    """Means with 95% intervals on a logarithmic scale, rows sorted by their middle column.

    Args:
        rows: a metric for each of `columns`, by the name of the row.
        columns: what the colours stand for.
        xlabel: what is measured.
        top: values above it, or that are no numbers, are drawn hollow at the edge.
    """
    middle = len(columns) // 2
    names = sorted(rows, key=lambda name: _shown(rows[name][middle].mean, math.inf), reverse=True)
    with mplstyle.context(STYLE):
        figure = Figure(figsize=(5.2, 0.9 + 0.17 * len(names)))
        axes = figure.subplots()
        for j, (column, colour) in enumerate(zip(columns, COLOURS, strict=False)):
            found = [rows[name][j] for name in names]
            means = np.array([_shown(m.mean, top) for m in found])
            half = np.array([m.ci95 if math.isfinite(m.ci95) else 0.0 for m in found])
            known, at = np.isfinite(means), np.arange(len(names)) + 0.22 * (middle - j)
            low = np.minimum(half, 0.9 * means)  # an interval down to 0 would go on for ever
            spans = np.stack([low, half])[:, known]
            axes.errorbar(means[known], at[known], xerr=spans, fmt="o", ms=3, elinewidth=1, color=colour, label=column)
            if not known.all():
                edge = axes.get_yaxis_transform()
                axes.plot(
                    np.ones((~known).sum()),
                    at[~known],
                    ">",
                    ms=3,
                    mfc="none",
                    color=colour,
                    transform=edge,
                    clip_on=False,
                )
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if _decades(axes.get_xlim()) < 2 else (1.0,)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.grid(axis="y", linewidth=0.4)
        axes.set_xlabel(xlabel)
        figure.legend(loc="outside upper right", ncols=len(columns))
    return figure


def _decades(limits: tuple[float, float]) -> float:
    return math.log10(limits[1] / limits[0])


def _shown(mean: float, top: float) -> float:
    """NaN for what is off the picture, and for sorting the worst."""
    if not math.isfinite(mean):
        return math.nan if top < math.inf else math.inf
    return mean if mean <= top else math.nan

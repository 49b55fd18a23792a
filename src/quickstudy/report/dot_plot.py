"""A dot plot of many learners: a row for each, the best at the top."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.style as mplstyle
import numpy as np
from matplotlib.figure import Figure

from quickstudy.evaluation.intervals import Metric
from quickstudy.report.figures import STYLE, Drawing, log_scale
from quickstudy.report.palette import BLUE, GREEN, MARKERS, ORANGE, PALETTE, PURPLE, SKY

COLOURS = (ORANGE, BLUE, GREEN, PURPLE, SKY, *PALETTE[6:])


def dots(rows: Mapping[str, Sequence[Metric]], columns: Sequence[str], *, xlabel: str, top: float = math.inf) -> Figure:
    """Draw means with 95% intervals on a logarithmic scale, with rows sorted by their middle column.

    Args:
        rows: one metric for each of `columns`, by the name of the row.
        columns: names of the columns, which have a colour and a marker each; at most eleven.
        xlabel: label of the x axis.
        top: values above it, or not finite, are drawn hollow at the edge.
    """
    middle, step = len(columns) // 2, min(0.22, 0.8 / len(columns))
    names = sorted(rows, key=lambda name: _shown(rows[name][middle].mean, math.inf), reverse=True)
    if len(columns) > len(COLOURS):
        raise ValueError(f"{len(columns)} columns are too many to tell apart; give at most {len(COLOURS)}")
    with mplstyle.context(STYLE):
        figure = Drawing(figsize=(5.2, 0.9 + 0.17 * len(names)))
        axes = figure.subplots()
        for j, (column, colour, marker) in enumerate(zip(columns, COLOURS, MARKERS, strict=False)):
            found = [rows[name][j] for name in names]
            means = np.array([_shown(m.mean, top) for m in found])
            half = np.array([m.ci95 if math.isfinite(m.ci95) else 0.0 for m in found])
            known, at = np.isfinite(means), np.arange(len(names)) + step * (middle - j)
            low = np.minimum(half, 0.9 * means)  # a logarithmic axis has no 0
            spans = np.stack([low, half])[:, known]
            axes.errorbar(
                means[known], at[known], xerr=spans, fmt=marker, ms=3.5, mew=0, elinewidth=1, color=colour, label=column
            )
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
        log_scale(axes, "x")
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.grid(axis="y", linewidth=0.4)
        axes.set_xlabel(xlabel)
        figure.legend(loc="outside upper right", ncols=len(columns))
    return figure


def _shown(mean: float, top: float) -> float:
    """Return the mean, or NaN if it is beyond `top`; with an infinite `top`, infinity if the mean is not finite."""
    if not math.isfinite(mean):
        return math.nan if top < math.inf else math.inf
    return mean if mean <= top else math.nan

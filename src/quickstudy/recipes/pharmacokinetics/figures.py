"""Figures: every person's curve from their first samples, and the visual predictive check."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.style as mplstyle
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from quickstudy.report.figures import STYLE, log_scale
from quickstudy.report.palette import BLUE, INK, ORANGE

COLUMNS = 4
GRID = 120  # points of a curve
QUANTILES = (0.05, 0.5, 0.95)


class Curves(NamedTuple):
    """A person: samples, the curve from the first ones, and the curve of an unknown person.

    Args:
        title: the person's name.
        hours, concentration: `[N]`, of all samples that were measured.
        seen: `[N]`, True for the samples seen.
        grid: `[M]`, hours of the curves.
        adapted: median and ends of the 90% interval `[M]`, of the concentration.
        unknown: median `[M]` before any sample.
    """

    title: str
    hours: Tensor
    concentration: Tensor
    seen: Tensor
    grid: Tensor
    adapted: tuple[Tensor, Tensor, Tensor]
    unknown: Tensor


def times(hours: Tensor) -> Tensor:
    """Hours `[M]` of a curve up to the last of `hours`, denser where the curve is steep."""
    last = float(hours.max())
    return last * torch.linspace(0.02, 1, GRID, dtype=torch.float64).square()


def people(curves: Sequence[Curves], drug: str) -> Figure:
    """A panel for each person, with a logarithmic scale of concentrations."""
    columns = min(COLUMNS, len(curves))
    height = -(-len(curves) // columns)
    with mplstyle.context(STYLE):
        figure = Figure(figsize=(1.72 * columns, 1.45 * height + 0.6))
        axes = figure.subplots(height, columns, squeeze=False, sharex=True, sharey=True)
        for place, each in enumerate(curves):
            _person(axes.flat[place], each)
        for spare in axes.flat[len(curves) :]:
            spare.set_axis_off()
        measured = torch.cat([each.concentration for each in curves])
        axes[0, 0].set_ylim(float(measured.min()) / 2, float(measured.max()) * 2)
        log_scale(axes[0, 0], "y")
        figure.supxlabel("hours since the dose", fontsize=8)
        figure.supylabel(f"{drug}, concentration", fontsize=8)
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=2)
    return figure


def _person(axes: Axes, each: Curves) -> None:
    middle, low, high = each.adapted
    axes.fill_between(each.grid, low, high, color=BLUE, alpha=0.18, linewidth=0, label="90% interval")
    axes.plot(each.grid, middle, color=BLUE, linewidth=1.6, label="from the samples seen")
    axes.plot(each.grid, each.unknown, "--", color=ORANGE, linewidth=1.0, label="before any sample")
    for seen, face, name in ((False, "white", "to be predicted"), (True, INK, "seen")):
        chosen = each.seen == seen
        points = each.hours[chosen], each.concentration[chosen]
        axes.plot(*points, "o", mfc=face, mec=INK, mew=0.7, ms=3.6, zorder=5, label=name)
    axes.set_title(f"person {each.title}", fontsize=8, fontweight="normal")


def predictive_check(grid: Tensor, bands: Tensor, hours: Tensor, concentration: Tensor, drug: str) -> Figure:
    """Samples of all people, and the quantiles of the model for a new person.

    Args:
        grid: `[M]`, hours.
        bands: `[3, M]`, quantiles of the concentration at `QUANTILES`.
        hours, concentration: `[samples]`.
        drug: its name.
    """
    with mplstyle.context(STYLE):
        figure = Figure(figsize=(3.4, 2.9))
        axes = figure.subplots()
        axes.fill_between(grid, bands[0], bands[2], color=BLUE, alpha=0.18, linewidth=0, label="5% to 95% of people")
        axes.plot(grid, bands[1], color=BLUE, label="median of people")
        axes.plot(hours, concentration, "o", mfc="white", mec=INK, mew=0.7, ms=3.2, label="samples")
        middle = _medians(np.asarray(hours), np.asarray(concentration))
        axes.plot(*middle, "s-", color=INK, ms=3, linewidth=0.8, label="median of samples")
        axes.set_ylim(float(concentration.min()) / 2, float(concentration.max()) * 2)
        log_scale(axes, "y")
        axes.set_xlabel("hours since the dose")
        axes.set_ylabel(f"{drug}, concentration")
        figure.legend(loc="outside upper center", ncols=2)
    return figure


def _medians(hours: np.ndarray, concentration: np.ndarray, bins: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Median hours and concentrations of bins with equal numbers of samples."""
    order = hours.argsort()
    parts = [part for part in np.array_split(order, bins) if len(part)]

    def middles(values: np.ndarray) -> np.ndarray:
        return np.array([np.median(values[part]) for part in parts])

    return middles(hours), middles(concentration)

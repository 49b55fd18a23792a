"""Figures at paper width, in matplotlib alone: the style, the colours, how a figure is saved, and curves of numbers.

Arrays go in, a `Figure` comes out; `save` writes it as PNG for the screen and PDF for the paper. No window is opened.
Pictures of tasks are in `quickstudy.report.panels`.
"""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.style as mplstyle
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

STYLE = str(Path(__file__).with_name("style.mplstyle"))
BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY, GREY, WINE, OLIVE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#AA4499",
    "#E69F00",
    "#56B4E9",
    "#555555",
    "#882255",
    "#999933",
)
COLOURS = {"maml": BLUE, "meta_sgd": AMBER, "pretrained": ORANGE, "np": GREEN, "cnp": PURPLE, "oracle": GREY}
INK = "#222222"


class Series(NamedTuple):
    """Values with 95% intervals, for `lines` and `intervals`."""

    label: str
    x: Sequence[Any]
    mean: Sequence[float]
    ci95: Sequence[float] | None = None
    colour: str | None = None
    style: str = "-"


def save(figure: Figure, folder: str | Path, name: str) -> Path:
    """Write `figure` as NAME.png and NAME.pdf; gives the path of the PNG."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with mplstyle.context(STYLE):
        figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
    path = folder / f"{name}.png"
    path.write_bytes(to_png(figure))
    return path


def to_png(figure: Figure) -> bytes:
    """The picture that `save` writes, in memory."""
    buffer = io.BytesIO()
    with mplstyle.context(STYLE):
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def lines(
    series: Sequence[Series],
    *,
    xlabel: str,
    ylabel: str,
    log: bool = False,
    title: str = "",
    whole: bool = False,
    top: float = math.inf,
) -> Figure:
    """Values along an axis with their 95% bands.

    Args:
        whole: mark every place, for whole-numbered axes.
        top: a curve that goes above it, or is no number any more, leaves the picture.
    """
    with mplstyle.context(STYLE):
        figure = Figure(figsize=(4.6, 2.7))
        axes = figure.subplots()
        for item in series:
            x, mean = np.asarray(item.x), np.asarray(item.mean)
            (line,) = axes.plot(
                x,
                np.fmin(mean, 10 * top) if top < math.inf else mean,  # near enough not to squeeze the rest
                item.style,
                color=item.colour,
                label=item.label,
                marker="o" if whole and item.style == "-" else None,
                ms=3,
            )
            if item.ci95 is not None:
                low, high = mean - np.asarray(item.ci95), mean + np.asarray(item.ci95)
                low = np.maximum(low, mean / 10) if log else low  # a band down to 0 would go on for ever
                axes.fill_between(x, *np.minimum((low, high), 10 * top), color=line.get_color(), alpha=0.15, lw=0)
        if log:
            _log_scale(axes)
        if axes.get_ylim()[1] > top:
            axes.set_ylim(top=top)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
        figure.legend(loc="outside right center")
    return figure


def training(curves: Mapping[str, tuple[Series, Series]]) -> Figure:
    """A panel for every training: its loss, and that on validation tasks; a wild beginning may leave the picture."""
    columns = min(len(curves), 4)
    height = -(-len(curves) // columns)
    with mplstyle.context(STYLE):
        figure = Figure(figsize=(max(1.75 * columns, 2.6), 1.55 * height + 0.5))
        grid = figure.subplots(height, columns, squeeze=False)
        for axes, (name, pair) in zip(grid.flat, curves.items(), strict=False):
            for item, colour, width in zip(pair, (SKY, INK), (0.8, 1.4), strict=True):
                axes.plot(item.x, item.mean, color=colour, linewidth=width, label=item.label)
            values = np.concatenate([np.asarray(item.mean) for item in pair])
            low, high = values.min(), np.quantile(values, 0.97)
            axes.set_ylim(low - 0.05 * (high - low + 1e-9), high + 0.05 * (high - low + 1e-9))
            axes.set_title(name, fontsize=8)
            axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        for spare in list(grid.flat)[len(curves) :]:
            spare.set_axis_off()
        figure.supxlabel("meta-training step", fontsize=8, color="#333333")
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def intervals(series: Sequence[Series], *, xlabel: str, ylabel: str, log: bool = False, title: str = "") -> Figure:
    """Means with 95% intervals at named places, one colour a series, side by side."""
    with mplstyle.context(STYLE):
        figure = Figure(figsize=(4.6, 2.7))
        axes = figure.subplots()
        names = list(dict.fromkeys(place for item in series for place in item.x))
        for i, item in enumerate(series):
            shift = (i - (len(series) - 1) / 2) * min(0.16, 0.7 / len(series))
            at = [names.index(place) + shift for place in item.x]
            axes.errorbar(
                at,
                item.mean,
                yerr=item.ci95,
                fmt="o",
                ms=4,
                capsize=2,
                elinewidth=1,
                color=item.colour,
                label=item.label,
            )
        if log:
            _log_scale(axes)
        axes.set_xticks(range(len(names)), [str(name) for name in names])
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.grid(visible=False, axis="x")
        axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
        figure.legend(loc="outside right center")
    return figure


def _log_scale(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())

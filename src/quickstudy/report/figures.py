"""Figures at paper width, in matplotlib alone: the style, how a figure is saved, and curves of numbers.

Arrays go in, a `Figure` comes out; `save` writes it as PNG for the screen and PDF for the paper. No window is opened.
Pictures of tasks are in `quickstudy.report.panels`, colours and markers in `quickstudy.report.palette`.
"""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib.style as mplstyle
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from quickstudy.report.palette import INK, SKY, looks
from quickstudy.runs.atomic import make_folder, write_file

STYLE = str(Path(__file__).with_name("style.mplstyle"))
CAPTION = "Description"  # the keyword of a PNG's text that holds the caption


class Series(NamedTuple):
    """Values with 95% intervals, for `lines` and `intervals`.

    Args:
        label: what the legend says.
        x: where the values are: numbers, or names of places for `intervals`.
        mean: the values.
        ci95: half the widths of their intervals.
        colour, style, marker: by default those that `quickstudy.report.palette` gives to the label.
    """

    label: str
    x: Sequence[Any]
    mean: Sequence[float]
    ci95: Sequence[float] | None = None
    colour: str | None = None
    style: str | None = None
    marker: str | None = None


def save(figure: Figure, folder: str | Path, name: str, caption: str = "") -> Path:
    """Write `figure` as NAME.png and NAME.pdf; gives the path of the PNG.

    Args:
        caption: kept within the PNG; a report of the run shows it below the figure.

    Raises:
        OSError: if they cannot be written.
    """
    folder, page = Path(folder), io.BytesIO()
    with mplstyle.context(STYLE):
        figure.savefig(page, format="pdf", metadata={"CreationDate": None})
    make_folder(folder)
    write_file(folder / f"{name}.pdf", page.getvalue())
    path = folder / f"{name}.png"
    write_file(path, to_png(figure, caption))
    return path


def to_png(figure: Figure, caption: str = "") -> bytes:
    """The picture that `save` writes, in memory."""
    buffer = io.BytesIO()
    told = {CAPTION: caption} if caption else {}
    with mplstyle.context(STYLE):
        figure.savefig(buffer, format="png", metadata={"Software": None, **told})
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
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Figure:
    """Values along an axis with their 95% bands, and a legend beside them.

    Args:
        series: at least one.
        xlabel, ylabel: what the axes show, with the unit where there is one.
        log: the values on a logarithmic scale.
        whole: mark every place, for whole-numbered axes; else a few places of each curve are marked.
        top: a curve that goes above it, or is no number any more, leaves the picture.
        bounds: the least and the greatest possible value; bands end there.
    """
    with mplstyle.context(STYLE):
        figure = Figure(figsize=_size(len(series)))
        axes = figure.subplots()
        for place, item in enumerate(dressed(series)):
            x, mean = np.asarray(item.x), np.asarray(item.mean, float)
            (line,) = axes.plot(
                x,
                np.fmin(mean, 10 * top) if top < math.inf else mean,  # near enough not to squeeze the rest
                linestyle=item.style,
                color=item.colour,
                label=item.label,
                marker=item.marker,
                markevery=None if whole else _marked(len(x), place, len(series)),
                ms=3.5,
                mew=0,
            )
            if item.ci95 is not None:
                low, high = _ends(mean, np.asarray(item.ci95, float), bounds)
                low = np.maximum(low, mean / 10) if log else low  # a band down to 0 would go on for ever
                axes.fill_between(x, *np.minimum((low, high), 10 * top), color=line.get_color(), alpha=0.12, lw=0)
        if log:
            axes.set_yscale("log")  # before the limit, which would keep the other end where it is
        if axes.get_ylim()[1] > top:
            axes.set_ylim(top=top)
        if log:
            log_scale(axes, "y")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
        figure.legend(loc="outside right center", handlelength=3)
    return figure


def intervals(
    series: Sequence[Series],
    *,
    xlabel: str,
    ylabel: str,
    log: bool = False,
    title: str = "",
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Figure:
    """Means with 95% intervals at named places, a marker for each series; arguments as of `lines`.

    Places that are all numbers are sorted; names stay in order of appearance.
    """
    with mplstyle.context(STYLE):
        figure = Figure(figsize=_size(len(series)))
        axes = figure.subplots()
        names = _in_order([place for item in series for place in item.x])
        for i, item in enumerate(dressed(series)):
            shift = (i - (len(series) - 1) / 2) * min(0.16, 0.7 / len(series))
            at = [names.index(place) + shift for place in item.x]
            mean, half = np.asarray(item.mean, float), np.asarray(item.ci95 or 0.0, float)
            low, high = _ends(mean, half, bounds)
            low = np.maximum(low, mean / 10) if log else low
            axes.errorbar(
                at,
                mean,
                yerr=np.stack(np.broadcast_arrays(mean - low, high - mean)),
                linestyle="none",
                marker=item.marker,
                ms=4,
                mew=0,
                capsize=2,
                elinewidth=1,
                capthick=1,
                color=item.colour,
                label=item.label,
            )
        if log:
            log_scale(axes, "y")
        axes.set_xticks(range(len(names)), [str(name) for name in names])
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.grid(visible=False, axis="x")
        axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
        figure.legend(loc="outside right center")
    return figure


def training(curves: Mapping[str, tuple[Series, Series]]) -> Figure:
    """A panel for every training: its loss, and that on validation tasks, which never leaves the panel.

    Where the training loss begins far above all else, its beginning does.
    """
    columns = min(len(curves), 4)
    height = -(-len(curves) // columns)
    with mplstyle.context(STYLE):
        figure = Figure(figsize=(max(1.75 * columns, 2.6), 1.55 * height + 0.5))
        grid = figure.subplots(height, columns, squeeze=False)
        for axes, (name, pair) in zip(grid.flat, curves.items(), strict=False):
            for item, colour, width in zip(pair, (SKY, INK), (0.8, 1.4), strict=True):
                axes.plot(item.x, item.mean, color=colour, linewidth=width, label=item.label)
            _frame_training(axes, *(np.asarray(item.mean, float) for item in pair))
            axes.set_title(name, fontsize=8)
            axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        for spare in list(grid.flat)[len(curves) :]:
            spare.set_axis_off()
        figure.supxlabel("meta-training step", fontsize=8, color="#333333")
        figure.supylabel("loss", fontsize=8, color="#333333")
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def log_scale(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with plain numbers at enough places to be read, however few decades it spans."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = axis.get_view_interval()
    decades = math.log10(high / low) if 0 < low < high else 0.0
    if decades < 0.4:
        axis.set_major_locator(MaxNLocator(4))
    else:
        few, some = (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
        axis.set_major_locator(LogLocator(subs=some if decades < 1 else few if decades < 2.5 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def dressed(series: Sequence[Series]) -> list[Series]:
    """The series with a look each, where they have none of their own."""
    given = looks(item.label for item in series)
    return [
        item._replace(
            colour=item.colour or given[item.label].colour,
            style=item.style or given[item.label].style,
            marker=item.marker or given[item.label].marker,
        )
        for item in series
    ]


def _size(entries: int) -> tuple[float, float]:
    """Inches; higher where the legend is long."""
    return 4.9, max(2.7, 0.5 + 0.16 * entries)


def _marked(points: int, place: int, several: int) -> tuple[int, int] | None:
    """Which points of a long curve have a marker: some eight, at other places than those of the other curves."""
    every = max(1, points // 8)
    return (place * every // max(several, 1), every) if every > 1 else None


def _in_order(places: Sequence[Any]) -> list[Any]:
    """Places once each: numbers ascending, names in order of appearance."""
    found = list(dict.fromkeys(places))
    try:
        return sorted(found, key=float)
    except ValueError:
        return found


def _ends(mean: Any, half: Any, bounds: tuple[float, float]) -> tuple[Any, Any]:
    """The ends of intervals, within what is possible; a mean beyond that, by rounding, stays within its interval."""
    least, greatest = bounds
    return np.minimum(np.maximum(mean - half, least), mean), np.maximum(np.minimum(mean + half, greatest), mean)


def _frame_training(axes: Axes, training: Any, validation: Any) -> None:
    """Limits that hold all of the validation curve and all but the wildest of the training curve."""
    training, validation = (values[np.isfinite(values)] for values in (training, validation))
    shown = np.concatenate([training, validation])
    if not len(shown):
        return
    most = max(np.quantile(training, 0.97), validation.max(initial=-math.inf)) if len(training) else validation.max()
    low, high = shown.min(), most
    if low > 0 and high > 30 * low:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.1, high * 1.1)
        return
    room = 0.05 * (high - low + 1e-9)
    axes.set_ylim(low - room, high + room)

"""Figures at paper width, drawn by matplotlib: their style, how they are saved, and curves of numbers.

The functions take arrays and return a `Figure`; `save` writes it as PNG for the screen and as PDF for papers. No window
is opened. Pictures of tasks are in `quickstudy.report.panels`, colours and markers in `quickstudy.report.palette`.
"""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, final

import matplotlib.style as mplstyle
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from quickstudy.report.palette import INK, SKY, looks
from quickstudy.runs.atomic import make_folder, write_file

STYLE = str(Path(__file__).parent / "static" / "style.mplstyle")
FACTOR = 30  # between the ends of a loss from which on it is drawn on a logarithmic scale
CAPTION = "Description"  # keyword of the text in a PNG that holds the caption


class Series(NamedTuple):
    """Values with 95% intervals, for `lines` and `intervals`.

    Args:
        label: text of the legend.
        x: positions of the values: numbers, or names for `intervals`.
        mean: the values.
        ci95: half the widths of their intervals.
        colour, style, marker: by default those of the label in `quickstudy.report.palette`.
    """

    label: str
    x: Sequence[Any]
    mean: Sequence[float]
    ci95: Sequence[float] | None = None
    colour: str | None = None
    style: str | None = None
    marker: str | None = None


@final
class Drawing(Figure):
    """A matplotlib figure in the style of the reports, which a notebook shows where it is the value of a cell.

    A plain figure would only be shown there after an import of pyplot.
    """

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Called by notebooks: the PNG, and the size at which it is shown."""
        width, height = (round(inches * self.dpi) for inches in self.get_size_inches())
        return to_png(self), {"width": width, "height": height}


def save(figure: Figure, folder: str | Path, name: str, caption: str = "") -> Path:
    """Write `figure` as NAME.png and NAME.pdf; returns the path of the PNG.

    Args:
        figure: the figure.
        folder: the folder to write into; it is created if needed.
        name: name of the files, without suffix.
        caption: stored in the PNG; a report of the run shows it below the figure.

    Raises:
        OSError: if a file cannot be written.
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
    """Return the PNG that `save` writes."""
    buffer = io.BytesIO()
    text = {CAPTION: caption} if caption else {}
    with mplstyle.context(STYLE):
        figure.savefig(buffer, format="png", metadata={"Software": None, **text})
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
    """Draw values along an axis with their 95% bands, and a legend beside them.

    Args:
        series: at least one.
        xlabel, ylabel: labels of the axes, with the unit if there is one.
        log: whether the y axis is logarithmic.
        title: title of the figure.
        whole: whether each point has a marker, for axes of whole numbers; by default a few of each curve have one.
        top: upper limit of the y axis; curves leave the figure where they are higher, or not finite.
        bounds: the least and the greatest possible value; bands end there.
    """
    with mplstyle.context(STYLE):
        figure = Drawing(figsize=_size(len(series)))
        axes = figure.subplots()
        for place, item in enumerate(with_looks(series)):
            x, mean = np.asarray(item.x), np.asarray(item.mean, float)
            (line,) = axes.plot(
                x,
                np.fmin(mean, 10 * top) if top < math.inf else mean,  # far values would squeeze the others
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
                low = np.maximum(low, mean / 10) if log else low  # a logarithmic axis has no 0
                axes.fill_between(x, *np.minimum((low, high), 10 * top), color=line.get_color(), alpha=0.12, lw=0)
        if log:
            axes.set_yscale("log")  # before the upper limit, which would fix the lower one too
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
    """Draw means with 95% intervals at named positions, with a marker for each series; arguments as of `lines`.

    Positions are sorted if all are numbers; otherwise they keep their order.
    """
    with mplstyle.context(STYLE):
        figure = Drawing(figsize=_size(len(series)))
        axes = figure.subplots()
        names = _in_order([place for item in series for place in item.x])
        for i, item in enumerate(with_looks(series)):
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


def training(curves: Mapping[str, tuple[Series, Series]], *, errors: bool = False) -> Figure:
    """Draw the training loss and the validation loss of each training in a panel of its own.

    The panel shows all of the validation loss. A training loss that begins far above it is cut off at the top. All
    panels have the same kind of scale: logarithmic if all losses are errors and one of them spans more than a factor of
    30, otherwise linear.

    Args:
        curves: training and validation loss, by the title of the panel.
        errors: whether all losses are errors, which are never negative; a negative log density may be.
    """
    ranges = [_range_of_training(*pair) for pair in curves.values()]
    known = [ends for ends in ranges if ends is not None]
    log = errors and all(low > 0 for low, _ in known) and any(high > FACTOR * low for low, high in known)
    columns = min(len(curves), 4)
    height = -(-len(curves) // columns)
    with mplstyle.context(STYLE):
        figure = Drawing(figsize=(max(1.75 * columns, 2.6), 1.55 * height + 0.5))
        grid = figure.subplots(height, columns, squeeze=False)
        for axes, (name, pair), ends in zip(grid.flat, curves.items(), ranges, strict=False):
            for item, colour, width in zip(pair, (SKY, INK), (0.8, 1.4), strict=True):
                axes.plot(item.x, item.mean, color=colour, linewidth=width, label=item.label)
            _frame_training(axes, ends, log=log)
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
    """Make an axis logarithmic, with enough plain numbers to be read even if it spans less than a decade."""
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


def with_looks(series: Sequence[Series]) -> list[Series]:
    """Return the series with a colour, line style and marker for those that have none of their own."""
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
    """Return width and height in inches; the height grows with the legend."""
    return 4.9, max(2.7, 0.5 + 0.16 * entries)


def _marked(points: int, place: int, curves: int) -> tuple[int, int] | None:
    """Return (first, every) for the markers of a curve: about eight, at other points than those of other curves."""
    every = max(1, points // 8)
    return (place * every // max(curves, 1), every) if every > 1 else None


def _in_order(places: Sequence[Any]) -> list[Any]:
    """Return the different places: numbers ascending, names in order of appearance."""
    found = list(dict.fromkeys(places))
    try:
        return sorted(found, key=float)
    except ValueError:
        return found


def _ends(mean: Any, half: Any, bounds: tuple[float, float]) -> tuple[Any, Any]:
    """Return the ends of intervals, clipped to `bounds`; an interval always contains its mean."""
    least, greatest = bounds
    return np.minimum(np.maximum(mean - half, least), mean), np.maximum(np.minimum(mean + half, greatest), mean)


def _range_of_training(training: Series, validation: Series) -> tuple[float, float] | None:
    """Return the range of the validation loss and of the training loss, of the latter up to its 97% quantile."""
    losses, checks = (
        values[np.isfinite(values)] for values in (np.asarray(s.mean, float) for s in (training, validation))
    )
    shown = np.concatenate([losses, checks])
    if not len(shown):
        return None
    high = max(np.quantile(losses, 0.97), checks.max(initial=-math.inf)) if len(losses) else checks.max()
    return float(shown.min()), float(high)


def _frame_training(axes: Axes, ends: tuple[float, float] | None, *, log: bool) -> None:
    """Set the scale and the limits of a panel."""
    if ends is None:
        return
    low, high = ends
    if log:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.1, high * 1.1)
        log_scale(axes, "y")
        return
    room = 0.05 * (high - low + 1e-9)
    axes.set_ylim(low - room, high + room)

"""Pictures of tasks: the true function, the support points, and the predictions of learners, side by side."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.style as mplstyle
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from quickstudy.report.figures import STYLE, Drawing
from quickstudy.report.labels import labels
from quickstudy.report.palette import BLUE, INK

TITLE = 25  # letters in the title of a panel of `wrapped`


class Curve(NamedTuple):
    """One line of a panel, with a matplotlib line style."""

    label: str
    y: Any
    style: str = "-"
    colour: str | None = None
    width: float = 1.5


class Panel(NamedTuple):
    """One task, as one learner predicts it.

    Args:
        x: inputs of all curves, `[M]`.
        truth: the true function, `[M]`, if known.
        seen: `(x, y)` of the support points.
        unseen: `(x, y)` of points to be predicted, drawn hollow.
        curves: lines over `x`.
        mean, sd: mean and standard deviation of the prediction, `[M]` each, drawn as a line within a band of two
            standard deviations.
        band: lower and upper ends `[M]` of a 90% interval, drawn in place of the band of standard deviations.
        samples: functions sampled from the prediction, `[S, M]`.
        samples_x: inputs of the samples, if they are not at `x`.
        colour: colour of the learner.
        learner: name of the learner, for the legend of `mean`.
        truth_label: name of `truth` in the legend.
    """

    x: Any
    truth: Any = None
    seen: tuple[Any, Any] | None = None
    unseen: tuple[Any, Any] | None = None
    curves: tuple[Curve, ...] = ()
    mean: Any = None
    sd: Any = None
    band: tuple[Any, Any] | None = None
    samples: Any = None
    samples_x: Any = None
    colour: str = BLUE
    learner: str = "mean"
    truth_label: str = "truth"


def draw_panel(axes: Axes, panel: Panel) -> list[Line2D]:
    """Draw one task; returns the handles for a legend."""
    x = _array(panel.x)
    handles: list[Line2D] = []
    if panel.truth is not None:  # wide and pale, so that it can be seen under a curve
        handles += axes.plot(
            x, _array(panel.truth), color="#B8B8B8", linewidth=3.2, zorder=1.5, label=panel.truth_label
        )
    if panel.samples is not None:
        places = x if panel.samples_x is None else _array(panel.samples_x)
        drawn = axes.plot(places, _array(panel.samples).T, color=panel.colour, linewidth=0.5, alpha=0.3, zorder=2)
        handles.append(Line2D([], [], color=panel.colour, linewidth=0.8, alpha=0.6, label=f"{len(drawn)} samples"))
    if panel.mean is not None:
        mean = _array(panel.mean)
        label = panel.learner
        if panel.band is not None or panel.sd is not None:
            axes.fill_between(x, *_band(panel), color=panel.colour, alpha=0.18, linewidth=0, zorder=1)
            label += ", 2 sd band" if panel.band is None else ", 90% interval"
        handles += axes.plot(x, mean, color=panel.colour, linewidth=1.6, zorder=4, label=label)
    for curve in panel.curves:
        handles += axes.plot(
            x,
            _array(curve.y),
            curve.style,
            color=curve.colour or panel.colour,
            linewidth=curve.width,
            zorder=4,
            label=curve.label,
        )
    if panel.unseen is not None:
        handles += axes.plot(
            *map(_array, panel.unseen), "o", mfc="white", mec=INK, mew=0.7, ms=3.2, zorder=5, label="to be predicted"
        )
    if panel.seen is not None:
        handles += axes.plot(
            *map(_array, panel.seen), "o", mfc=INK, mec="white", mew=0.6, ms=4.6, zorder=6, label="points seen"
        )
    return handles


def side_by_side(
    grid: Mapping[str, Sequence[Panel]],
    *,
    xlabel: str = "x",
    ylabel: str = "y",
    rows: Sequence[str] = (),
    width: float = 1.72,
) -> Figure:
    """Draw a column for each learner and a row for each task, with a legend below each column.

    Args:
        grid: the panels of each column, from the top down, by the title of the column.
        xlabel, ylabel: labels of the axes.
        rows: text at the left of each row, above `ylabel`.
        width: width of a column in inches; the figure has at most 9.
    """
    height = max(len(column) for column in grid.values())
    with mplstyle.context(STYLE):
        figure = Drawing(figsize=(min(width * len(grid) + 0.4, 9), 1.35 * height + 0.9))
        axes = figure.subplots(height, len(grid), squeeze=False, sharex=True, sharey="row")
        for j, (title, column) in enumerate(grid.items()):
            handles: dict[object, Line2D] = {}  # of all rows, each label once
            for i, panel in enumerate(column):
                handles = {handle.get_label(): handle for handle in draw_panel(axes[i, j], panel)} | handles
                axes[i, j].yaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes[0, j].set_title(title)
            axes[-1, j].set_xlabel(xlabel)
            axes[-1, j].legend(handles=list(handles.values()), loc="upper center", bbox_to_anchor=(0.5, -0.32))
        for i in range(height):
            axes[i, 0].set_ylabel(f"{rows[i]}\n{ylabel}" if i < len(rows) else ylabel)
            axes[i, 0].set_ylim(*_limits([column[i] for column in grid.values()]))
    return figure


def in_a_row(tasks: Sequence[Panel], *, title: str = "", xlabel: str = "x", ylabel: str = "y") -> Figure:
    """Draw several tasks of one learner in a row, with one legend."""
    with mplstyle.context(STYLE):
        figure = Drawing(figsize=(2.1 * len(tasks) + 0.4, 2.5))
        figure.suptitle(title, fontsize=9, fontweight="bold")
        for axes, panel in zip(figure.subplots(1, len(tasks), squeeze=False, sharex=True).flat, tasks, strict=True):
            handles = draw_panel(axes, panel)
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.set_ylim(*_limits([panel]))
            axes.set_xlabel(xlabel)
        figure.axes[0].set_ylabel(ylabel)
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def wrapped(groups: Mapping[str, Panel], *, xlabel: str, ylabel: str, columns: int = 4, dates: bool = False) -> Figure:
    """Draw one panel for each group, in rows of `columns`, with one legend, as `quickstudy run table` does.

    With `dates`, the inputs are days since 1970-01-01, and the ticks are dates.
    """
    columns = min(columns, len(groups))
    height = -(-len(groups) // columns)
    with mplstyle.context(STYLE):
        figure = Drawing(figsize=(max(1.72 * columns, 3.4), 1.45 * height + 0.6))
        axes = figure.subplots(height, columns, squeeze=False, sharex=True, sharey=True)
        names = labels(groups, TITLE if columns > 1 else 2 * TITLE)
        handles: dict[object, Line2D] = {}  # of all panels, each label once
        for place, (name, panel) in enumerate(zip(names.shown, groups.values(), strict=True)):
            handles = {handle.get_label(): handle for handle in draw_panel(axes.flat[place], panel)} | handles
            axes.flat[place].set_title(name, fontsize=8, fontweight="normal", fontfamily=names.families)
        for spare in axes.flat[len(groups) :]:
            spare.set_axis_off()
        if dates:
            ticks = AutoDateLocator(minticks=2, maxticks=3)
            forms = ["%Y", "%Y-%m", "%d %b", "%H:%M", "%H:%M", "%S s"]
            axes[0, 0].xaxis.set_major_locator(ticks)
            axes[0, 0].xaxis.set_major_formatter(
                ConciseDateFormatter(ticks, formats=forms, zero_formats=["", "%Y", *forms[1:5]], show_offset=False)
            )
        for j in range(columns):  # the lowest panel of each column has the tick labels
            lowest = axes[(len(groups) - 1 - j) // columns, j]
            lowest.tick_params(labelbottom=True)
        for set_label, text, width in (
            (figure.supxlabel, xlabel, 20 * columns + 10),
            (figure.supylabel, ylabel, 16 * height + 10),
        ):
            label = labels([text], width)
            set_label(label.shown[0], fontsize=8, color="#333333", fontfamily=label.families)
        axes[0, 0].set_ylim(*_limits(list(groups.values())))
        shown = list(handles.values())
        figure.legend(handles=shown, loc="outside upper center", ncols=max(1, min(len(shown), columns - 1)))
    return figure


def _array(values: Any) -> np.ndarray:
    """Convert numbers, lists, arrays or tensors on any device to an array."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=float)


def _band(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the band of a panel."""
    if panel.band is not None:
        return _array(panel.band[0]), _array(panel.band[1])
    mean, sd = _array(panel.mean), _array(panel.sd)
    return mean - 2 * sd, mean + 2 * sd


def _limits(column: Sequence[Panel]) -> tuple[float, float]:
    """Return the range of true functions and points, plus a quarter at each end; curves may go beyond it.

    Where there is neither a true function nor a point to be predicted, the mean is within the range, too; a 90%
    interval and the other curves are within it without room.
    """
    sets = [panel.truth for panel in column if panel.truth is not None]
    sets += [pair[1] for panel in column for pair in (panel.seen, panel.unseen) if pair is not None and len(pair[1])]
    alone = [panel for panel in column if panel.truth is None and panel.unseen is None]
    sets += [panel.mean for panel in alone if panel.mean is not None]
    values = np.concatenate([_array(values).ravel() for values in sets])
    room = 0.25 * (float(np.ptp(values)) or abs(float(values[0])) or 1.0)
    whole = [end for panel in alone if panel.band is not None for end in (*panel.band, *(c.y for c in panel.curves))]
    ends = np.concatenate([_array(end).ravel() for end in whole]) if whole else values
    return min(float(values.min()) - room, float(ends.min())), max(float(values.max()) + room, float(ends.max()))

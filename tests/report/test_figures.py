"""Figures: what is drawn where, and that a picture is the same each time."""

import io
import math
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from quickstudy.report import figures, panels
from quickstudy.report.figures import Series
from quickstudy.report.labels import labels
from quickstudy.report.panels import Curve, Panel

X = torch.linspace(-1, 1, 20)


def panel(**more: object) -> Panel:
    return Panel(X, truth=X, seen=(X[:3], X[:3]), **more)  # type: ignore[arg-type]


def test_everything_given_is_drawn_and_named() -> None:
    full = panel(
        curves=(Curve("after 1 step", X, "--"),),
        mean=X,
        sd=0.1 * torch.ones(20),
        samples=torch.zeros(64, 20),
        unseen=(X, X),
    )
    figure = panels.side_by_side({"NP": [full, panel()], "CNP": [panel(), panel()]}, rows=["task 1", "task 2"])
    assert len(figure.axes) == 4
    first = figure.axes[0]
    assert first.get_title() == "NP" and first.get_ylabel() == "task 1\ny"
    assert len(first.lines) == 64 + 5 and len(first.collections) == 1  # and the band
    labels = {line.get_label() for line in first.lines if not str(line.get_label()).startswith("_")}
    assert labels == {"truth", "after 1 step", "mean, 2 sd band", "to be predicted", "points seen"}


def test_a_wild_curve_may_leave_the_picture() -> None:
    figure = panels.side_by_side({"MAML": [panel(curves=(Curve("wild", 1000 * X),))]})
    low, high = figure.axes[0].get_ylim()
    assert (low, high) == pytest.approx((-1.5, 1.5))


def test_tensors_with_gradients_are_drawn() -> None:
    y = X.clone().requires_grad_()
    figure = panels.side_by_side({"a": [Panel(X, curves=(Curve("c", y),), seen=(X, y))]})
    assert np.allclose(figure.axes[0].lines[0].get_ydata(), X.numpy())


def test_tasks_in_a_row_have_their_own_limits() -> None:
    figure = panels.in_a_row([panel(), Panel(X, truth=10 * X)], title="MAML")
    assert [axes.get_ylim() for axes in figure.axes] == [pytest.approx((-1.5, 1.5)), pytest.approx((-15, 15))]


def test_a_wild_beginning_of_training_may_leave_the_picture() -> None:
    steps = list(range(200))
    loss = [1e6 if step < 3 else 2.0 for step in steps]
    pair = (Series("loss", steps, loss), Series("validation loss", steps, [1.0] * 200))
    figure = figures.training({"a": pair, "b": pair, "c": pair})
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c"]
    assert all(axes.get_ylim() == pytest.approx((0.95, 2.05)) for axes in figure.axes)


@pytest.mark.parametrize("beginning", [3.0, 40.0, -3.0])
def test_the_validation_curve_stays_within_the_frame(beginning: float) -> None:
    """Though it begins above nearly all of the training loss."""
    steps = list(range(100))
    validation = [beginning if step < 10 else 1.1 for step in steps[::10]]
    pair = (Series("loss", steps, [1.0] * 100), Series("validation loss", steps[::10], validation))
    (axes,) = figures.training({"a": pair}, errors=True).axes
    low, high = axes.get_ylim()
    assert all(low < value < high for value in [*validation, 1.0])
    assert axes.get_yscale() == ("log" if beginning == 40.0 else "linear")


def test_ticks_of_a_training_that_spans_decades_are_plain_numbers() -> None:
    losses = [10.0 ** (1 - step / 20) for step in range(80)]
    pair = (Series("training", range(80), losses), Series("validation", range(80), losses))
    (axes,) = figures.training({"a": pair}, errors=True).axes
    assert axes.get_yscale() == "log"
    labels = [tick.get_text() for tick in axes.get_yticklabels() if tick.get_text()]
    assert {"0.01", "0.1", "1"} <= set(labels) and not any("$" in text for text in labels)


@pytest.mark.parametrize(
    ("errors", "least", "scale"), [(True, 0.01, "log"), (False, 0.01, "linear"), (True, -0.5, "linear")]
)
def test_all_panels_of_a_training_have_one_scale(errors: bool, least: float, scale: str) -> None:
    wide, narrow = ([10.0, 1.0, least], [1.0, 1.1, 1.2])
    pairs = {name: (Series("a", [1, 2, 3], y), Series("b", [1, 2, 3], y)) for name, y in (("w", wide), ("n", narrow))}
    assert [axes.get_yscale() for axes in figures.training(pairs, errors=errors).axes] == [scale] * 2
    alone = figures.training({"n": pairs["n"]}, errors=errors)
    assert alone.axes[0].get_yscale() == "linear"  # a small range needs no logarithm


def test_what_is_no_number_is_left_out_of_the_frame_of_a_training() -> None:
    pair = (Series("loss", [1, 2, 3], [math.nan, 2.0, 1.0]), Series("validation loss", [1, 2, 3], [math.inf, 1.5, 1.5]))
    (axes,) = figures.training({"a": pair}).axes
    assert 0.5 < axes.get_ylim()[0] < axes.get_ylim()[1] < 2.5


@pytest.mark.parametrize("count", [1, 4, 7])
def test_groups_are_wrapped(count: int) -> None:
    figure = panels.wrapped({f"subject {i}": panel() for i in range(count)}, xlabel="day", ylabel="reaction")
    shown = [axes.get_title() for axes in figure.axes if axes.axison]
    assert shown == [f"subject {i}" for i in range(count)]
    assert figure.get_supxlabel() == "day" and figure.get_supylabel() == "reaction"


@pytest.mark.parametrize("draw", [figures.lines, figures.intervals])
def test_series_with_intervals(draw: object) -> None:
    series = [
        Series("a", [0, 1, 2], [1.0, 0.5, 0.1], [0.1, 0.1, 0.2]),
        Series("b", [0, 1, 2], [2.0, 2.0, 2.0], [0.1] * 3),
    ]
    figure = draw(series, xlabel="steps", ylabel="error", log=True)  # type: ignore[operator]
    (axes,) = figure.axes
    assert axes.get_yscale() == "log" and axes.get_xlabel() == "steps"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_what_diverges_leaves_the_picture() -> None:
    series = [
        Series("wild", [0, 1, 2, 3], [3.0, 0.5, 1e15, math.nan], [0.1, 0.1, 3e15, math.nan]),
        Series("tame", [0, 1, 2, 3], [3.0, 1.0, 0.5, 0.3], [0.1, 0.1, 0.1, 0.1]),
    ]
    (axes,) = figures.lines(series, xlabel="steps", ylabel="error", log=True, top=6.0).axes
    low, high = axes.get_ylim()
    assert 0.1 < low < 0.2 and high == 6.0
    assert all(value > high for value in axes.lines[0].get_ydata()[2:])
    (axes,) = figures.lines(series[1:], xlabel="steps", ylabel="error", log=True, top=6.0).axes
    assert axes.get_ylim()[1] < 6.0  # a picture that has room is left as it is


@pytest.mark.parametrize("draw", [figures.lines, figures.intervals])
def test_bands_end_at_what_is_possible(draw: Any) -> None:
    series = [Series("a", [1, 2], [0.99, 0.5], [0.2, 0.2]), Series("b", [1, 2], [1.0, 0.1], [0.0, 0.2])]
    (axes,) = draw(series, xlabel="steps", ylabel="accuracy", bounds=(0.0, 1.0)).axes
    low, high = axes.dataLim.intervaly
    assert (low, high) == (0.0, 1.0)


def test_more_than_seven_series_differ_in_line_style_and_marker() -> None:
    (axes,) = figures.lines([Series(f"mine {i}", [0, 1], [i, i + 1]) for i in range(20)], xlabel="x", ylabel="y").axes
    assert len({(line.get_linestyle(), line.get_marker()) for line in axes.lines}) == 20


def test_the_legend_is_beside_the_data() -> None:
    figure = figures.lines([Series(f"a learner {i}", [0, 1], [i, i + 1]) for i in range(20)], xlabel="x", ylabel="y")
    FigureCanvasAgg(figure).draw()
    legend, axes = figure.legends[0].get_window_extent(), figure.axes[0].get_window_extent()
    assert legend.x0 > axes.x1 and legend.y0 >= 0 and legend.y1 <= figure.bbox.y1


def test_places_that_are_numbers_are_sorted() -> None:
    series = [Series("a", ["5", "20"], [1.0, 2.0]), Series("b", ["10", "1"], [1.0, 2.0])]
    (axes,) = figures.intervals(series, xlabel="K", ylabel="error").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "5", "10", "20"]
    (axes,) = figures.intervals([Series("a", ["RBF", "5"], [1.0, 2.0])], xlabel="kernel", ylabel="error").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["RBF", "5"]


@pytest.mark.parametrize(("low", "high"), [(1.1, 2.9), (0.9, 2.1), (2.3, 3.4), (0.03, 40.0), (1e-6, 1.0)])
def test_a_logarithmic_axis_can_be_read(low: float, high: float) -> None:
    """It has at least three numbers, and not so many that they run into each other."""
    (axes,) = figures.lines([Series("a", [0, 1], [low, high])], xlabel="steps", ylabel="error", log=True).axes
    bottom, top = axes.get_ylim()
    shown = [tick for tick in axes.get_yticks() if bottom <= tick <= top]
    assert 3 <= len(shown) <= 10


def test_a_figure_is_saved_for_screen_and_paper_and_is_the_same_each_time(tmp_path: Path) -> None:
    first = figures.save(panels.side_by_side({"a": [panel()]}), tmp_path / "figures", "one")
    again = figures.save(panels.side_by_side({"a": [panel()]}), tmp_path / "figures", "two")
    assert first == tmp_path / "figures" / "one.png"
    assert first.read_bytes() == again.read_bytes()
    assert first.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("import_pyplot", [False, True])
def test_a_notebook_shows_a_figure_once(import_pyplot: bool) -> None:
    """Whether pyplot, which makes figures known to notebooks, was imported or not."""
    formatters = pytest.importorskip("IPython.core.formatters").DisplayFormatter()
    if import_pyplot:
        import_module("IPython.core.pylabtools").select_figure_formats(
            SimpleNamespace(display_formatter=formatters), {"png"}
        )
    drawn = panels.in_a_row([panel(), panel()])
    shown, facts = formatters.format(drawn)
    assert set(shown) == {"image/png", "text/plain"}
    if not import_pyplot:
        width, height = facts["image/png"].values()
        assert (width, height) == pytest.approx(100 * drawn.get_size_inches())
        assert shown["image/png"] == figures.to_png(panels.in_a_row([panel(), panel()]))


HOSTILE = ["price in $", "$x_{$", "$a$ of $b^$", "\\alpha_{", "100% {of} ^it_", "a\nb", "ü ± 漢"]


@pytest.mark.filterwarnings("ignore:Glyph .* missing:UserWarning")
@pytest.mark.parametrize("name", HOSTILE)
def test_names_from_a_table_are_no_mathematics(name: str, tmp_path: Path) -> None:
    """Columns and groups are other people's words, and are drawn as they are."""
    series = [Series(name, [1, 2], [1.0, 2.0], [0.1, 0.1])]
    drawn = [
        figures.lines(series, xlabel=name, ylabel=name, title=name, log=True),
        figures.intervals(series, xlabel=name, ylabel=name, title=name),
        figures.training({name: (series[0], series[0]), "b": (series[0], series[0])}),
        panels.wrapped({name: panel()}, xlabel=name, ylabel=name),
        panels.side_by_side({name: [panel()]}, rows=[name], xlabel=name, ylabel=name),
        panels.in_a_row([panel()], title=name),
    ]
    figures.save(drawn[0], tmp_path, "lines")
    for i, figure in enumerate(drawn):
        figure.set_layout_engine("none")  # which takes most of the time, and reads the same texts
        figure.savefig(io.BytesIO(), format="png", dpi=30)
        words = labels([name], 25).shown[0] if i == 3 else name  # on one line, and in letters of an installed font
        assert any(words in text.get_text() for text in figure.findobj(Text)), i  # type: ignore[attr-defined]
        assert not any(text.get_parse_math() for text in figure.findobj(Text) if text.get_text() == name)


def test_days_since_1970_have_dates_as_ticks() -> None:
    days = np.arange(19_050.0, 19_150.0)
    made = panels.wrapped({"a": panels.Panel(days, mean=days, sd=days)}, xlabel="visit", ylabel="y", dates=True)
    axes = made.axes[0]
    axes.set_xlim(days[0], days[-1])
    shown = axes.xaxis.get_major_formatter().format_ticks(axes.xaxis.get_majorticklocs())
    assert shown and all(text in ("2022-03", "2022-04", "2022-05", "2022-06") for text in shown)
    low, high = axes.get_ylim()
    assert low < days[0] and days[-1] < high  # without points, the mean is within the axes

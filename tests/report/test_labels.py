"""Names in figures."""

import itertools

import pytest

from quickstudy.report import labels as module
from quickstudy.report.labels import USUAL, labels
from quickstudy.report.panels import Curve, Panel, wrapped


def test_long_names_are_cut_and_stay_different() -> None:
    names = [f"participant of the second arm, clinic {i}, visit at home" for i in (1, 2)] + ["short", "a" * 25]
    shown = labels(names, 25).shown
    assert shown[2:] == names[2:] and len(set(shown)) == 4
    assert all(len(text) <= 29 and text[:5] == "parti" and "…" in text for text in shown[:2])
    assert labels(["two\nlines \t here"], 25).shown == ["two lines here"]


def test_names_that_no_font_can_draw_have_a_number_and_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_letters", lambda families: frozenset("abcdefghijklmnopqrstuvwxyz0123456789 .-"))
    shown, families, note = labels(["東京", "london", "ܐܒ", "p-1"], 25)
    assert shown == ["no. 1", "london", "no. 2", "p-1"] and families == [USUAL]
    assert note == "No installed font has the letters of some names: no. 1 is 東京, no. 2 is ܐܒ."


def test_another_installed_font_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    fonts = {USUAL: "abc", "Han": "東京", "Syriac": "ܐܒ"}
    monkeypatch.setattr(module, "_installed", lambda: dict.fromkeys(fonts, ""))
    monkeypatch.setattr(module, "_letters", lambda families: frozenset("".join(fonts[name] for name in families)))
    assert labels(["a", "東京", "ܐܒ"], 25) == (["a", "東京", "ܐܒ"], [USUAL, "Han", "Syriac"], "")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_legends_fit_into_the_figure(count: int) -> None:
    name = "GP fitted to the training groups"
    panel = Panel([0, 1], seen=([0], [1]), unseen=([1], [2]), mean=[0, 0], sd=[1, 1], curves=(Curve(name, [0, 1]),) * 2)
    figure = wrapped({str(i): panel._replace(learner=name) for i in range(count)}, xlabel="x", ylabel="y")
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert 0 <= legend.x0 and legend.x1 <= figure.bbox.width


def test_titles_of_panels_do_not_touch() -> None:
    """Names of every length, in one row of four: measured as they are drawn."""
    names = [
        "subject " + "W" * 60,
        "subject of the control group, first cohort",
        "東京都の被験者その一",
        "p$1$ and p$2$",
    ]
    points = ([0.0, 1.0], [0.0, 1e-9])
    figure = wrapped(
        {name: Panel([0, 1], seen=points, mean=[0, 0], sd=[1e-9, 1e-9]) for name in names},
        xlabel="x" * 300,
        ylabel="y" * 300,
    )
    figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in figure.axes[:4]]
    for left, right in itertools.pairwise(boxes):
        assert left.x1 <= right.x0
    width, height = figure.bbox.width, figure.bbox.height
    assert all(text.get_window_extent().width <= width for text in (figure._supxlabel, figure._supylabel))  # type: ignore[attr-defined]
    assert figure._supylabel.get_window_extent().height <= height  # type: ignore[attr-defined]
    low, high = figure.axes[0].get_ylim()
    assert high - low < 1e-8  # the scale is that of the values

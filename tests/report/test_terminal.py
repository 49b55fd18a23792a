"""Tables on the terminal: what is printed, and that nothing of it is cut."""

import io
import re

import pytest
from rich.console import Console

from quickstudy.report.terminal import show_tables

METRICS = {
    f"{part}/mse/k={k}/steps={steps}": {"mean": mean / (1 + steps), "ci95": 0.01}
    for part, mean in (("maml", 10.0), ("pretrained", 30.0))
    for k in (1, 2, 3, 5, 10, 20)
    for steps in (0, 1)
}


def shown(width: int | None = None, recipe: str = "", terminal: bool = True) -> str:
    """What is printed."""
    console = Console(
        file=io.StringIO(), width=width, force_terminal=terminal, color_system="standard", highlight=False
    )
    show_tables(METRICS, console, recipe=recipe)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_best_is_bold_and_the_notes_say_why() -> None:
    said = shown(120)
    assert re.search(r"\x1b\[1m *5.000 ± 0.010", said) and not re.search(r"\x1b\[1m *10.000", said)
    assert "K: points in the support set of each task.\n" in said and "Bold: the best of its column" in said
    assert "K: rows seen of each held-out group.\n" in shown(120, recipe="table")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_narrow_window_cuts_no_number_and_repeats_the_rows(width: int) -> None:
    said = shown(width)
    assert "…" not in said and max(map(len, said.splitlines())) < 250
    assert said.count("± 0.010") == 24 and said.count("15.000 ± 0.010") == 6
    assert said.count("pretrained, after 1 step") == said.count("mean squared error")
    assert ("mean squared error, continued" in said) is (width < 100)


def test_names_are_no_markup() -> None:
    console = Console(file=io.StringIO(), width=80)
    show_tables({"[red]mine/mse": {"mean": 1.0, "ci95": 0.1}}, console)
    assert isinstance(console.file, io.StringIO) and "[red]mine" in console.file.getvalue()


def test_validation_losses_are_explained() -> None:
    console = Console(file=io.StringIO(), width=80)
    show_tables({"validation_loss": {"mean": 1.0, "ci95": 0.1, "n": 9, "over": "tasks"}}, console)
    assert isinstance(console.file, io.StringIO)
    assert "Validation loss: on validation tasks, which also choose the best weights" in console.file.getvalue()


def test_it_says_where_a_plain_rival_is_ahead() -> None:
    console = Console(file=io.StringIO(), width=80)
    show_tables({"np/rmse/k=4": {"mean": 9.0, "ci95": 1.0}, "gp/rmse/k=4": {"mean": 5.0, "ci95": 1.0}}, console)
    assert isinstance(console.file, io.StringIO)
    assert 'At K=4, "GP fitted to the rows seen" is better than every meta-learner' in console.file.getvalue()

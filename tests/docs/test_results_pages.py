"""The pages of results are what the JSON says, fit a screen, and lead somewhere."""

import dataclasses
import math
import re
import shlex
from pathlib import Path

import pytest
from results_pages import record
from results_pages.experiments import applied
from results_pages.files import to_csv
from results_pages.published import published
from results_pages.record import Value
from results_pages.table import Row, Table, apart, times
from results_pages.written import groups, written

from quickstudy.cli import main

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [page for pages in groups().values() for page in pages]
TEXTS = written()


def test_pages_are_what_the_json_says():
    old = [path for path, text in TEXTS.items() if (DOCS / path).read_text(encoding="utf-8") != text]
    assert not old, "run: python docs/write_results.py"


def test_nothing_else_lies_beside_the_pages():
    there = {f"results/{file.name}" for file in (DOCS / "results").iterdir() if file.suffix != ".png"}
    assert there == {path for path in TEXTS if path.startswith("results/")}


def test_links_and_pictures_are_there():
    links = [
        (path, target) for path, text in TEXTS.items() for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    ]
    assert len(links) > 100
    assert not [(path, target) for path, target in links if not (DOCS / path).parent.joinpath(target).exists()]


def test_every_picture_that_is_drawn_is_shown():
    shown = {page.figure.file for page in PAGES}
    assert {file.name for file in (DOCS / "results").glob("*.png")} <= shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_table_fits_a_screen(page):
    assert len(page.table.rows) <= 12 and len(page.table.header) <= 7
    assert all(len(row.cells) == len(page.table.header) - 1 == len(page.table.better) for row in page.table.rows)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_says_what_its_numbers_are(page):
    text = page.markdown()
    assert "better" in page.table.note, "which direction is better"
    assert "±" not in page.table.markdown() or "95% confidence interval over" in page.table.note
    assert "K=" not in text or re.search(r"K is the number|\(K=1 per class\)", text)


def recipes() -> dict[str, set[str]]:
    """The recipes of the commands on the pages, with the options that these use."""
    found: dict[str, set[str]] = {}
    for text in TEXTS.values():
        for command in re.findall(r"^quickstudy (.*)$", text, re.MULTILINE):
            words = shlex.split(command)
            name = words[1] if words[0] == "run" else words[0]
            found.setdefault(name, set()).update(word for word in words if word.startswith("--"))
    return found


@pytest.mark.parametrize("name", recipes())
def test_commands_exist(name: str, capsys: pytest.CaptureFixture[str]):
    assert not main([*([] if name == "demo" else ["run"]), name, "--help"])
    said = capsys.readouterr().out
    assert all(option in said for option in recipes()[name])


def bold(values: list[Value], better: str, competes: list[bool]) -> list[int]:
    rows = [Row(str(i), [value], ok) for i, (value, ok) in enumerate(zip(values, competes, strict=True))]
    lines = Table(("", "x"), rows, (better,), "").markdown().splitlines()[2:]
    return [i for i, line in enumerate(lines[: len(rows)]) if "**" in line]


def test_bold_is_what_is_clearly_best():
    close, far, bound = Value(3.5, 0.24), Value(9.0, 1.0), Value(0.1, 0.01)
    assert bold([Value(3.0, 0.2), close, far], "lower", [True] * 3) == [0]
    assert bold([Value(3.54, 0.24), close, far], "lower", [True] * 3) == []
    assert bold([close, far, bound], "higher", [True, True, False]) == [1]
    assert bold([bound, close, far], "lower", [False, True, True]) == [1]
    assert bold([Value(math.nan), close, far], "lower", [True] * 3) == [1]
    assert bold([Value(3.0, 0.2), close, Value(9.0, 8.0)], "lower", [True] * 3) == []  # the last may be best
    assert bold([Value(1.0), close, far], "lower", [True] * 3) == []  # without an interval nobody knows


def test_intervals_and_ratios():
    assert apart(Value(1.0, 0.1), Value(1.3, 0.1)) and not apart(Value(1.0, 0.2), Value(1.3, 0.2))
    assert (times(13.0, 2.0), times(270.4, 10.0), times(Value(1.0), Value(2.0))) == ("6.5", "27", "0.5")


def test_a_figure_that_nobody_checked_is_marked():
    recalled = published("meta-sgd")
    assert recalled.how == "recalled" and "not checked" in recalled.sentence() and "recalled" in recalled.label
    assert "not checked" not in published("maml-navigation").sentence()


def test_the_demonstration_shows_the_tuned_rival_once_it_is_measured(monkeypatch):
    found = record.read("demo")
    error = {"mean": 0.5, "ci95": 0.1, "n": 600, "over": "tasks"}
    tuned = {f"{name}/tuned_mse/k={k}": error for name in ("maml", "pretrained") for k in (5, 10, 20)}
    monkeypatch.setattr(applied, "read", lambda name: dataclasses.replace(found, metrics={**found.metrics, **tuned}))
    page = applied.demo()
    assert page.headline.rival == "pretrained, tuned: 0.50 ± 0.10"
    assert [row.label for row in page.table.rows if "tuned" in row.label] == ["MAML, tuned", "pretrained, tuned"]


def test_csv_keeps_the_columns_that_say_something():
    lines = [{"learner": "A", "K": "", "mean": 1 / 3}, {"learner": "B, C", "K": "", "mean": math.nan}]
    assert to_csv(lines) == 'learner,mean\nA,0.333333\n"B, C",nan\n'

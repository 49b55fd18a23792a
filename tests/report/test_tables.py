"""Tables from results: names taken apart, numbers rounded as their intervals deserve, the best marked."""

import math

import pytest

from quickstudy.report.tables import cell, entry, number, tables

METRICS = {
    f"{part}/mse/k={k}/steps={steps}": {"mean": mean / k / (steps + 1), "ci95": 0.01, "n": 600, "over": "tasks"}
    for part, mean in (("maml", 10.0), ("pretrained", 30.0))
    for k in (5, 10)
    for steps in range(11)
}


@pytest.mark.parametrize(
    ("name", "part", "metric", "keys"),
    [
        ("mse", "", "mse", {}),
        ("mse/k=10/steps=1", "", "mse", {"k": "10", "steps": "1"}),
        ("np/log_likelihood/k=5", "Neural Process", "log_likelihood", {"k": "5"}),
        ("oracle_log_likelihood/k=5", "exact posterior", "log_likelihood", {"k": "5"}),
        ("mine/accuracy/k=5", "mine", "accuracy", {"k": "5"}),
    ],
)
def test_names(name: str, part: str, metric: str, keys: dict[str, str]) -> None:
    found = entry(name, {"mean": 1.0, "ci95": 0.1})
    assert (found.part, found.metric, found.keys) == (part, metric, keys)


def test_one_row_for_each_part_and_step_and_one_column_for_each_size() -> None:
    (table,) = tables({"": METRICS})
    assert table.title == "mean squared error" and table.header == ["", "K=5", "K=10"]
    assert [row[0] for row in table.rows] == [
        f"{part}, {when}"
        for part in ("MAML", "pretrained")
        for when in ("before adapting", "after 1 step", "after 10 steps")
    ]
    assert table.rows[0][1] == "2.000 ± 0.010"
    assert table.best == {(2, 1), (2, 2)}  # MAML after 10 steps


def test_what_nobody_can_reach_is_never_the_best() -> None:
    values = {
        name: {"mean": mean, "ci95": 0.1} for name, mean in (("np/mse", 2.0), ("cnp/mse", 3.0), ("oracle/mse", 1.0))
    }
    (table,) = tables({"": values})
    assert [table.rows[i][0] for i, _ in table.best] == ["Neural Process"]
    higher = {name.replace("mse", "log_likelihood"): value for name, value in values.items()}
    (table,) = tables({"": higher})
    assert [table.rows[i][0] for i, _ in table.best] == ["CNP"]


def test_multiples_of_the_best() -> None:
    results = {"a": {"mse/k=5": {"mean": 0.2, "ci95": 0.1}}, "b": {"mse/k=5": {"mean": 3.0, "ci95": 0.1}}}
    _, multiples = tables(results, multiples=True)
    assert multiples.rows == [["a", "x 1.00"], ["b", "x 15.0"]]


def test_several_runs_and_missing_values() -> None:
    one = {"mse/k=5": {"mean": 1.0, "ci95": None}}
    two = {"mse/k=10": {"mean": None, "ci95": None}}
    (table,) = tables({"a": one, "b": two})
    assert table.rows == [["a", "1.00", ""], ["b", "", "not finite"]]
    assert table.markdown().splitlines()[2] == "| a | 1.00 |  |"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.1234, "0.123"), (12.34, "12.3"), (1234.5, "1234"), (1e-5, "1.00e-05"), (math.nan, "not finite")],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("mean", "ci95", "text"),
    [
        (0.12345, 0.0123, "0.123 ± 0.012"),
        (12.345, 1.23, "12.3 ± 1.2"),
        (123.4, 45.6, "123 ± 46"),
        (1.0, math.nan, "1.00"),
        (31.4, 2e7, "31.4 ± 2.00e+07"),
        (-3.1e12, 12.0, "-3.10e+12 ± 12.0"),
    ],
)
def test_cells(mean: float, ci95: float, text: str) -> None:
    assert cell(mean, ci95) == text


def test_html_is_escaped() -> None:
    (table,) = tables({"<b>": {"mse": {"mean": 1.0, "ci95": 0.1}}})
    assert "&lt;b&gt;" in table.html() and "<b>" not in table.html()

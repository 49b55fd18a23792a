"""Tables from results: names taken apart, numbers rounded as their intervals deserve, the best marked."""

import math

import pytest

from quickstudy.evaluation import tuning
from quickstudy.recipes.sinusoid import waves as sinusoids
from quickstudy.report.tables import TRIED, cell, comparable, entry, notes, number, tables

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


def test_numbers_of_steps_that_are_asked_for_are_shown() -> None:
    def shown(steps: dict[str, set[int]]) -> list[str]:
        (table,) = tables({"": METRICS}, steps=steps)
        return [row[0] for row in table.rows]

    assert shown({"": {5}}) == [
        f"{part}, {when}"
        for part in ("MAML", "pretrained")
        for when in ("before adapting", "after 1 step", "after 5 steps", "after 10 steps")
    ]
    assert [row for row in shown({"maml": {5}}) if "5 steps" in row] == ["MAML, after 5 steps"]


def test_what_nobody_can_reach_is_never_the_best() -> None:
    values = {
        name: {"mean": mean, "ci95": 0.1} for name, mean in (("np/mse", 2.0), ("cnp/mse", 3.0), ("oracle/mse", 1.0))
    }
    (table,) = tables({"": values})
    assert [table.rows[i][0] for i, _ in table.best] == ["Neural Process"]
    higher = {name.replace("mse", "log_likelihood"): value for name, value in values.items()}
    (table,) = tables({"": higher})
    assert [table.rows[i][0] for i, _ in table.best] == ["CNP"]


def best(values: dict[str, tuple[float, float | None]]) -> list[str]:
    """The names of the rows in bold."""
    (table,) = tables({"": {name: {"mean": mean, "ci95": ci95} for name, (mean, ci95) in values.items()}})
    return [table.rows[i][0] for i, _ in sorted(table.best)]


def test_a_best_whose_interval_touches_another_is_a_tie() -> None:
    assert best({"maml/mse": (3.50, 0.24), "np/mse": (3.54, 0.24)}) == []
    assert best({"maml/mse": (1.0, 0.25), "np/mse": (1.5, 0.25)}) == []  # they meet in one point
    assert best({"maml/mse": (1.0, 0.2), "np/mse": (1.5, 0.2)}) == ["MAML"]
    assert best({"maml/mse": (1.0, 0.2), "np/mse": (1.5, 0.2), "cnp/mse": (3.0, 1.9)}) == []  # the third may be better
    assert best({"maml/accuracy": (0.9, 0.01), "np/accuracy": (0.8, 0.05)}) == ["MAML"]


def test_without_an_interval_or_a_rival_or_an_order_nothing_is_the_best() -> None:
    assert best({"maml/mse": (1.0, None), "np/mse": (9.0, 0.1)}) == []
    assert best({"maml/mse": (1.0, 0.1)}) == []
    assert best({"maml/coverage90": (0.9, 0.01), "np/coverage90": (0.2, 0.01)}) == []
    assert best({"maml/mse": (1.0, 0.1), "np/mse": (math.nan, 0.1)}) == []


def test_every_table_marks_the_best_of_its_own_columns() -> None:
    values = {"maml/mse": 1.0, "pretrained/mse": 2.0, "maml/tuned_mse": 1.0, "pretrained/tuned_mse": 0.5}
    tuned, as_trained = tables({"": {name: {"mean": mean, "ci95": 0.1} for name, mean in values.items()}})
    assert tuned.best == {(1, 1)} and as_trained.best == {(0, 1)}


def test_rows_and_columns_ascend_by_number() -> None:
    value = {"mean": 1.0, "ci95": 0.1}
    names = [f"np/mse/k={k}/steps={steps}" for steps in (10, 0, 2) for k in (5, 10, 20, 1, 7)]
    (table,) = tables({"": dict.fromkeys(names, value)})
    assert table.header[1:] == ["K=1", "K=5", "K=7", "K=10", "K=20"]
    assert [row[0].partition(", ")[2] for row in table.rows] == ["before adapting", "after 2 steps", "after 10 steps"]
    (table,) = tables(
        {"": dict.fromkeys([f"{a}/return/episode={e}" for e in (150, 2, 1) for a in ("np", "dqn")], value)}
    )
    assert [row[0] for row in table.rows] == [
        f"{name}, episode {e}" for name in ("Neural Process", "DQN, from scratch") for e in (1, 2, 150)
    ]
    assert table.header == ["", "mean"]


def test_notes_say_what_a_reader_of_these_tables_needs() -> None:
    clear = tables({"": METRICS})
    assert [note.partition(":")[0] for note in notes(clear)] == ["Means over 600 unseen tasks.", "K", "±", "Bold"]
    assert notes(clear)[1] == "K: points in the support set of each task."
    assert notes(clear, "digits-norm")[1] == "K: labelled images of each class."
    assert notes(tables({"": {"mse": {"mean": 1.0, "ci95": None}}})) == []


def counted(n: int, over: str = "tasks", **more: int) -> dict[str, object]:
    """A mean over so many tasks or seeds."""
    return {"mean": 1.0, "ci95": 0.1, "n": n, "over": over, **more}


def test_outputs_with_units_of_their_own_are_not_compared() -> None:
    """Millimetres and kilograms stand in tables of their own, each with its best."""
    results = {
        f"{part}/rmse/y={output}/k={k}": {"mean": mean, "ci95": 0.1, "n": 7, "over": "groups"}
        for part, means in {"np": (5.0, 0.6), "gp": (3.0, 0.9)}.items()
        for output, mean in zip(("height", "weight"), means, strict=True)
        for k in (2, 10)
    }
    height, weight = tables({"": results})
    assert (height.title, weight.title) == ("root mean squared error of height", "root mean squared error of weight")
    assert height.header == ["", "K=2", "K=10"] and [row[0] for row in height.rows] == [row[0] for row in weight.rows]
    assert height.best == {(1, 1), (1, 2)} and weight.best == {(0, 1), (0, 2)}
    assert notes([height, weight], "table")[0] == "Means over 7 held-out groups."
    assert "±: half the width of the 95% interval, over groups." in notes([height, weight], "table")
    assert len(comparable({"": results}, "rmse")) == 4  # learners and outputs


def test_different_numbers_of_tasks_stand_in_the_table() -> None:
    results = {"a": {"mse/k=5": counted(2)}, "b": {"mse/k=5": counted(1300)}, "c": {"mse/k=5": {"mean": 1.0}}}
    results["d"] = {"mse/k=5": counted(5, "seeds", tasks=600)}
    (table,) = tables(results)
    assert table.header == ["", "K=5", "mean over"]
    assert [row[2] for row in table.rows] == ["2 tasks", "1,300 tasks", "", "5 seeds of 600 tasks"]
    assert notes([table])[0].startswith("Means are over different numbers of tasks or seeds: 2 tasks, 1,300 tasks, 5 ")
    (same,) = tables({"a": {"mse/k=5": counted(9)}, "b": {"mse/k=5": counted(9)}})
    assert same.header == ["", "K=5"] and notes([same])[0] == "Means over 9 unseen tasks."


def test_two_seeds_have_no_interval_and_the_notes_say_why() -> None:
    (two,) = tables({"": {"maml/mse": counted(2, "seeds"), "np/mse": counted(2, "seeds") | {"mean": 9.0}}})
    assert [row[1] for row in two.rows] == ["1.00", "9.00"] and not two.best
    assert notes([two]) == [
        "Means over 2 seeds.",
        "Means over fewer than 3 seeds have no interval: so few say nothing about others.",
    ]
    (three,) = tables({"": {"maml/mse": counted(3, "seeds", tasks=40)}})
    assert three.rows[0][1] == "1.00 ± 0.10"
    assert notes([three]) == [
        "Means over 3 seeds of 40 tasks.",
        "±: half the width of the 95% interval, over seeds.",
    ]


def test_notes_say_what_tuning_tried() -> None:
    """The sentence names the smallest and the largest that recipes try."""
    steps, rates = (values[:: len(values) - 1] for values in (sinusoids.STEPS, tuning.RATES))
    assert f"out of {steps[0]} to {steps[1]} and the number in training" in TRIED
    assert f"out of {tuning.STEPS[0]} to {tuning.STEPS[-1]}, and also the rule" in TRIED
    assert f"gradient descent and Adam at {rates[0]} to {rates[1]}" in TRIED
    value = {"mean": 1.0, "ci95": None}
    for name in ("maml/tuned_mse", "factor"):
        assert notes(tables({"": {name: value}})) == [TRIED]
    assert notes(tables({"": {"maml/mse": value}})) == []


def test_validation_losses_are_not_called_losses_on_unseen_tasks() -> None:
    (note,) = notes(tables({"": {"maml/validation_loss": {"mean": 1.0, "ci95": None}}}))
    assert note == "Validation loss: on validation tasks, which also choose the best weights, and not on unseen tasks."


def test_multiples_of_the_least() -> None:
    results = {"a": {"mse/k=5": {"mean": 0.2, "ci95": 0.1}}, "b": {"mse/k=5": {"mean": 3.0, "ci95": 0.1}}}
    _, multiples = tables(results, multiples=True)
    assert multiples.rows == [["a", "x 1.00"], ["b", "x 15.0"]]


def test_the_last_of_each_learner_is_compared() -> None:
    rows = comparable({"": METRICS}, "mse")
    assert list(rows) == ["MAML, after 10 steps", "pretrained, after 10 steps"]
    value = {"mean": 1.0, "ci95": 0.1}
    assert list(comparable({"a": {f"return/episode={e}": value for e in (1, 9, 2)}}, "return")) == ["a, episode 9"]


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
        (1.2345e-9, 4.5e-11, "(1.234 ± 0.045)e-09"),
        (-2e-22, 1e-21, "(-0.2 ± 1.0)e-21"),
        (3.0, 1e-7, "(3.00000000 ± 0.00000010)e+00"),
        (4_500_123.4, 12.0, "4500123 ± 12"),
        (4.5e22, 1.2e20, "(4.500 ± 0.012)e+22"),
        (1e-12, 1e-30, "1.00e-12"),
        (0.889, 1e-16, "0.889"),
    ],
)
def test_cells(mean: float, ci95: float, text: str) -> None:
    assert cell(mean, ci95) == text


def test_html_is_escaped() -> None:
    (table,) = tables({"<b>": {"mse": {"mean": 1.0, "ci95": 0.1}}})
    assert "&lt;b&gt;" in table.html() and "<b>" not in table.html()

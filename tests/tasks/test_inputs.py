"""Columns of inputs that are dates, durations or categories, as columns of numbers."""

from typing import Any

import numpy as np
import pytest
import torch

from quickstudy.tasks.datasets.columns import GroupedRows, read_groups
from quickstudy.tasks.datasets.inputs import Input, Reading, label
from quickstudy.tasks.datasets.kinds import infer

DATES = ["2021-03-01", "2021-03-03", "2021-03-02", "2022-01-01", "2022-01-05", "2022-02-01"]


def _read(x: Any, *more: Any, **said: Any) -> GroupedRows:
    columns = {"g": list("aaabbbccc")[: len(x)], "x": x, "y": [0.5 * i * i for i in range(len(x))]}
    columns |= {f"z{i}": each for i, each in enumerate(more)}
    columns["g"] = [f"g{i // 2}" for i in range(len(x))]
    return read_groups(columns, "g", ("x", *(f"z{i}" for i in range(len(more)))), ("y",), reading=Reading(**said))


def test_dates_order_the_rows_and_keep_their_distances() -> None:
    found = _read(DATES)
    assert found.inputs == (Input("x", "date"),) and found.x == ("x",)
    first = (np.datetime64("2021-03-01") - np.datetime64("1970-01-01")).astype(int)
    assert found.rows[0][:, 0].tolist() == [first, first + 2]
    assert found.rows[1][:, 0].tolist() == [first + 1, first + 306] and found.rows[1][1, 1] == 4.5


def test_days_since_the_first_of_each_group() -> None:
    found = _read(DATES, dates="elapsed")
    assert [rows[:, 0].tolist() for rows in found.rows] == [[0, 2], [0, 305], [0, 27]]
    assert found.inputs[0].unit == "days since the first date of the group" and not found.inputs[0].calendar
    with pytest.raises(ValueError, match="dates='both'; choose 'calendar' or 'elapsed'"):
        _read(DATES, dates="both")


def test_given_forms_of_dates() -> None:
    turned = ["/".join(reversed(day.split("-"))) for day in DATES]
    found = _read(turned, date_format="%d/%m/%Y")
    for rows, same in zip(found.rows, _read(DATES).rows, strict=True):
        assert rows.equal(same)
    assert found.inputs[0].text(float(found.rows[0][0, 0])) == "01/03/2021"
    digits = [day.replace("-", "") for day in DATES]
    assert _read(digits, date_format="%Y%m%d").rows[0].equal(found.rows[0])
    with pytest.warns(
        RuntimeWarning, match="'x' is read as numbers, and all .* such as 20210301; .*date_format='%Y%m%d'"
    ):
        assert _read(digits).inputs[0].kind == "number"


def test_words_are_columns_of_0_and_1() -> None:
    arms = ["dose 10", "placebo", "dose 2", "dose 2", "placebo", "placebo"]
    found = _read(list(range(6)), arms)
    assert found.x == ("x", "z0=dose 10", "z0=placebo") and found.inputs[1].levels == ("dose 2", "dose 10", "placebo")
    assert [rows[:, 1:3].tolist() for rows in found.rows] == [[[1, 0], [0, 1]], [[0, 0], [0, 0]], [[0, 1], [0, 1]]]
    with pytest.raises(
        ValueError, match="holds 'dose 3' in row 2, which was not in training .that had dose 2, dose 10, "
    ):
        found.inputs[1].read(["placebo", "dose 3"], [0, 1])
    for switch in (["yes", "no"] * 3, ["True", "False"] * 3, ["x", "o"] * 3, ["+", "-"] * 3, ["unknown", "male"] * 3):
        assert len(_read(list(range(6)), switch).x) == 2


def test_days_count_from_the_first_date_of_a_group_though_its_row_is_left_out() -> None:
    columns = {"g": ["g", "g", "g", *"aabb"], "x": ["2020-01-01", "2020-01-05", "2020-01-07", *DATES[:4]]}
    columns |= {"y": ["", "1", "2", "3", "4", "5", "7"]}
    found = read_groups(columns, "g", ("x",), ("y",), missing="drop", reading=Reading(dates="elapsed"))
    assert found.rows[2][:, 0].tolist() == [4, 6] and found.dropped.rows == 1


def test_missing_inputs_are_filled_in_and_marked() -> None:
    columns = {"g": list("aabbcc"), "x": range(6), "z": ["1", "", "NA", "4", "4", "3"], "arm": ["u", "v", "", *"uuv"]}
    columns |= {"y": [1.0, 2, 4, 8, 16, 32]}
    found = read_groups(columns, "g", ("x", "z", "arm"), ("y",), missing="fill")
    assert found.x == ("x", "z", "z missing", "arm=v", "arm missing") and found.dropped.rows == 0
    values = torch.cat(list(found.rows))
    assert values[:, 1].tolist() == [1, 3, 3, 4, 4, 3] and values[:, 2].tolist() == [0, 1, 1, 0, 0, 0]
    assert values[:, 3].tolist() == [0, 1, 0, 0, 0, 1] and values[:, 4].tolist() == [0, 0, 1, 0, 0, 0]
    with pytest.raises(ValueError, match="row 2 has no value in column 'z'"):
        read_groups(columns, "g", ("x", "z"), ("y",))
    gone = {"x": [0, 1, 2, None, 4, 5, 6], "g": list("aabbbcc"), "y": range(7), "z": range(7)}
    assert read_groups(gone, "g", ("x", "z"), ("y",), missing="fill").dropped == (1, 0)
    with pytest.raises(ValueError, match="column 'z' has no values; leave it out of x="):
        read_groups(columns | {"z": [""] * 6}, "g", ("x", "z"), ("y",), missing="fill")


def test_the_first_input_orders_the_rows() -> None:
    with pytest.raises(
        ValueError, match=r"first input, 'x', holds categories, .* after the others: x=\['z1', 'x', 'z0'\]"
    ):
        _read(list("ababab"), list("aabbab"), list(range(6)))
    assert len(_read(list("ababab"), list("aabbab")).x) == 2


def test_numbers_that_are_categories() -> None:
    found = _read(list(range(6)), [3, 1, 2.0, 2, 3.0, 1], categories=("z0",))
    assert found.inputs[1].levels == ("1", "2", "3") and found.x == ("x", "z0=2", "z0=3")
    assert [label(value) for value in (1, 1.0, "1.0", " 01", np.float32(2.0), "1.50")] == [
        "1",
        "1",
        "1",
        "01",
        "2",
        "1.50",
    ]
    with pytest.raises(ValueError, match=r"row 2 has no value in column 'z0' \(it holds 'none'\)"):
        _read(list(range(6)), ["drug", "none", "both"] * 2)
    kept = _read(list(range(6)), ["drug", "none", "both"] * 2, categories=("z0",)).inputs[1]
    assert kept.levels == ("both", "drug", "none") and kept.read(["none"], [0]) == [[0.0], [1.0]]
    with pytest.raises(ValueError, match="categories='q' is no input; name it in x="):
        _read(list(range(6)), categories=("q",))


BROKEN: dict[str, tuple[list[Any], str]] = {
    "day or month first": (
        ["03/04/2021", *DATES[1:]],
        "holds '03/04/2021' in row 1, a date, but its day and month could be confused; write it as 2021-03-04, or pass "
        "date_format='%d/%m/%Y' or the like",
    ),
    "all of them": (["03/04/2021"] * 6, "could be confused"),
    "no such day": (
        ["2021-02-30", *DATES[1:]],
        "holds '2021-02-30' in row 1, which is no date like those in other rows",
    ),
    "a word among dates": (
        [*DATES[:5], "later"],
        "holds 'later' in row 6, which is no date like those .* leave the cell",
    ),
    "a number among dates": ([*DATES[:5], 3], "holds 3 in row 6, which is no date"),
    "a date among numbers": ([1, 2, 3, 4, 5, "2021-03-04"], "holds '2021-03-04' in row 6, which is not a number"),
    "some with a time zone": (
        [f"{day} 12:00" for day in DATES[:5]] + ["2021-03-04 12:00Z"],
        "in row 6, which has a time zone, and dates in other rows have none; write all of them alike",
    ),
    "some without": ([f"{day} 12:00Z" for day in DATES[:5]] + [DATES[5]], "in row 6, which has no time zone"),
    "no duration": (
        ["2 days", "3 days", "4 days 01:00:00", "1 days", "5 days", 4],
        "holds 4 in row 6, which is no dur",
    ),
    "a number among words": (
        ["a", "b", "a", "b", "a", "7"],
        "holds '7' in row 6, and words in other rows; correct the cell, or if all of them are categories, pass "
        "categories='x'",
    ),
    "units among numbers": (
        ["1", "2", "3 mg", "4", "5", "6"],
        "holds '3 mg' in row 3, which is not a number; write the",
    ),
    "a spreadsheet's error": (["a", "b", "a", "b", "a", "#REF!"], "holds '#REF!' in row 6, and words in other rows"),
    "always the same word": (["a"] * 6, "holds 'a' in all rows, so it tells nothing; leave it out of x="),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_cells_that_do_not_fit(kind: str) -> None:
    values, match = BROKEN[kind]
    with pytest.raises(ValueError, match=match) as caught:
        _read(values)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("column 'x' ")


def test_a_given_form_holds_for_all_cells() -> None:
    with pytest.raises(ValueError, match="'2021-03-01' in row 2, .* it does not fit date_format='%d/%m/%Y'; write all"):
        _read(["01/03/2021", "2021-03-01", *["02/03/2021"] * 4], date_format="%d/%m/%Y")


def test_too_many_and_nearly_equal_words() -> None:
    names = [f"site {i}" for i in range(24)]
    columns = {"s": names}
    with pytest.raises(ValueError, match="24 different words .site 0, site 1, site 2 and 21 more.*at most 20: merge"):
        infer(columns, ["s"], range(24), Reading())
    with pytest.warns(RuntimeWarning, match="holds both 'Drug' and 'drug', which are read as different categories"):
        _read(list(range(6)), ["drug", "Drug", "no"] * 2)

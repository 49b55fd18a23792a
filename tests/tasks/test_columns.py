"""Columns, checked and divided into the rows of each group."""

import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch

from quickstudy.tasks.datasets.cells import is_missing
from quickstudy.tasks.datasets.columns import complete_rows, in_order, numbers, read_groups
from quickstudy.tasks.datasets.names import group_rows, natural


@pytest.mark.parametrize(
    "value",
    [
        *(None, math.nan, "", " NA ", "NaN", "null", "N/a", "#N/A", "<NA>", pd.NA, pd.NaT),
        *(np.float32("nan"), np.float16("nan"), Decimal("NaN"), Decimal("sNaN"), np.datetime64("NaT")),
        *(np.ma.masked, torch.tensor(math.nan), complex(math.nan, 0)),
    ],
)
def test_missing(value: object) -> None:
    assert is_missing(value)


@pytest.mark.parametrize(
    "value", [0, 0.0, False, "0", "nano", math.inf, Decimal(0), np.float32(1), np.zeros(2), [math.nan]]
)
def test_not_missing(value: object) -> None:
    assert not is_missing(value)


def test_complete_rows() -> None:
    columns = {"a": [1, None, 3, 4], "b": ["x", "y", "", "z"], "c": [None] * 4}
    assert complete_rows(columns, "b", ["a"], "drop") == [0, 3]
    with pytest.raises(
        ValueError,
        match=r"row 3 has no value in column 'b', row 2 has no value in column 'a' \(2 such rows in all\); pass",
    ):
        complete_rows(columns, "b", ["a"], "error")
    with pytest.raises(ValueError, match="missing='ignore'; choose 'error', 'drop' or 'fill'"):
        complete_rows(columns, "a", [], "ignore")
    with pytest.raises(ValueError, match=r"all 4 rows lack a value \(1 in 'b', 4 in 'c'\); choose columns with values"):
        complete_rows(columns, "b", ["c"], "drop")


@pytest.mark.parametrize("word", ["NA", "nan", "None", "NULL"])
def test_a_group_may_have_the_name_of_a_missing_value(word: str) -> None:
    """Namibia's code is NA; a cell without text has no name."""
    columns = {"country": [word, "ZA", word, "", None], "y": [1, 2, "NA", 4, 5]}
    with pytest.warns(RuntimeWarning, match=rf"a group called '{word}' \(1 rows\), which is read as a name"):
        assert complete_rows(columns, "country", ["y"], "drop") == [0, 1]


def test_numbers() -> None:
    assert numbers({"a": ["1", 2, True, "-3e-1", Decimal("0.5")]}, "a", range(5)) == [1.0, 2.0, 1.0, -0.3, 0.5]
    with pytest.raises(ValueError, match="column 'a' holds 'high' in row 2, which is not a number"):
        numbers({"a": ["1", "high"]}, "a", [0, 1])


@pytest.mark.parametrize("value", ["inf", -math.inf, "1e400", 10**400, np.float32("inf")])
def test_infinite_numbers(value: object) -> None:
    with pytest.raises(ValueError, match="column 'a' holds .* in row 1, which is not a finite number"):
        numbers({"a": [value]}, "a", [0])


def test_names_in_natural_order() -> None:
    assert sorted(["p10", "p2", "P1", "b", 12, "007"], key=natural) == ["007", 12, "b", "P1", "p2", "p10"]
    assert [str(n) for n in sorted([308, 9], key=natural)] == sorted(["308", "9"], key=natural)


def test_the_order_of_rows_changes_nothing(generator: torch.Generator) -> None:
    """Of rows with equal x those with small y do not come first, or seeing the first rows would favour them."""
    rows = torch.cat([torch.zeros(400, 1, dtype=torch.float64), torch.rand(400, 2, dtype=torch.float64)], 1)
    sorted_rows = in_order(rows, 1)
    shuffled = rows[torch.randperm(400, generator=generator)]
    assert torch.equal(in_order(shuffled, 1), sorted_rows)
    assert abs(float(sorted_rows[:200, 1].mean() - sorted_rows[200:, 1].mean())) < 0.1
    by_both = in_order(torch.tensor([[1.0, 2.0, 0.0], [0.0, 5.0, 1.0], [1.0, 1.0, 2.0]]).double(), 2)
    assert by_both[:, 2].tolist() == [1.0, 2.0, 0.0]


def test_digests_name_the_group_that_changed() -> None:
    columns = {"g": list("bbaacc"), "x": [0, 1, 1, 0, 0, 1], "y": [1.0, 2, 3, 4, 5, 6]}
    first = read_groups(columns, "g", ("x",), ("y",))
    backwards = {name: list(reversed(values)) for name, values in columns.items()}
    assert first.names == ("a", "b", "c") and read_groups(backwards, "g", ("x",), ("y",)).digests() == first.digests()
    changed = read_groups(columns | {"y": [1.0, 2, 3, 4, 5, math.nextafter(6, 7)]}, "g", ("x",), ("y",)).digests()
    assert [name for name, digest in changed.items() if digest != first.digests()[name]] == ["c"]


def test_tensors_are_columns_too() -> None:
    columns = {"g": torch.tensor([2, 2, 1, 1, 3, 3]), "x": torch.arange(6), "y": torch.arange(6.0)}
    assert read_groups(columns, "g", ("x",), ("y",)).names == (1, 2, 3)  # type: ignore[arg-type]


def test_names_of_groups_that_read_alike() -> None:
    with pytest.raises(ValueError, match=r"column 'g' holds both 1 \(int\) and '1' \(str\)"):
        group_rows([1, "1", 1, "1"], "g", "error")
    with pytest.raises(TypeError, match="column 'g' holds .*; expected names or numbers"):
        group_rows([[1], [1]], "g", "error")
    with pytest.raises(ValueError, match="3 such groups in all.*check that column 'id' names the group of each row"):
        group_rows(["a", "b", "c"], "id", "error")

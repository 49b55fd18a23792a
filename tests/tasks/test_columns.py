"""Reading files and columns."""

import math
from pathlib import Path

import pandas as pd
import pytest

from quickstudy.tasks.datasets.columns import complete_rows, is_missing, numbers, read_csv


def _file(folder: Path, text: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_file_as_spreadsheets_write_it(tmp_path: Path) -> None:
    path = _file(tmp_path, '\ufeffname, value\r\n"Smith, A",1.5\r\n\r\nB, 2e3 \r\n')
    assert read_csv(path) == {"name": ["Smith, A", "B"], "value": ["1.5", "2e3"]}
    assert read_csv(str(path)) == read_csv(path)
    assert read_csv(_file(tmp_path, "a;b\n1;2\n"), delimiter=";") == {"a": ["1"], "b": ["2"]}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no rows below its header"),
        ("a,b\n", "no rows below its header"),
        ("a;b\n1;2\n", "single column 'a;b'; does ',' separate"),
        ("a,b,a\n1,2,3\n", "two columns called 'a'"),
        ("a,b\n1,2\n1,2,3\n", "row 2: 3 values for 2 columns"),
        (b"a,b\n\xff\xfe,2\n", "cannot be read as CSV text"),
    ],
)
def test_bad_files(tmp_path: Path, text: str | bytes, match: str) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        read_csv(_file(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file .*absent.csv; give the path"):
        read_csv(tmp_path / "absent.csv")


@pytest.mark.parametrize("value", [None, math.nan, "", " NA ", "NaN", "null", pd.NA, pd.NaT])
def test_missing(value: object) -> None:
    assert is_missing(value)


@pytest.mark.parametrize("value", [0, 0.0, False, "0", "nano", math.inf])
def test_not_missing(value: object) -> None:
    assert not is_missing(value)


def test_complete_rows() -> None:
    columns = {"a": [1, None, 3, 4], "b": ["x", "y", "", "z"], "c": [None] * 4}
    assert complete_rows(columns, ["a", "b"], "drop") == [0, 3]
    with pytest.raises(
        ValueError, match=r"row 2 has no value in column 'a' \(2 such rows in all\); pass missing='drop'"
    ):
        complete_rows(columns, ["a", "b"], "error")
    with pytest.raises(ValueError, match="missing='ignore'; choose 'error' or 'drop'"):
        complete_rows(columns, ["a"], "ignore")


def test_numbers() -> None:
    assert numbers({"a": ["1", 2, True, "-3e-1"]}, "a", [0, 1, 2, 3]) == [1.0, 2.0, 1.0, -0.3]
    with pytest.raises(ValueError, match="column 'a' holds 'high' in row 2, which is not a number"):
        numbers({"a": ["1", "high"]}, "a", [0, 1])
    with pytest.raises(ValueError, match="infinite in row 1"):
        numbers({"a": ["inf"]}, "a", [0])

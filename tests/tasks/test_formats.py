"""Excel workbooks, Parquet files, and frames of several libraries, against the same table as CSV."""

import gzip
import sys
import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr

from quickstudy.cli import main
from quickstudy.tasks import Table
from quickstudy.tasks.datasets.files import read_file

NAMES = ("who", "when", "arm", "speed")
DAYS = [date(2021, 3, 1 + 7 * d) for d in range(3)]
ROWS: list[tuple[Any, ...]] = [
    (f"s{i}", DAYS[d], ("drug", "none at all")[i % 2], d * d + i / 2) for i in range(5) for d in range(3)
]
ROLES: dict[str, Any] = {"task": "who", "x": ["when", "arm"], "y": "speed"}


@pytest.fixture
def expected(tmp_path: Path) -> Table:
    lines = [",".join(map(str, row)) for row in (NAMES, *ROWS)]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    return Table.from_file(tmp_path / "table.csv", **ROLES)


def _book(path: Path, sheets: dict[str, list[Any]], above: int = 0) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in [()] * above + rows:
            sheet.append(row)
    book.save(path)
    return path


def test_excel(tmp_path: Path, expected: Table) -> None:
    """Real dates and numbers; empty sheets, rows and columns around the table do not matter."""
    rows = [(None, *row, None) for row in (NAMES, *ROWS)]
    path = _book(tmp_path / "a.xlsx", {"empty": [], "data": [*rows[:3], (), *rows[3:]]}, above=2)
    assert repr(Table.from_file(path, **ROLES)) == repr(expected)
    packed = tmp_path / "a.xlsx.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert repr(Table.from_csv(packed, **ROLES)) == repr(expected)
    times = [(n, datetime(2021, 3, 1, 6 * i), a, s) for i, (n, _, a, s) in enumerate(ROWS[:4])]
    assert read_file(_book(tmp_path / "b.xlsx", {"x": [NAMES, *times]}))["when"][1] == datetime(2021, 3, 1, 6)


def test_sheets_are_chosen(tmp_path: Path, expected: Table) -> None:
    other = [("a", "b"), (1, 2)]
    path = _book(tmp_path / "a.xlsx", {"2021": [NAMES, *ROWS], "notes": other})
    for sheet in ("2021", "1"):
        assert repr(Table.from_file(path, sheet=sheet, **ROLES)) == repr(expected)
    assert read_file(path, sheet="2") == {"a": [1], "b": [2]}
    with pytest.raises(ValueError, match=r"a.xlsx has 2 sheets with values .2021, notes.; choose one: sheet='2021'"):
        read_file(path)
    with pytest.raises(ValueError, match="has no sheet='May'; it has 2021, notes"):
        read_file(path, sheet="May")
    with pytest.raises(ValueError, match=r"sheet='x', and .*table.csv is no Excel workbook"):
        read_file(tmp_path / "table.csv", sheet="x")


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([], "holds no values"),
        ([NAMES], "has no rows below its header"),
        ([("Study 12",), NAMES, *ROWS], "the first line is 'Study 12', .*remove comments and titles"),
        ([(*NAMES[:3], "arm"), *ROWS], "has two columns called 'arm'"),
        ([NAMES, *ROWS, NAMES, *ROWS], "line 17 repeats the header"),
        ([(1, 2, 3), (1, 2, 3)], "first line holds only numbers"),
    ],
)
def test_broken_sheets(tmp_path: Path, rows: list[Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        read_file(_book(tmp_path / "a.xlsx", {"x": rows}))


def test_errors_of_spreadsheets_are_no_numbers(tmp_path: Path) -> None:
    rows = [*ROWS[:-1], (*ROWS[-1][:3], "#DIV/0!")]
    with pytest.raises(ValueError, match="column 'speed' holds '#DIV/0!' in row 15, which is not a number"):
        Table.from_file(_book(tmp_path / "a.xlsx", {"x": [NAMES, *rows]}), **ROLES)


def test_archives_that_are_no_workbooks(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    for inside, match in {
        "content.xml": "is an OpenDocument file; save it as .xlsx",
        "xl/workbook.bin": "is a binary Excel workbook .* save it as .xlsx",
        "table.csv": "is a zip archive; unpack it first",
        "xl/workbook.xml": "cannot be read as an Excel workbook",
    }.items():
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(inside, "x")
        with pytest.raises(ValueError, match=match) as caught:
            read_file(path)
        assert "\n" not in str(caught.value)


def _frames() -> dict[str, Any]:
    columns: dict[str, list[Any]] = dict(zip(NAMES, map(list, zip(*ROWS, strict=True)), strict=True))
    frame = pd.DataFrame(columns)
    table = pa.table(columns)
    coded = table.set_column(2, "arm", table["arm"].dictionary_encode())
    days = frame.assign(when=pd.to_datetime(frame["when"]))
    wide = days.set_index(["who", "when"]).to_xarray()
    return {
        "pandas": frame,
        "pandas, times": days,
        "pandas, categories": frame.astype({"arm": "category", "who": "string"}),
        "polars": pl.DataFrame(columns),
        "polars, categories": pl.DataFrame(columns).with_columns(pl.col("arm").cast(pl.Categorical)),
        "arrow": table,
        "arrow, categories": coded,
        "xarray": wide,
    }


@pytest.mark.parametrize("kind", _frames())
def test_frames(kind: str, expected: Table) -> None:
    assert repr(Table.from_pandas(_frames()[kind], **ROLES)) == repr(expected)


def test_a_dataset_with_gaps() -> None:
    """xarray aligns groups that were measured at different times, with NaN where there was no measurement."""
    speeds = np.arange(12.0).reshape(4, 3)
    speeds[1, 2] = np.nan
    given = xr.Dataset({"speed": (("who", "day"), speeds)}, {"who": list("abcd"), "day": [0, 1, 2]})
    table = Table.from_pandas(given, task="who", x="day", y="speed", missing="drop")
    assert table.dropped == (1, 0) and [len(rows) for rows in table.rows.rows] == [3, 2, 3, 3]


@pytest.mark.parametrize("kind", [kind for kind in _frames() if kind != "xarray"])
def test_parquet(tmp_path: Path, kind: str, expected: Table) -> None:
    frame, path = _frames()[kind], tmp_path / "t.parquet"
    if kind.startswith("pandas"):
        frame.to_parquet(path)
    elif kind.startswith("polars"):
        frame.write_parquet(path)
    else:
        pq.write_table(frame, path)
    assert repr(Table.from_file(path, **ROLES)) == repr(expected)


def test_broken_parquet(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table([[1], [2]], ["a", "a"]), path)
    with pytest.raises(ValueError, match="has two columns called 'a'; rename one"):
        read_file(path)
    with pytest.raises(ValueError, match="two columns called 'a'"):
        Table.from_pandas(pa.table([[1], [2]], ["a", "a"]), task="a", x="b", y="c")
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), path)
    with pytest.raises(ValueError, match="t.parquet has no rows"):
        read_file(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="cannot be read as a Parquet file .*; write it again"):
        read_file(path)


@pytest.mark.parametrize(("library", "name"), [("openpyxl", "a.xlsx"), ("pyarrow", "a.parquet")])
def test_what_is_missing_is_named(tmp_path: Path, monkeypatch, capsys, library: str, name: str) -> None:
    _book(tmp_path / "a.xlsx", {"x": [NAMES, *ROWS]})
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        ModuleNotFoundError, match=f'reading it needs {library}.*; install it: pip install "quickstudy.files."'
    ):
        read_file(tmp_path / name)
    roles = ["--group", "who", "--x", "when", "--y", "speed"]
    assert main(["table", str(tmp_path / name), *roles, "--out", str(tmp_path / "m")]) == 1
    said = capsys.readouterr().err
    assert f"reading it needs {library}" in said and "traceback" not in said and said.count("\n") == 1


def test_the_shell_reads_them(tmp_path: Path, monkeypatch, capsys) -> None:
    """The model of a sheet is that of the same table as CSV, and predicts from a Parquet file."""
    from quickstudy.tables import outputs

    whole = outputs.choose
    monkeypatch.setattr(
        outputs, "choose", lambda rows, **options: whole(rows, **options, only=("everyone", "intercept"))
    )
    monkeypatch.chdir(tmp_path)
    more = [(f"r{i}", *row[1:3], row[3] + i % 3) for i, row in enumerate(ROWS * 2) for i in (i // 3,)]
    _book(Path("t.xlsx"), {"x": [NAMES, *more], "y": [("a",), (1,)]})
    roles = ["--group", "who", "--x", "when", "arm", "--y", "speed"]
    assert main(["table", "t.xlsx", *roles, "--out", "m"]) == 1
    assert "2 sheets with values (x, y); choose one: --sheet x" in capsys.readouterr().err
    assert main(["table", "t.xlsx", *roles, "--out", "m", "--sheet", "x"]) == 0
    new = {"who": ["n", "n"], "when": [DAYS[0], DAYS[2]], "arm": ["drug"] * 2, "speed": [1.0, None]}
    pq.write_table(pa.table(new), "new.parquet")
    Path("new.csv").write_text("who,when,arm,speed\nn,2021-03-01,drug,1\nn,2021-03-15,drug,\n")
    for name in ("new.parquet", "new.csv"):
        assert main(["predict", "m", name, "--out", f"{name}.csv"]) == 0
    assert Path("new.parquet.csv").read_text() == Path("new.csv.csv").read_text()

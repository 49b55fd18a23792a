"""Reading CSV files, and what is said of those that cannot be read."""

import gzip
from pathlib import Path

import pytest

from quickstudy.tasks import Table
from quickstudy.tasks.datasets.files import read_file

GOOD = "who,day,speed\n" + "".join(f"{g},{d},{d * d + i}.5\n" for i, g in enumerate("abcd") for d in range(3))
EXPECTED = [(g, str(d), f"{d * d + i}.5") for i, g in enumerate("abcd") for d in range(3)]


def _file(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


READ_ALIKE: dict[str, str | bytes] = {
    "as it is": GOOD,
    "byte order mark": "\ufeff" + GOOD,
    "Windows": GOOD.replace("\n", "\r\n"),
    "old Mac": GOOD.replace("\n", "\r"),
    "no newline at the end": GOOD.rstrip(),
    "semicolons": GOOD.replace(",", ";"),
    "tabs": GOOD.replace(",", "\t"),
    "bars": GOOD.replace(",", "|"),
    "spaces around values": GOOD.replace(",", " , "),
    "gzip": gzip.compress(GOOD.encode(), mtime=0),
    "UTF-16": GOOD.encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + GOOD.encode("utf-16-be"),
    "quotes": "\n".join(",".join(f'"{v}"' for v in line.split(",")) for line in GOOD.splitlines()),
    "Excel's first line": "sep=;\n" + GOOD.replace(",", ";"),
    "empty lines": GOOD.replace("\n", "\n\n"),
    "lines of delimiters": GOOD + ",,\n,,\n",
    "a delimiter at the end": GOOD.replace("\n", ",\n"),
    "a delimiter at the end of data": GOOD.replace("\n", ",\n").replace("speed,", "speed", 1),
    "row names of R": "\n".join(f"{i},{line}" if i else f",{line}" for i, line in enumerate(GOOD.splitlines())),
}


@pytest.mark.parametrize("kind", READ_ALIKE)
def test_files_as_programs_write_them(tmp_path: Path, kind: str) -> None:
    columns = read_file(_file(tmp_path, READ_ALIKE[kind]))
    assert list(columns) == ["who", "day", "speed"]
    assert list(zip(*columns.values(), strict=True)) == EXPECTED


def test_quotes_and_given_delimiters(tmp_path: Path) -> None:
    path = _file(tmp_path, '\ufeffname, value\r\n"Smith, A",1.5\r\n\r\n"B\nC", 2e3 \r\n')
    assert read_file(path) == read_file(str(path)) == {"name": ["Smith, A", "B\nC"], "value": ["1.5", "2e3"]}
    spaced = _file(tmp_path, "a b\n1 2\n")
    assert read_file(spaced, delimiter=" ") == {"a": ["1"], "b": ["2"]}
    assert read_file(_file(tmp_path, "a\tb\n1\t2\n"), delimiter="\\t") == {"a": ["1"], "b": ["2"]}
    assert read_file(_file(tmp_path, "a;b\n1,5;2,5\n")) == {"a": ["1,5"], "b": ["2,5"]}
    with pytest.raises(ValueError, match="delimiter=', '; give the one character"):
        read_file(path, delimiter=", ")


BROKEN: list[tuple[str | bytes, str]] = [
    ("", "is empty"),
    ("\n \n\r\n", "is empty"),
    (",,,\n,,,\n", "holds no values"),
    ("who,day,speed\n", "no rows below its header"),
    ("who;day;speed\n", "no rows below its header"),
    ("who\na\nb\n", "single column 'who'; does a comma, .* If not, give delimiter="),
    ("who day speed\na 1 2\n", "single column 'who day speed'"),
    ("# measured in May\n" + GOOD, "the first line is '# measured in May', .* remove comments and titles"),
    ("# subject, day\n" + GOOD, "the first line is .* remove comments and titles"),
    ("Study 12,,\n" + GOOD, "the first line is 'Study 12', and the lines below have 3 columns"),
    (GOOD.partition("\n")[2].replace("a", "1").replace("b", "2").replace("c", "3"), "holds only numbers; add a line"),
    (GOOD.replace("speed", "day", 1), "two columns called 'day'; rename one"),
    (GOOD + "e,1\n", "line 14: 2 values for 3 columns"),
    (GOOD + "e,1,2,3\n", "line 14: 4 values for 3 columns"),
    (GOOD + "e,1,1,234\n", "line 14: 4 values .* quotes around values that hold the delimiter"),
    (GOOD + GOOD, "line 14 repeats the header; remove it"),
    (GOOD + 'e,"1,2\n', "cannot be read as CSV text .*close every quote"),
    (GOOD + 'e,"1"1,2\n', "line 14 cannot be read as CSV text"),
    (GOOD.replace("a,", "\u00e4,").encode("latin-1") + b"\x81,1,2\n", "cannot be read as CSV text .* CSV in UTF-8"),
    (GOOD.encode("utf-16-le"), "zero bytes.*; save it as CSV in UTF-8"),
    (b"PK\x03\x04" + b"\0" * 50, "a damaged Excel workbook or zip archive; copy it again"),
    (b"PAR1" + b"\0" * 50, "cannot be read as a Parquet file .*; write it again"),
    (b"%PDF-1.4 ...", "is a PDF"),
    (gzip.compress(GOOD.encode(), mtime=0)[:-12], "cannot be unpacked .*copy it again"),
    ("<!DOCTYPE html><table></table>", "looks like a web page"),
    ('[{"who": "a", "day": 1}]', "looks like JSON"),
]


@pytest.mark.parametrize(("content", "match"), BROKEN)
def test_broken_files(tmp_path: Path, content: str | bytes, match: str) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        read_file(_file(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_windows_1252_is_read_with_a_warning(tmp_path: Path) -> None:
    path = _file(tmp_path, GOOD.replace("a,", "\u00e4\u2019,").encode("cp1252"))
    with pytest.warns(
        RuntimeWarning, match="line 2 is not in UTF-8, so the file is read as Windows-1252.*save it as CSV"
    ):
        assert read_file(path)["who"][0] == "\u00e4\u2019"


def test_no_file(tmp_path: Path) -> None:
    _file(tmp_path, GOOD, "sleep.csv")
    with pytest.raises(FileNotFoundError, match=r"no file .*sleeep.csv; did you mean 'sleep.csv'\? Give the path"):
        read_file(tmp_path / "sleeep.csv")
    with pytest.raises(FileNotFoundError, match=r"no file .*absent/x.csv; give the path"):
        read_file(tmp_path / "absent" / "x.csv")
    with pytest.raises(ValueError, match="is a folder"):
        read_file(tmp_path)


VALUES = [
    ("1,5", "decimal=','"),
    ("1,234.5", "commas that separate thousands"),
    ("1,234,567", "commas that separate thousands"),
    ("1.234,5", "points that separate thousands"),
    ("1.234.567", "points that separate thousands"),
    ("1 234", "what separates thousands"),
    ("1_000", "what separates thousands"),
    ("12 %", "percent"),
    ("3.5 mg/L", "unit into the name"),
    ("250ms", "unit into the name"),
    ("$5", "currency"),
    ("<0.1", "limit of detection"),
    ("1.5 ± 0.2", "its error in a column of its own"),
    ("1/2", "as a decimal number"),
    ("\u22125", "minus sign as -"),
    ("True", "write 1 and 0"),
    ("yes", "write 1 and 0"),
    ("2024-03-01", "a date: write it as a number, such as days"),
    ("01/03/2024 12:30", "a date"),
    ("12:30", "a time of day"),
    (".", "leave the cell empty"),
    ("?", "leave the cell empty"),
    ("#DIV/0!", "leave the cell empty"),
    ("=A1+B2", "save its value"),
    ("high", "write the categories as numbers"),
    ("x" * 500, "write the categories as numbers"),
    ("a\nb", "write the categories as numbers"),
    ("inf", "not a finite number"),
    ("1e999", "not a finite number"),
]


@pytest.mark.parametrize(("value", "match"), VALUES)
@pytest.mark.parametrize("column", ["day", "speed"])
def test_cells_that_are_no_numbers(tmp_path: Path, value: str, match: str, column: str) -> None:
    row = f'a,"{value}",2\n' if column == "day" else f'a,2,"{value}"\n'
    with pytest.raises(ValueError, match=match) as caught:
        Table.from_csv(_file(tmp_path, GOOD + row), task="who", x="day", y="speed")
    assert str(caught.value).startswith(f"column '{column}' holds ") and " in row 13, " in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


def test_decimal_commas(tmp_path: Path) -> None:
    points = _file(tmp_path, GOOD)
    commas = _file(tmp_path, GOOD.replace(",", ";").replace(".", ","), "commas.csv")
    first, second = (
        Table.from_csv(path, task="who", x="day", y="speed", decimal=mark)  # type: ignore[arg-type]
        for path, mark in ((points, "."), (commas, ","))
    )
    assert repr(first) == repr(second)
    with pytest.raises(ValueError, match=r"holds '0.5' in row 1, and decimal=',' was given"):
        Table.from_csv(points, task="who", x="day", y="speed", decimal=",")
    with pytest.raises(ValueError, match="decimal=';'; choose"):
        Table.from_csv(points, task="who", x="day", y="speed", decimal=";")  # type: ignore[arg-type]


TABLES = [
    (GOOD.replace("b,", "a,").replace("c,", "a,").replace("d,", "a,"), {}, "groups in column 'who': 1; expected"),
    (GOOD, {"y": "Speed"}, "no column 'Speed'; did you mean 'speed'"),
    (GOOD, {"task": "subject"}, "no column 'subject'"),
    (GOOD, {"x": "speed"}, "'speed' is used twice"),
    (GOOD, {"task": "speed", "x": "who", "y": "day"}, "has a single row"),
    (
        "who,day,speed\n" + "".join(f"{g},{d},7\n" for g in "abc" for d in "12"),
        {},
        "'speed' has the value 7 in all rows",
    ),
    (GOOD + "e,1,\n", {}, "row 13 has no value in column 'speed' .1 such row"),
    (GOOD + ",1,2\n", {}, "row 13 has no value in column 'who'"),
    (GOOD + "e,1,2\n", {}, "group 'e' has a single row"),
    (GOOD + "e,1,1e200\ne,2,2\n", {"splits": {"train": "abe", "test": "d"}}, "too large or too close together"),
    ("who,day,speed\n" + "a,1,NA\na,2,na\n" * 3, {"missing": "drop"}, "all 6 rows lack a value .6 in 'speed'"),
]


@pytest.mark.parametrize(("content", "change", "match"), TABLES)
def test_tables_that_cannot_be_used(tmp_path: Path, content: str, change: dict[str, object], match: str) -> None:
    roles = {"task": "who", "x": "day", "y": "speed"} | change
    with pytest.raises(ValueError, match=match) as caught:
        Table.from_csv(_file(tmp_path, content), **roles)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)

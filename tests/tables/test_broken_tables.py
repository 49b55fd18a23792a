"""What is wrong with a table is said in one line that tells what to do, before anything is fitted.

Each mistake is made in the shell (`quickstudy table`) and in Python (`Table.from_file`); the message names options in
the words of each. Files that look odd and are clear are read.
"""

import bz2
import gzip
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest

from quickstudy.cli import main
from quickstudy.tables import outputs
from quickstudy.tasks import Table
from quickstudy.tasks.datasets.files import read_file

ROWS = [f"{g},{d},{d * d + i}.5" for i, g in enumerate("abcdefgh") for d in range(3)]
GOOD = "\n".join(["who,day,speed", *ROWS]) + "\n"


class Mistake(NamedTuple):
    """A file, what the message says (a pattern), and options of the shell in place of the usual ones."""

    content: str | bytes
    message: str
    options: tuple[str, ...] = ()


def with_cell(column: str, value: str, row: int = 5) -> str:
    """The good file with another value in one cell; rows count from 1."""
    lines = GOOD.splitlines()
    cells = lines[row].split(",")
    cells[["who", "day", "speed"].index(column)] = f'"{value}"' if "," in value else value
    lines[row] = ",".join(cells)
    return "\n".join(lines) + "\n"


def zipped(name: str, content: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


def speed(value: str, message: str, *options: str) -> Mistake:
    return Mistake(with_cell("speed", value), f"column 'speed' holds .* in row 5, .*{message}", options)


def day(value: str, message: str, *options: str) -> Mistake:
    return Mistake(with_cell("day", value), f"column 'day' holds .* in row 5, .*{message}", options)


NUMBER = "which is not a number; "
FILES: dict[str, Mistake] = {
    "empty": Mistake("", "table.csv is empty; give a table with a header line and data"),
    "white space": Mistake("  \n\n\t\n", "table.csv is empty"),
    "only delimiters": Mistake(",,\n,,\n", "holds no values; give a table"),
    "header only": Mistake("who,day,speed\n", "no rows below its header line"),
    "no header": Mistake(
        "1,2,3\n" * 9, "first line holds only numbers; add a line with the names of the columns above"
    ),
    "header repeated": Mistake(GOOD + GOOD, "line 26 repeats the header; remove it .were several files joined"),
    "two header lines": Mistake(
        GOOD.replace("\n", "\nname,days,m/s\n", 1),
        "holds 'days' in row 1, .*if this row holds units, or is a second hea",
    ),
    "units in the second line": Mistake(
        GOOD.replace("\n", "\n-,d,m/s\n", 1),
        "holds 'd' in row 1, .* if this row holds units, or is a second header, rem",
    ),
    "comment first": Mistake(
        "# measured in May\n" + GOOD, "first line is '# measured in May', .*remove comments and tit"
    ),
    "title first": Mistake("Study 12,,\n" + GOOD, "first line is 'Study 12', .*remove comments and titles above"),
    "comment last": Mistake(
        GOOD + "# by hand\n", "line 26: 1 value for 3 columns; if '# by hand' is a comment .*remove"
    ),
    "footnote": Mistake(
        GOOD + "Source: own,,\n", "row 25 has no value in column 'day' and 'speed' .1 such row in all.; pass missing="
    ),
    "two names alike": Mistake(GOOD.replace("day", "speed", 1), "two columns called 'speed'; rename one"),
    "one column": Mistake("who\na\nb\n", "the single column 'who'; does a comma.* If not, give delimiter="),
    "blanks between columns": Mistake(GOOD.replace(",", "  "), "the single column 'who day speed'"),
    "another delimiter": Mistake(GOOD, "single column 'who,day,speed'; does ';' separate", ("--delimiter", ";")),
    "a long delimiter": Mistake(GOOD, "delimiter='::'; give the one character", ("--delimiter", "::")),
    "short row": Mistake(GOOD + "e,1\n", "line 26: 2 values for 3 columns; give each row one value for every name"),
    "long row": Mistake(GOOD + "e,1,2,3\n", "line 26: 4 values for 3 columns"),
    "thousands unquoted": Mistake(GOOD + "e,1,1,234\n", "line 26: 4 values .*put quotes around values that hold the"),
    "row names of R": Mistake(
        "\n".join(["who,day,speed", *(f"{i},{row}" for i, row in enumerate(ROWS))]),
        "every row has 4 values, and the header 3 names; .*row.names = FALSE",
    ),
    "open quote": Mistake(GOOD + 'e,"1,2\n', "cannot be read as CSV text .*close every quote"),
    "quote within": Mistake(
        GOOD + 'e,"1"1,2\n', "line 26 cannot be read as CSV text .*write a quote within quotes twice"
    ),
    "zero bytes": Mistake(GOOD.replace("a", "a\0"), "holds zero bytes.; save it as CSV in UTF-8"),
    "UTF-16 without a mark": Mistake(GOOD.encode("utf-16-le"), "zero bytes.*UTF-8"),
    "not text": Mistake(bytes(range(1, 256)) * 3, "save (it as CSV|the table as CSV) in UTF-8"),
    "control characters": Mistake(
        GOOD.replace("a", "\x07"), "is a binary file .it holds the byte 7.; save the table as CSV"
    ),
    "cut gzip": Mistake(gzip.compress(GOOD.encode())[:-12], "cannot be unpacked .*damaged, so copy it again"),
    "bzip2": Mistake(bz2.compress(GOOD.encode()), "a bzip2 archive; unpack it first"),
    "zip": Mistake(zipped("table.csv", GOOD), "is a zip archive; unpack it first"),
    "cut zip": Mistake(zipped("table.csv", GOOD)[:40], "damaged Excel workbook or zip archive; copy it again"),
    "OpenDocument": Mistake(zipped("content.xml", "<x/>"), "an OpenDocument file; save it as .xlsx"),
    ".xls": Mistake(b"\xd0\xcf\x11\xe0" + bytes(99), "an old Excel workbook .*save it as .xlsx, or the sheet as CSV"),
    "cut .parquet": Mistake(b"PAR1" + bytes(99), "cannot be read as a Parquet file .*write it again"),
    "PDF": Mistake(b"%PDF-1.7\n", "is a PDF; save the table as CSV"),
    "HDF5": Mistake(b"\x89HDF\r\n", "an HDF5 file; save the table as CSV"),
    "R": Mistake(gzip.compress(b"RDX3\nX\n"), "a file of R; write it with write.csv"),
    "Stata": Mistake(b"<stata_dta><header>", "a file of Stata; save it as CSV"),
    "NumPy": Mistake(b"\x93NUMPY\x01", "a NumPy array"),
    "JSON": Mistake('[{"who": "a", "day": 1}]', "looks like JSON, and not CSV; save the table as CSV"),
    "a log-in page": Mistake(
        "<!DOCTYPE html><title>Log in</title>", "a web page or XML, and not CSV .a log-in page, per"
    ),
    "Git LFS": Mistake("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "run git lfs pull"),
    "a sheet of CSV": Mistake(GOOD, "no Excel workbook; leave the sheet out", ("--sheet", "2")),
}
CELLS: dict[str, Mistake] = {
    "decimal comma": speed("1,5", NUMBER + "if the comma is a decimal comma, give decimal=','; otherwise remove it"),
    "thousands": speed("1,234.5", NUMBER + "remove the commas that separate thousands"),
    "thousands and comma": speed("1.234,5", NUMBER + "remove the points that separate thousands, and write a point"),
    "thousands by blanks": speed("1 234", NUMBER + "remove what separates thousands"),
    "points and commas": Mistake(
        GOOD, "holds '0.5' in row 1, and decimal=',' was given; remove points", ("--decimal", ",")
    ),
    "percent": speed("12 %", "remove the percent signs"),
    "currency": speed("€5", "remove the currency signs"),
    "unit": speed("3.5 mg", "write the number alone, and put its unit into the name of the column"),
    "apostrophe": speed("'3.5", "remove the apostrophe, which makes it text"),
    "Unicode minus": speed("\u22123", "write the minus sign as -"),
    "hexadecimal": speed("0x1F", "write it as a decimal number"),
    "fraction": speed("1/2", "write the fraction as a decimal number"),
    "limit of detection": speed("<0.1", "a limit of detection: write a number, or leave the cell empty"),
    "error bar": speed("1.5 ± 0.2", "its error in a column of its own"),
    "switch": speed("yes", "write 1 and 0"),
    "word": speed("high", "choose numeric columns"),
    "question mark": speed("?", "if the value is missing, leave the cell empty"),
    "error of a spreadsheet": speed("#DIV/0!", "if the value is missing, leave the cell empty"),
    "formula": speed("=A1+B2", "a formula: save its value"),
    "infinity": speed("inf", "not a finite number; correct or remove the row"),
    "beyond float64": speed("1e400", "not a finite number"),
    "time of day": day("12:30", "a time of day: write it as a number"),
    "a date among outcomes": speed(
        "2021-03-04", "a date: write it as a number, such as days since the first measurement"
    ),
    "a date among numbers": day("2021-03-04", "which is not a number; a date"),
    "a word among numbers": day("later", "which is not a number"),
    "missing": Mistake(
        with_cell("speed", ""), "row 5 has no value in column 'speed' .1 such row in all.; pass missing='dr"
    ),
    "NA": Mistake(with_cell("day", "NA"), "row 5 has no value in column 'day' .it holds 'NA'"),
    "missing group": Mistake(with_cell("who", ""), "row 5 has no value in column 'who'"),
    "day or month first": Mistake(
        re.sub(r",(\d),", r",0\1/04/2021,", GOOD).replace("00/", "03/"),
        "holds '03/04/2021' in row 1, a date, but its day and month could be confused; write it as 2021-03-04, or pass "
        "date_format='%d/%m/%Y'",
    ),
    "another date": Mistake(
        re.sub(r",(\d),", r",2021-03-0\1,", GOOD).replace("03-00", "03-09").replace("2021-03-09", "9.3.2021", 1),
        "holds '9.3.2021' in row 1, a date, but its day and month could be confused",
    ),
    "no such day": Mistake(
        re.sub(r",(\d),", r",2021-02-3\1,", GOOD).replace("02-30", "02-01").replace("02-32", "02-02"),
        "holds '2021-02-31' in row 2, which is no(t a number| date)",
    ),
}
TABLES: dict[str, Mistake] = {
    "no such column": Mistake(
        GOOD, "no column 'Speed'; did you mean 'speed'. Columns: who, day, speed", ("--y", "Speed")
    ),
    "no such group": Mistake(GOOD, "no column 'subject'; ", ("--group", "subject")),
    "many columns": Mistake(
        ",".join(f"c{i}" for i in range(3000)) + "\n" + ",".join(["1"] * 3000) + "\n",
        "no column 'who'; .*c10, c11 and 2988 more",
    ),
    "used twice": Mistake(GOOD, "'speed' is used twice; task=, x= and y= must name different", ("--x", "day", "speed")),
    "one group": Mistake(re.sub(r"(?m)^[a-h],", "a,", GOOD), "groups in column 'who': 1; expected at least three"),
    "two groups": Mistake(
        re.sub(r"(?m)^[a-h],", lambda m: "ab"[m[0] > "d"] + ",", GOOD), "in column 'who': 2; expected"
    ),
    "every row its own group": Mistake(
        "\n".join(["who,day,speed", *(f"g{i}{row[1:]}" for i, row in enumerate(ROWS))]),
        "has a single row .24 such groups in all.*check that column 'who' names the group of each row, or pass short=",
    ),
    "a single row": Mistake(GOOD + "i,1,2\n", "group 'i' has a single row .1 such groups in all.*pass short='drop'"),
    "constant outcome": Mistake(
        re.sub(r"(?m),\d+\.5$", ",7", GOOD), "'speed' has the value 7 in all rows, so there is noth"
    ),
    "text outcome": Mistake(
        GOOD, "column 'who' holds 'a' in row 1, which is not a number", ("--y", "who", "--group", "day", "--x", "speed")
    ),
    "huge outcome": Mistake(
        re.sub(r"(?m),(\d+)\.5$", r",\1e200", GOOD), "too large or too close together for arithmetic"
    ),
    "categories first": Mistake(
        "\n".join(f"{line},{'uv'[i % 2] if i else 'arm'}" for i, line in enumerate(GOOD.splitlines())),
        "the first input, 'arm', holds categories, .*name it after the others: x=.'day', 'arm'.",
        ("--x", "arm", "day"),
    ),
    "no such category": Mistake(GOOD, "categories='arm' is no input; name it in x=", ("--categories", "arm")),
    "nothing known": Mistake(re.sub(r"(?m),\d+\.5$", ",", GOOD), "row 1 has no value in column 'speed' .24 such rows"),
}
IN_THE_SHELL: dict[str, Mistake] = {
    "five groups": Mistake("\n".join(GOOD.splitlines()[:16]), "5 groups with 'speed', .* give at least 6 groups"),
    "more rows than there are": Mistake(
        GOOD, "--seen 3: the largest group has 3 rows, so give numbers from 0 to 2", ("--seen", "3")
    ),
    "a number twice": Mistake(GOOD, "--seen 1 1: a number is given twice", ("--seen", "1", "1")),
    "fewer than none": Mistake(GOOD, "--seen -1: the largest group has 3 rows", ("--seen", "-1")),
    "more inputs than rows": Mistake(
        "\n".join(
            f"{line},{','.join(f'z{j}' if i == 0 else str((i * j) % 7) for j in range(9))}"
            for i, line in enumerate(GOOD.splitlines())
        ),
        "24 rows, of which folds have 10, for 10 columns of inputs; name fewer in --x, or give at least 57 rows",
        ("--x", "day", *(f"z{j}" for j in range(9))),
    ),
}
ALL = FILES | CELLS | TABLES


@pytest.fixture(autouse=True)
def nothing_is_fitted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def choose(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("a learner was fitted")

    monkeypatch.setattr(outputs, "choose", choose)
    monkeypatch.chdir(tmp_path)


def written(content: str | bytes) -> Path:
    path = Path("table.csv")
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def given(mistake: Mistake) -> dict[str, list[str]]:
    """The options of the shell, by name."""
    found = {"--group": ["who"], "--x": ["day"], "--y": ["speed"]}
    name = ""
    for word in mistake.options:
        if word.startswith("--"):
            name, found[word] = word, []
        else:
            found[name].append(word)
    return found


def in_shell_words(pattern: str) -> str:
    """A pattern of a message in Python's words, in those of the shell."""
    pattern = pattern.replace("task=, x= and y=", "--group, --x and --y").replace("x=.'day', 'arm'.", "--x day arm")
    pattern = re.sub(r"\b(missing|short|decimal|delimiter|date_format|categories)='([^']*)'?", r"--\1 \2", pattern)
    return re.sub(r"\b(missing|short|decimal|delimiter|date_format|categories|x|y)=", r"--\1", pattern).replace(
        "date_f", "date-f"
    )


@pytest.mark.parametrize("kind", [*ALL, *IN_THE_SHELL])
def test_in_the_shell(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    mistake = (ALL | IN_THE_SHELL)[kind]
    words = [word for name, values in given(mistake).items() for word in (name, *values)]
    assert main(["table", str(written(mistake.content)), *words]) == 1
    shown = capsys.readouterr()
    said = shown.err.removesuffix("\n")
    assert said.startswith("quickstudy: error: ") and "\n" not in said and len(said) < 420
    assert re.search(in_shell_words(mistake.message), said), said
    assert not re.search(r"\b(missing|short|decimal|delimiter|date_format|categories|sheet|task|x|y)=", said), said
    assert "traceback" not in said and "fit 1" not in shown.out and not Path("models").exists()


@pytest.mark.parametrize("kind", ALL)
def test_in_python(kind: str) -> None:
    mistake = ALL[kind]
    options = {name[2:].replace("-", "_"): values for name, values in given(mistake).items()}
    roles: dict[str, Any] = {"task": options.pop("group")[0], "x": options.pop("x"), "y": options.pop("y")}
    kept = {name: values if name == "categories" else values[0] for name, values in options.items()}
    with pytest.raises(ValueError, match=mistake.message) as caught:
        Table.from_file(written(mistake.content), **roles, **kept)
    assert "\n" not in str(caught.value) and "--" not in str(caught.value)


def test_there_are_enough_kinds() -> None:
    assert len(ALL | IN_THE_SHELL) >= 90


WARNED: dict[str, tuple[str, str]] = {
    "case of a group": (with_cell("who", "B", 5), "'who' holds both 'b' and 'B', which are read as two groups"),
    "zeros of a group": (re.sub(r"(?m)^[ab]", lambda m: {"a": "1", "b": "01"}[m[0]], GOOD), "both '1' and '01'"),
    "a point in a group": (re.sub(r"(?m)^[ab]", lambda m: {"a": "1", "b": "1.0"}[m[0]], GOOD), "both '1' and '1.0'"),
    "a group called NA": (GOOD.replace("\na", "\nNA"), "has a group called 'NA' .3 rows., which is read as a name"),
    "a code for missing": (
        with_cell("speed", "-999"),
        "'speed' holds -999 in 1 row, far from its other values; if it st",
    ),
    "joined twice": (GOOD + GOOD.partition("\n")[2], "every row occurs twice or more; if files were joined twice"),
    "constant input": (re.sub(r",\d,", ",3,", GOOD), "'day' has the value 3 in all rows, so it tells nothing"),
    "a rare category": (
        "\n".join(f"{line},{'arm' if i == 0 else 'vu'[i > 3]}" for i, line in enumerate(GOOD.splitlines())),
        "arm is 'v' in one group only, so what it does cannot be told from that group; merge it with others",
    ),
    "a rare first category": (
        "\n".join(f"{line},{'arm' if i == 0 else 'uv'[i > 3]}" for i, line in enumerate(GOOD.splitlines())),
        "arm is 'u' in one group only",
    ),
    "dates as numbers": (re.sub(r",(\d),", r",2021030\1,", GOOD).replace("0300", "0309"), "date_format='%Y%m%d'"),
    "Windows-1252": ("", "line 2 is not in UTF-8, so the file is read as Windows-1252"),
}


@pytest.mark.parametrize("kind", WARNED)
def test_doubts_are_warnings(kind: str) -> None:
    content, message = WARNED[kind]
    x = ("day", "arm") if "arm" in content else ("day",)
    path = written(content or GOOD.replace("\na", "\nä").encode("cp1252"))
    with pytest.warns(RuntimeWarning, match=message):
        outputs.read_outputs(read_file(path), "who", x, ("speed",), short="drop")


READ: dict[str, Callable[[str], str | bytes]] = {
    "byte order mark": lambda text: "\ufeff" + text,
    "UTF-16": lambda text: text.encode("utf-16"),
    "Windows lines": lambda text: text.replace("\n", "\r\n"),
    "old Mac lines": lambda text: text.replace("\n", "\r"),
    "Excel's first line": lambda text: "sep=;\n" + text.replace(",", ";"),
    "tabs": lambda text: text.replace(",", "\t"),
    "a delimiter at each end": lambda text: text.replace("\n", ",\n"),
    "an index of pandas": lambda text: "\n".join(
        f"{i - 1 if i else ''},{line}" for i, line in enumerate(text.splitlines())
    ),
    "blanks": lambda text: text.replace(",", " , ").replace("who", "  who "),
    "quotes": lambda text: re.sub(r"[^,\n]+", r'"\g<0>"', text),
    "full-width digits": lambda text: text.replace(",1,", ",\uff11,"),
    "plus signs and exponents": lambda text: text.replace(",1,", ",+1e0,"),
    "empty lines at the end": lambda text: text + "\n,,\n\n",
    "shuffled rows": lambda text: "\n".join(
        [text.splitlines()[0], *sorted(text.splitlines()[1:], key=lambda row: row[::-1])]
    ),
    "other columns": lambda text: "\n".join(
        f"{line},{'note' if i == 0 else 'ok'}" for i, line in enumerate(text.splitlines())
    ),
}


@pytest.mark.parametrize("kind", READ)
def test_odd_and_clear_files_are_read(kind: str) -> None:
    roles: dict[str, Any] = {"task": "who", "x": "day", "y": "speed"}
    plain = Table.from_file(written(GOOD), **roles)
    assert repr(Table.from_file(written(READ[kind](GOOD)), **roles)) == repr(plain)

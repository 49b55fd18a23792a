"""Reading files of tables: CSV, Excel and Parquet, and what is wrong with a file that cannot be read."""

import csv
import gzip
import io
import re
import warnings
import zlib
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any

from quickstudy.tasks.datasets.formats.header import Asked, Lines, columns_below
from quickstudy.tasks.datasets.formats.sheets import read_excel, read_parquet
from quickstudy.tasks.datasets.formats.signatures import check_text, format_of

DELIMITERS = (",", ";", "\t", "|")
_SNIFFED = 30  # number of rows from which the delimiter is found


def read_file(
    path: str | PathLike[str], *, delimiter: str | None = None, sheet: str | None = None, single: bool = False
) -> dict[str, list[Any]]:
    """The columns of a table in a file: CSV, an Excel workbook (.xlsx), or Parquet; each may be packed by gzip.

    The first row with a value is the header; rows without any value are left out, and so are columns that have no name.
    CSV is in UTF-8, in UTF-16 with a byte order mark, or, with a warning, in Windows-1252. Its cells are text without
    white space at its ends; those of the other formats have types.

    Args:
        path: the file.
        delimiter: what separates the columns of CSV; by default that of comma, semicolon, tab and | which fits the
            first rows.
        sheet: name or number of the sheet of a workbook; by default the only one that holds values.
        single: whether the file may have a single column.

    Raises:
        FileNotFoundError: when there is no such file.
        ModuleNotFoundError: where openpyxl (Excel) or pyarrow (Parquet) is needed and not installed (extra `files`).
        ValueError: for a file of another kind, one that has no header or no rows, repeats a name or its header, or has
            a row of another length.
    """
    path, asked = Path(path), Asked(_delimiter(delimiter), single)
    content = _content(path)
    kind = format_of(path, content)
    if sheet is not None and kind != "excel":
        raise ValueError(f"sheet={sheet!r}, and {path} is no Excel workbook; leave the sheet out")
    if kind == "excel":
        return read_excel(path, content, asked, sheet)
    if kind == "parquet":
        return read_parquet(path, content)
    text = _decoded(path, content)
    check_text(path, text)
    if not text.strip():
        raise ValueError(f"{path} is empty; give a table with a header line and data")
    marked = re.match(r"\"?sep=(.)\"?\r?\n", text)  # the first line of Excel's own CSV
    if marked is not None:
        text = "\n" + text[marked.end() :]  # lines keep their numbers
    mark = asked.delimiter or (marked[1] if marked else sniffed(text))
    return columns_below(path, _rows(path, text, mark), asked)


def sniffed(text: str) -> str:
    """The delimiter that divides the first rows into the same number of columns, and into the most.

    >>> sniffed("a;b\\n1,5;2,5\\n"), sniffed("a,b\\n1,2\\n")
    (';', ',')
    """
    start = [line for line in text[:100_000].splitlines() if line.strip()][:_SNIFFED]
    widths = {}
    for mark in DELIMITERS:
        counts = [len(row) for row in csv.reader(start, delimiter=mark)]
        widths[mark] = (len(set(counts)) == 1 and counts[0] > 1, counts[-1] if counts else 0)
    return max(DELIMITERS, key=lambda mark: widths[mark])


def _delimiter(given: str | None) -> str | None:
    mark = {"\\t": "\t", "tab": "\t"}.get(given, given) if given is not None else None
    if mark is not None and (len(mark) != 1 or mark in '"\r\n'):
        raise ValueError(f"delimiter={given!r}; give the one character that separates the columns, or leave it out")
    return mark


def _content(path: Path) -> bytes:
    """The content of the file, unpacked. Raises FileNotFoundError or ValueError if there is none."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the path of a file with a table")
    if not path.is_file():
        near = get_close_matches(path.name, [p.name for p in path.parent.glob("*")], 1) if path.parent.is_dir() else []
        hint = f"did you mean {near[0]!r}? Give" if near else "give"
        raise FileNotFoundError(f"no file {path}; {hint} the path of a CSV file with a header line")
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(
                f"{path} cannot be unpacked ({error}); the gzip file is damaged, so copy it again"
            ) from None
    return content


def _decoded(path: Path, content: bytes) -> str:
    """The content as text, with a warning if it is not Unicode. Raises ValueError if it is none."""
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        try:
            text = content.decode("cp1252")
        except UnicodeDecodeError:
            text = ""
        if wide or b"\x00" in content or not text:
            raise ValueError(f"{path} cannot be read as CSV text ({error}); save it as CSV in UTF-8") from None
        line = content.count(b"\n", 0, error.start) + 1
        check_text(path, text)
        warnings.warn(
            f"{path}, line {line} is not in UTF-8, so the file is read as Windows-1252, as Excel writes it; if "
            "names look wrong, save it as CSV in UTF-8",
            RuntimeWarning,
            stacklevel=4,
        )
        return text


def _rows(path: Path, text: str, delimiter: str) -> Lines:
    """The rows that hold a value, each with the number of its last line in the file."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found: Lines = []
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                found.append((reader.line_num, cells))
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {reader.line_num} cannot be read as CSV text ({error}); close every quote, and "
            "write a quote within quotes twice"
        ) from None
    return found

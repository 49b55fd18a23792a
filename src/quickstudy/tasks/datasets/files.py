"""Reading CSV files: their encoding, delimiter and header, and what is wrong with a file that cannot be read."""

import csv
import gzip
import io
import re
import zlib
from difflib import get_close_matches
from os import PathLike
from pathlib import Path

from quickstudy.tasks.datasets.cells import shown

DELIMITERS = (",", ";", "\t", "|")
_SNIFFED = 30  # number of rows from which the delimiter is found
_NOT_TEXT = {
    b"PK\x03\x04": "an Excel workbook or a zip archive; save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"PAR1": "a Parquet file; read it with pandas.read_parquet and use Table.from_pandas, or save it as CSV",
    b"%PDF": "a PDF; save the table as CSV",
    b"BZh": "a bzip2 archive; unpack it first",
    b"\xfd7zXZ": "an xz archive; unpack it first",
    b"\x89HDF": "an HDF5 file; save the table as CSV",
    b"SQLite format": "an SQLite database; export the table as CSV",
    b"RDX": "a file of R; write it with write.csv(..., row.names = FALSE)",
}
_NOT_CSV = {r"<[!?a-zA-Z]": "a web page or XML", r"[\[{]\s*[\[{\"]": "JSON"}


def read_csv(path: str | PathLike[str], *, delimiter: str | None = None, single: bool = False) -> dict[str, list[str]]:
    """The columns of a CSV file with a header line, as text without white space at its ends.

    Rows without any value are left out, and so are columns that have neither a name nor a value. The file is UTF-8, or
    UTF-16 with a byte order mark, and may be packed by gzip.

    Args:
        path: the file.
        delimiter: what separates the columns; by default that of comma, semicolon, tab and | which fits the first rows.
        single: whether the file may have a single column.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for a file that is not text, has no header or no rows, repeats a name or its header, or has a row of
            another length.
    """
    path, delimiter = Path(path), _delimiter(delimiter)
    text = _text(path)
    if not text.strip():
        raise ValueError(f"{path} is empty; give a CSV file with a header line and data")
    lines = _rows(path, text, delimiter or sniffed(text))
    if not lines:
        raise ValueError(f"{path} holds no values; give a CSV file with a header line and data")
    (first, header), rows = lines[0], lines[1:]
    _check_header(path, header, rows, delimiter, single)
    width = len(header)
    for line, row in rows:
        if any(row[width:]) or len(row) < width:
            raise ValueError(
                f"{path}, line {line}: {len(row)} values for {width} columns; give each row one value for every name "
                f"in line {first}, and put quotes around values that hold the delimiter"
            )
        if row[:width] == header:
            raise ValueError(f"{path}, line {line} repeats the header; remove it (were several files joined?)")
    if not rows:
        raise ValueError(f"{path} has no rows below its header line; a table needs a header and data")
    return {name: [row[j] for _, row in rows] for j, name in enumerate(header) if name}


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


def _text(path: Path) -> str:
    """The text of the file. Raises FileNotFoundError or ValueError if it is none."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the path of a CSV file")
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
    for start, what in _NOT_TEXT.items():
        if content.startswith(start):
            raise ValueError(f"{path} is {what}")
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} cannot be read as CSV text ({error}); save it as CSV in UTF-8") from None
    if "\x00" in text:
        raise ValueError(f"{path} cannot be read as CSV text (it holds zero bytes); save it as CSV in UTF-8")
    head = text[:1000].lstrip()
    for kind in (kind for pattern, kind in _NOT_CSV.items() if re.match(pattern, head)):
        raise ValueError(f"{path} looks like {kind} and not like CSV; save the table as CSV")
    return text


def _rows(path: Path, text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """The rows that hold a value, each with the number of its last line in the file."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found = []
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


def _check_header(
    path: Path, header: list[str], rows: list[tuple[int, list[str]]], delimiter: str | None, single: bool
) -> None:
    """Raise ValueError for a header that is missing, has a single column or repeats a name. Cuts empty names off."""
    below = rows[0][1] if rows else []
    widest = max((sum(map(bool, row)) for _, row in rows[:5]), default=0)
    if sum(map(bool, header)) == 1 < widest or (header[0].startswith("#") and len(header) < len(below)):
        raise ValueError(
            f"{path}: the first line is {shown(' '.join(filter(None, header)))}, and the lines below have "
            f"{len(below)} columns; remove comments and titles above the line with the names of the columns"
        )
    while header and not header[-1] and not any(row[len(header) - 1 :] and row[len(header) - 1] for _, row in rows):
        header.pop()
    if len(header) == 1 and not single:
        mark = repr(delimiter) if delimiter else "a comma, semicolon, tab or |"
        raise ValueError(
            f"{path} has the single column {shown(header[0])}; does {mark} separate its columns? "
            "If not, give delimiter="
        )
    if all(_is_number(name) for name in header):
        raise ValueError(
            f"{path}: the first line holds only numbers; add a line with the names of the columns above it"
        )
    repeated = [name for name in header if name and header.count(name) > 1]
    if repeated:
        raise ValueError(f"{path} has two columns called {shown(repeated[0])}; rename one")


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True

"""The header of a table, and the columns below it."""

from pathlib import Path
from typing import Any, NamedTuple

from quickstudy.tasks.datasets.cells import shown

Lines = list[tuple[int, list[Any]]]
"""The rows that hold a value, each with its number in the file; cells without a value are empty text."""


class Asked(NamedTuple):
    """What the user says about a file: the mark between columns, and whether it may have a single column."""

    delimiter: str | None = None
    single: bool = False


def columns_below(path: Path, lines: Lines, asked: Asked) -> dict[str, list[Any]]:
    """The columns of a table whose first row is its header; columns without a name are left out.

    Raises:
        ValueError: for a header that is missing or repeats a name, and for a row of another length.
    """
    if not lines:
        raise ValueError(f"{path} holds no values; give a table with a header line and data")
    (first, header), rows = lines[0], lines[1:]
    header = [str(name).strip() for name in header]
    _check_header(path, header, rows, asked)
    width = len(header)
    if rows and all(len(row) == width + 1 and row[width] != "" for _, row in rows):
        raise ValueError(
            f"{path}: every row has {width + 1} values, and the header {width} names; if the first column holds row "
            "names, as R writes them, write the file with row.names = FALSE, otherwise name the last column"
        )
    bad = [(line, row) for line, row in rows if any(cell != "" for cell in row[width:]) or len(row) < width]
    if bad:
        line, row = bad[0]
        others = f" (also wrong: line{'s' * (len(bad) > 2)} {_lines([at for at, _ in bad[1:]])})" if bad[1:] else ""
        raise ValueError(f"{path}, line {line}: {_what_is_wrong(row, width, first)}{others}")
    for line, row in rows:
        if row[:width] == header:
            raise ValueError(f"{path}, line {line} repeats the header; remove it (were several files joined?)")
    if not rows:
        raise ValueError(f"{path} has no rows below its header line; a table needs a header and data")
    return {name: [row[j] for _, row in rows] for j, name in enumerate(header) if name}


def _lines(numbers: list[int], most: int = 4) -> str:
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return ", ".join(map(str, numbers[:most])) + more


def _what_is_wrong(row: list[Any], width: int, first: int) -> str:
    count = f"{len(row)} value{'s' * (len(row) > 1)} for {width} columns"
    if sum(cell != "" for cell in row) == 1:
        return f"{count}; if {shown(next(cell for cell in row if cell != ''))} is a comment or a footnote, remove it"
    return (
        f"{count}; give each row one value for every name in line {first}, and put quotes around values that hold the "
        "delimiter"
    )


def _check_header(path: Path, header: list[str], rows: Lines, asked: Asked) -> None:
    """Raise ValueError for a header that is missing, has a single column or repeats a name. Cuts empty names off."""
    below = rows[0][1] if rows else []
    widest = max((sum(cell != "" for cell in row) for _, row in rows[:5]), default=0)
    if sum(map(bool, header)) == 1 < widest or (header[0].startswith("#") and len(header) < len(below)):
        raise ValueError(
            f"{path}: the first line is {shown(' '.join(filter(None, header)))}, and the lines below have "
            f"{len(below)} columns; remove comments and titles above the line with the names of the columns"
        )
    while (
        header and not header[-1] and not any(row[len(header) - 1 :] and row[len(header) - 1] != "" for _, row in rows)
    ):
        header.pop()
    if len(header) == 1 and not asked.single:
        mark = repr(asked.delimiter) if asked.delimiter else "a comma, semicolon, tab or |"
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

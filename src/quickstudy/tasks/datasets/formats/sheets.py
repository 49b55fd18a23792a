"""Excel workbooks and Parquet files, whose cells have types."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quickstudy.extras import missing_package
from quickstudy.tasks.datasets.formats.header import Asked, Lines, columns_below


def read_excel(path: Path, content: bytes, asked: Asked, sheet: str | None) -> dict[str, list[Any]]:
    """The columns of a sheet with a header row; formulas have the values that Excel saved.

    Args:
        path: the file, for messages.
        content: the workbook.
        asked: what the user says about the file.
        sheet: name of the sheet, or its number from 1 on; by default the only one that holds values.

    Raises:
        ModuleNotFoundError: without openpyxl.
        ValueError: for a damaged workbook, an unknown sheet, several sheets to choose from, and a table as of
            `columns_below`.
    """
    try:
        from openpyxl import load_workbook
    except ModuleNotFoundError as error:
        raise missing_package("openpyxl", "files", f"{path} is an Excel workbook; reading it needs openpyxl") from error
    try:
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        sheets = {each.title: _lines(each) for each in book.worksheets}
    except Exception as error:  # openpyxl raises errors of many kinds
        raise ValueError(f"{path} cannot be read as an Excel workbook ({error}); save it again, or as CSV") from None
    return columns_below(path, sheets[_chosen(path, sheets, sheet)], asked)


def read_parquet(path: Path, content: bytes) -> dict[str, list[Any]]:
    """The columns of a Parquet file.

    Raises:
        ModuleNotFoundError: without pyarrow.
        ValueError: for a damaged file, and one that repeats a name or has no rows.
    """
    try:
        from pyarrow import ArrowException, BufferReader
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError as error:
        raise missing_package("pyarrow", "files", f"{path} is a Parquet file; reading it needs pyarrow") from error
    try:
        table = ParquetFile(BufferReader(content)).read()
    except (ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as a Parquet file ({error}); write it again") from None
    repeated = [name for name in table.column_names if table.column_names.count(name) > 1]
    if repeated:
        raise ValueError(f"{path} has two columns called {repeated[0]!r}; rename one")
    if not table.num_rows:
        raise ValueError(f"{path} has no rows")
    found: dict[str, list[Any]] = table.to_pydict()
    return found


def _lines(sheet: Any) -> Lines:
    """The rows of a sheet that hold a value, without empty columns at the left and at the right of them."""
    rows = [(number, [_plain(cell) for cell in row]) for number, row in enumerate(sheet.iter_rows(values_only=True), 1)]
    rows = [(number, row) for number, row in rows if any(cell != "" for cell in row)]
    used = [j for _, row in rows for j, cell in enumerate(row) if cell != ""]
    return [(number, row[min(used) : max(used) + 1]) for number, row in rows]


def _plain(cell: Any) -> Any:
    clean: Callable[[str], str] = str.strip
    return "" if cell is None else clean(cell) if isinstance(cell, str) else cell


def _chosen(path: Path, sheets: dict[str, Lines], sheet: str | None) -> str:
    filled = [name for name, lines in sheets.items() if lines]
    if sheet is None:
        if len(filled) > 1:
            raise ValueError(
                f"{path} has {len(filled)} sheets with values ({', '.join(filled)}); choose one: sheet={filled[0]!r}"
            )
        return filled[0] if filled else next(iter(sheets))
    if sheet in sheets:
        return sheet
    if sheet.isdecimal() and 1 <= int(sheet) <= len(sheets):
        return list(sheets)[int(sheet) - 1]
    raise ValueError(f"{path} has no sheet={sheet!r}; it has {', '.join(sheets)}")

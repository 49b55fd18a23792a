"""Tables on the terminal."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from rich import box, table
from rich.console import Console
from rich.text import Text

from quickstudy.report.tables import Table, notes, tables
from quickstudy.report.verdicts import verdicts

GAP = 2  # characters between columns


def show_tables(
    metrics: Mapping[str, Any],
    console: Console | None = None,
    *,
    recipe: str = "",
    steps: Mapping[str, Collection[int]] | None = None,
) -> None:
    """Print one table for each metric, then who is behind a plain rival, and the meaning of K, ± and bold.

    A table that is wider than the window is printed in pieces, each with some of its columns.

    Args:
        metrics: the measured values, by name.
        console: the console to print on; by default stdout.
        recipe: the recipe that was measured; see `quickstudy.report.tables.notes`.
        steps: numbers of gradient steps to show; see `quickstudy.report.tables.tables`.
    """
    console = console or Console(highlight=False)
    if not console.is_terminal:  # there is no window that could be too narrow
        console.width = 120
    shown = tables({"": metrics}, steps=steps)
    for content in shown:
        for columns in _pieces(content, console.width):
            console.print(_piece(content, columns))
            console.print()
    for note in [*verdicts({"": metrics}), *notes(shown, recipe)]:
        console.print(note, markup=False, soft_wrap=True)
    if shown:
        console.print()


def _pieces(content: Table, width: int) -> Iterator[list[int]]:
    """Yield the columns that fit side by side, by number, without the first one, which every piece repeats."""
    sizes = [GAP + max(map(len, cells)) for cells in zip(content.header, *content.rows, strict=True)]
    columns: list[int] = []
    for j in range(1, len(sizes)):
        if columns and sizes[0] + sum(sizes[c] for c in columns) + sizes[j] > width:
            yield columns
            columns = []
        columns.append(j)
    yield columns


def _piece(content: Table, columns: list[int]) -> table.Table:
    """Return the first column of a table and the given ones, with the best value of each in bold."""
    title = Text(content.title if columns[:1] in ([], [1]) else f"{content.title}, continued", style="bold")
    drawn = table.Table(title=title, title_justify="left", header_style="", box=box.SIMPLE_HEAD, show_edge=False)
    for j in (0, *columns):
        drawn.add_column(Text(content.header[j]), justify="right" if j else "left", overflow="fold")
    for i, row in enumerate(content.rows):
        drawn.add_row(*(Text(row[j], style="bold" if (i, j) in content.best else "") for j in (0, *columns)))
    return drawn

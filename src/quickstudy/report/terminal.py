"""Tables on the terminal."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from quickstudy.report.tables import tables


def show_tables(metrics: Mapping[str, Any], console: Console | None = None) -> None:
    """Print one table for every metric, the best of each column in bold."""
    console = console or Console(highlight=False)
    if not console.is_terminal:  # nobody's window is too narrow
        console.width = 120
    for content in tables({"": metrics}):
        table = Table(
            title=content.title,
            title_justify="left",
            title_style="bold",
            header_style="",
            box=box.SIMPLE_HEAD,
            show_edge=False,
        )
        for j, name in enumerate(content.header):
            table.add_column(name, justify="right" if j else "left", no_wrap=True)
        for i, row in enumerate(content.rows):
            table.add_row(*(f"[bold]{cell}[/bold]" if (i, j) in content.best else cell for j, cell in enumerate(row)))
        console.print(table)
        console.print()

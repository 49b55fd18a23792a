"""A table that fits a screen: values with intervals, the best of a column in bold where it is clearly the best."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from quickstudy.report.tables import cell, number
from results_pages.record import Value

Better = Literal["lower", "higher"]
BOLD = "Bold: the best of its column, where its interval touches no other; bounds and published figures do not count."


class Row(NamedTuple):
    """A label and its cells; a row that does not compete is left out of bold: a bound, or a published figure."""

    label: str
    cells: Sequence[Value | str | None]
    competes: bool = True


class Table(NamedTuple):
    """What to show.

    Args:
        header: of the columns, the first for the labels.
        rows: in the order in which they are shown.
        better: which values of each column win; None where nothing does.
        note: what the numbers are: metric, unit, direction, what an interval is over, what K is.
    """

    header: Sequence[str]
    rows: Sequence[Row]
    better: Sequence[Better | None]
    note: str

    def markdown(self) -> str:
        """With the note below."""
        best = {(i, j) for j in range(len(self.better)) for i in self._best(j)}
        lines = [
            [row.label, *(_shown(value, (i, j) in best) for j, value in enumerate(row.cells))]
            for i, row in enumerate(self.rows)
        ]
        head = [list(self.header), [":--", *["--:"] * (len(self.header) - 1)]]
        bold = f" {BOLD}" if any(self.better) else ""
        return "\n".join(f"| {' | '.join(line)} |" for line in (*head, *lines)) + f"\n\n{self.note}{bold}\n"

    def _best(self, column: int) -> Iterator[int]:
        """The place of the row that is clearly the best, if one is."""
        better = self.better[column]
        rivals = [
            (value.mean if better == "lower" else -value.mean, value.ci95, i)
            for i, row in enumerate(self.rows)
            if better and row.competes and isinstance(value := row.cells[column], Value) and math.isfinite(value.mean)
        ]
        rivals.sort()
        if len(rivals) > 1 and all(rivals[0][0] + rivals[0][1] < mean - ci95 for mean, ci95, _ in rivals[1:]):
            yield rivals[0][2]


def shown(value: Value) -> str:
    """`mean ± ci95`, or "not finite"."""
    return cell(value.mean, value.ci95)


def times(above: Value | float, below: Value | float) -> str:
    """How many times `below` the other is, such as "6.5" or "27"."""
    ratio = _mean(above) / _mean(below)
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}"


def quoted(value: Value) -> str:
    """The same in the digits of its source."""
    return f"{value.mean:g}" if math.isnan(value.ci95) else f"{value.mean:g} ± {value.ci95:g}"


def plain(value: float) -> str:
    """A number without an interval."""
    return number(value)


def apart(one: Value, other: Value) -> bool:
    """Whether the intervals of two values do not touch."""
    return abs(one.mean - other.mean) > one.ci95 + other.ci95


def _mean(value: Value | float) -> float:
    return value.mean if isinstance(value, Value) else value


def _shown(value: Value | str | None, best: bool) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else shown(value)
    return f"**{text}**" if best else text

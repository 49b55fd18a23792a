"""How a column of inputs is read as numbers: numbers, dates, durations, or categories."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

from quickstudy.tasks.datasets.cells import is_missing, is_unnamed, number
from quickstudy.tasks.datasets.dates import duration, moment, unclear, written
from quickstudy.tasks.datasets.faults import read_cells

Kind = Literal["number", "date", "duration", "category"]


class Reading(NamedTuple):
    """What the user says about the columns of inputs.

    Args:
        categories: columns that hold categories, though they may be written as numbers.
        date_format: how dates are written, as of `datetime.strptime`, where not as ISO 8601.
        dates: "calendar" counts days since 1970-01-01, "elapsed" days since the first date of the group.
    """

    categories: tuple[str, ...] = ()
    date_format: str | None = None
    dates: str = "calendar"


class Input(NamedTuple):
    """One column of inputs, and how its cells are read as numbers.

    Dates count as days since 1970-01-01 (in UTC, if they have time zones), or with `elapsed` since the first date of
    their group; durations count as days. Categories become a column of 0 and 1 for each level but the first.

    Args:
        name: the column.
        kind: what it holds.
        levels: of categories, in natural order; the first has 0 in all columns.
        said: whether the user named it as one of categories, so that a word such as "none" is one of them.
        form: how dates are written, as of `datetime.strptime`; None for ISO 8601.
        timed, zoned: whether dates have a time of day, and a time zone.
        elapsed: whether dates count from the first of their group.
        fill: what stands for a missing value, which then has 1 in a column of its own; None where none was missing.

    >>> Input("arm", "category", levels=("placebo", "drug")).columns
    ('arm=drug',)
    """

    name: str
    kind: Kind = "number"
    levels: tuple[str, ...] = ()
    said: bool = False
    form: str | None = None
    timed: bool = False
    zoned: bool = False
    elapsed: bool = False
    fill: float | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The record whose fields were written as JSON."""
        return cls(**{**values, "levels": tuple(values["levels"])})

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of numbers that it becomes."""
        own = tuple(f"{self.name}={level}" for level in self.levels[1:]) if self.kind == "category" else (self.name,)
        return own if self.fill is None else (*own, f"{self.name} missing")

    @property
    def calendar(self) -> bool:
        """Whether its numbers are dates, as days since 1970-01-01."""
        return self.kind == "date" and not self.elapsed

    @property
    def unit(self) -> str:
        """What its numbers count, for labels; empty for numbers in the units of the table."""
        if self.kind == "duration":
            return "days"
        if self.kind == "date":
            return "days since the first date of the group" if self.elapsed else "days since 1970-01-01"
        return ""

    def read(
        self, cells: Sequence[Any], rows: Sequence[int], first: Sequence[float] | None = None
    ) -> list[list[float]]:
        """The columns of numbers, for some rows.

        Args:
            cells: the column of the table.
            rows: the rows to read.
            first: of each of these rows, the first date of its group, from which elapsed days count.

        Raises:
            ValueError: at the first cell that cannot be read; the message names the row and says what to do.
        """
        lost = [self.missing(cells[i]) for i in rows]
        if self.fill is None and any(lost):
            raise ValueError(f"row {rows[lost.index(True)] + 1} has no value in column {self.name!r}; fill it in")
        if self.kind == "category":
            own = self._indicators(cells, rows, lost)
        else:
            known: dict[str, float] = {}  # text is read once, as dates take time
            given = [i for i, gone in zip(rows, lost, strict=True) if not gone]
            own_values = iter(read_cells(self.name, cells, given, lambda cell: self._number(cell, known)))
            values = [math.nan if gone else next(own_values) for gone in lost]
            if self.elapsed and first is not None:
                values = [value - start for value, start in zip(values, first, strict=True)]
            own = [[self.fill or 0.0 if gone else v for v, gone in zip(values, lost, strict=True)]]
        return own if self.fill is None else [*own, [float(gone) for gone in lost]]

    def missing(self, cell: Any) -> bool:
        """Whether a cell has no value."""
        return is_unnamed(cell) if self.said else is_missing(cell)

    def text(self, days: float) -> str:
        """A number as it is written in the table: as a date, a duration or a number."""
        if self.kind == "number":
            return f"{days:.10g}"
        if self.kind == "date":
            return written(days, timed=self.timed, zoned=self.zoned, form=self.form)
        whole, rest = divmod(round(days * 86_400), 86_400)
        return f"{whole} days {rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"

    def _indicators(self, cells: Sequence[Any], rows: Sequence[int], lost: Sequence[bool]) -> list[list[float]]:
        place = {level: k for k, level in enumerate(self.levels)}

        def read(cell: Any) -> int:
            if label(cell) not in place:
                raise ValueError(
                    f"which was not in training (that had {listed(self.levels)}), so nothing is known about it; "
                    "correct it, or leave out these rows"
                )
            return place[label(cell)]

        given = [i for i, gone in zip(rows, lost, strict=True) if not gone]
        known = iter(read_cells(self.name, cells, given, read, hint=False))
        found = [0 if gone else next(known) for gone in lost]
        return [[float(k == own) for own in found] for k in range(1, len(self.levels))]

    def _number(self, cell: Any, known: dict[str, float]) -> float:
        if isinstance(cell, str) and cell in known:
            return known[cell]
        found = {"number": number, "duration": _as_duration}.get(self.kind, self._days)(cell)
        if isinstance(cell, str):
            known[cell] = found
        return found

    def _days(self, cell: Any) -> float:
        found = moment(cell, self.form)
        if found is None:
            raise ValueError(f"which is no date like those in other rows; {not_a_date(cell, self.form)}")
        if found.zoned != self.zoned:
            has, others = ("a time zone", "have none") if found.zoned else ("no time zone", "have one")
            raise ValueError(f"which has {has}, and dates in other rows {others}; write all of them alike")
        return found.days


def first_dates(one: Input, cells: Sequence[Any], labels: Sequence[Any]) -> dict[Any, float]:
    """The first date of each group, as days since 1970-01-01, over all rows with a group and a date."""
    rows = [i for i, cell in enumerate(cells) if not one.missing(cell) and not is_unnamed(labels[i])]
    first: dict[Any, float] = {}
    for i, days in zip(rows, one.read(cells, rows)[0], strict=True):
        first[labels[i]] = min(first.get(labels[i], math.inf), days)
    return first


def label(cell: Any) -> str:
    """A category as text; 1 and 1.0 are the same.

    >>> label(" drug "), label(1.0), label("1")
    ('drug', '1', '1')
    """
    return re.sub(r"(-?\d+)\.0+", r"\1", text) if re.fullmatch(r"-?\d+\.0+", text := str(cell).strip()) else text


def listed(levels: Sequence[str], most: int = 6) -> str:
    """Some of the levels, for a message."""
    more = f" and {len(levels) - most} more" if len(levels) > most else ""
    return ", ".join(levels[:most]) + more


def not_a_date(cell: Any, form: str | None) -> str:
    """What to do about a cell that is no date in the expected form."""
    if form is not None:
        return f"it does not fit date_format={form!r}; write all dates alike"
    if isinstance(cell, str) and unclear(cell):
        return "its day and month could be confused; write it as 2021-03-04, or pass date_format='%d/%m/%Y' or the like"
    return "write all of them as 2021-03-04 or 2021-03-04 16:30, or leave the cell empty if the date is missing"


def _as_duration(cell: Any) -> float:
    found = duration(cell)
    if found is None:
        raise ValueError("which is no duration like those in other rows; write all of them as '2 days 06:00:00'")
    return found

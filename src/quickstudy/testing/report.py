"""The report of a check, with one row for each property: as a table and as an error."""

import textwrap
from dataclasses import dataclass
from typing import Literal, NamedTuple

Outcome = Literal["passed", "failed", "skipped"]
WIDTH = 110


class Row(NamedTuple):
    """The outcome for one property.

    Args:
        property: name of the property.
        outcome: "passed", "failed" or "skipped".
        why: reason why it failed or was skipped; empty if it passed.
        seconds: duration of the check.
        error: the exception of a failure, with its traceback.
    """

    property: str
    outcome: Outcome
    why: str
    seconds: float
    error: Exception | None = None


@dataclass(frozen=True, repr=False)
class Report:
    """The outcome of every property that was checked, shown as a table.

    Args:
        subject: name of the class that was checked.
        rows: one row for each property, in the order in which they ran.
        not_run: number of properties that were not checked, as the class fails on simple data.

    >>> report = Report("Decay", (Row("equal seeds give equal tasks", "passed", "", 0.01),))
    >>> report.passed, report.failures
    (True, ())
    """

    subject: str
    rows: tuple[Row, ...]
    not_run: int = 0

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows of properties that do not hold."""
        return self._with("failed")

    @property
    def skipped(self) -> tuple[Row, ...]:
        """The rows of properties that do not apply, with the reason."""
        return self._with("skipped")

    @property
    def passed(self) -> bool:
        """Whether no property failed."""
        return not self.failures

    def __str__(self) -> str:
        wide = max((len(row.property) for row in self.rows), default=8)
        lines = [f"{self.subject}: {self._counts()}", "", f"{'property':{wide}}  outcome  seconds"]
        for row in self.rows:
            outcome = "FAILED" if row.outcome == "failed" else row.outcome
            lines.append(f"{row.property:{wide}}  {outcome:7}  {row.seconds:7.2f}")
        for rows, title in ((self.skipped, "skipped"), (self.failures, "FAILED")):
            for row in rows:
                lines += ["", f"{title}: {row.property}", *_wrapped(row.why, "    ")]
        if self.not_run:
            lines += ["", f"{self.not_run} other properties were not checked, as they need this one: fix it first."]
        return "\n".join(lines)

    __repr__ = __str__  # so that a notebook shows the table

    def raise_failures(self) -> None:
        """Raise ContractError if a property failed."""
        if self.failures:
            error = self.failures[0].error
            # the traceback of an assertion only shows the check; that of its cause shows the user's code
            raise ContractError(self) from error.__cause__ if isinstance(error, AssertionError) else error

    def _with(self, outcome: Outcome) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.outcome == outcome)

    def _counts(self) -> str:
        counts = {word: len(self._with(word)) for word in ("passed", "failed", "skipped")}
        seconds = sum(row.seconds for row in self.rows)
        return ", ".join(f"{n} {word}" for word, n in counts.items() if n) + f" in {seconds:.1f} s"


class ContractError(AssertionError):
    """A class violates its contract. The message lists all properties that fail; `report` has every row.

    Args:
        report: the report, with at least one failure.
    """

    def __init__(self, report: Report):
        self.report = report
        lines = [f"{report.subject} fails {len(report.failures)} of {len(report.rows) + report.not_run} properties:"]
        for row in report.failures:
            lines += [f"- {row.property}:", *_wrapped(row.why, "    ")]
        if report.not_run:
            lines.append(f"{report.not_run} others were not checked, as they need this one: fix it first.")
        super().__init__("\n".join(lines))


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False)

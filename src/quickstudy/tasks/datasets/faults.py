"""Several faults of a table in one message: the first few, and how many more there are."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from quickstudy.tasks.datasets.cells import first_row_hint, shown

Found = TypeVar("Found")
MOST = 3  # faults that are named


class Faults(ValueError):
    """One or several faults, each a sentence without a full stop; the message names the first three.

    >>> str(Faults(["column 'a' is empty", "column 'b' is empty"]))
    "column 'a' is empty; and column 'b' is empty"
    """

    def __init__(self, messages: Sequence[str]):
        self.messages = tuple(dict.fromkeys(messages))
        more = len(self.messages) - MOST
        super().__init__("; and ".join(self.messages[:MOST]) + (f"; and {more} more such faults" if more > 0 else ""))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (list(self.messages),)


def all_of(reads: Iterable[Callable[[], Found]]) -> list[Found]:
    """What each of several functions returns.

    Raises:
        Faults: if some raise ValueError, with the messages of all of these.
    """
    found: list[Found] = []
    messages: list[str] = []
    for read in reads:
        try:
            found.append(read())
        except ValueError as error:
            messages += error.messages if isinstance(error, Faults) else [str(error)]
    if messages:
        raise Faults(messages)
    return found


def read_cells(
    name: str, cells: Sequence[Any], rows: Sequence[int], read: Callable[[Any], Found], *, hint: bool = True
) -> list[Found]:
    """The cells of a column in `rows`, each by `read`.

    Args:
        name: the column.
        cells: all its cells.
        rows: the rows to read.
        read: reads a cell; its ValueError continues "column ... holds ... in row ..., ".
        hint: whether a word in the first row may be a unit, which the message then says.

    Raises:
        ValueError: if a cell cannot be read; the message names two more of them.
    """
    found: list[Found] = []
    first, others = "", []
    for i in rows:
        try:
            found.append(read(cells[i]))
        except ValueError as error:
            where = f"{shown(cells[i])} in row {i + 1}"
            if first:
                others.append(where)
            else:
                first = f"column {name!r} holds {where}, {error}{first_row_hint(cells[i], i) if hint else ''}"
            if len(others) == MOST:
                break
    if first:
        more = " and more" * (len(others) == MOST)
        raise ValueError(first + (f" (the same holds for {', '.join(others[: MOST - 1])}{more})" if others else ""))
    return found


def named(names: Sequence[Any]) -> str:
    """The first few names in quotes, for a message.

    >>> named(["a", "b"]), named(list("abcde"))
    ("'a', 'b'", "'a', 'b', 'c' and 2 more")
    """
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(map(shown, names[:MOST])) + more

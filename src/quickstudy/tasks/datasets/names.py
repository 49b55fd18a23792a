"""Names of groups: their order, and the rows of each."""

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from quickstudy.tasks.datasets.cells import shown


def group_rows(labels: Sequence[Any], task: str, short: str) -> dict[Any, list[int]]:
    """The indices of each label in `labels`, in the order in which the labels first appear.

    Raises:
        ValueError: for a label with a single row, unless `short="drop"`, and for two labels with the same text.
    """
    if short not in ("error", "drop"):
        raise ValueError(f"short={short!r}; choose 'error' or 'drop'")
    groups: dict[Any, list[int]] = {}
    for i, label in enumerate(labels):
        if getattr(type(label), "__hash__", None) is None:
            raise TypeError(f"column {task!r} holds {shown(label)}; expected names or numbers of groups")
        groups.setdefault(label, []).append(i)
    spelt: dict[str, Any] = {}
    for label in groups:
        other = spelt.setdefault(str(label), label)
        if other is not label:
            raise ValueError(
                f"column {task!r} holds both {other!r} ({type(other).__name__}) and {label!r} "
                f"({type(label).__name__}); write the names of groups in one way"
            )
    _warn_of_alike(task, spelt)
    single = [label for label, places in groups.items() if len(places) < 2]
    if single and short == "error":
        what = f"check that column {task!r} names the group of each row, or " if len(single) > len(groups) / 2 else ""
        raise ValueError(
            f"group {shown(single[0])} has a single row ({len(single)} such groups in all), and every group needs two: "
            f"one for the support set and one for the query set; {what}pass short='drop' to leave them out"
        )
    return {label: places for label, places in groups.items() if len(places) > 1}


def plain(name: Any) -> str:
    """A name without case, white space at its ends, zeros in front of numbers, and a decimal point.

    >>> plain(" P01 "), plain(7.0)
    ('p1', '7')
    """
    text = " ".join(str(name).split()).casefold()
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"(?<=\d)\.0+$", "", text))


def alike(names: Iterable[Any]) -> list[tuple[Any, Any]]:
    """Pairs of different names that are the same in plain writing, as "P1" and "p1 "; each with the first such name."""
    first: dict[str, Any] = {}
    pairs = ((first.setdefault(plain(name), name), name) for name in names)
    return [(one, other) for one, other in pairs if str(one) != str(other)]


def _warn_of_alike(task: str, names: Iterable[str]) -> None:
    """Warn of names that differ only in case, white space, zeros in front or a decimal point."""
    pairs = alike(names)
    if pairs:
        first, second = pairs[0]
        more = f" ({len(pairs)} such pairs)" if len(pairs) > 1 else ""
        warnings.warn(
            f"column {task!r} holds both {first!r} and {second!r}, which are read as two groups{more}; if they are "
            "one, write the name in one way",
            RuntimeWarning,
            stacklevel=4,
        )


def natural(name: Any) -> tuple[Any, ...]:
    """A key that sorts names with their numbers by size.

    >>> sorted(["p10", "p2", 7], key=natural)
    [7, 'p2', 'p10']
    """
    parts = re.split(r"([0-9]+)", str(name))
    return tuple((len(p.lstrip("0")), p.lstrip("0")) if i % 2 else p.casefold() for i, p in enumerate(parts)), str(name)

"""What a column of inputs holds, found from its cells."""

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from quickstudy.tasks.datasets.cells import first_row_hint, is_missing, is_number, is_unnamed, is_word, shown
from quickstudy.tasks.datasets.dates import duration, moment, unclear
from quickstudy.tasks.datasets.faults import all_of
from quickstudy.tasks.datasets.inputs import Input, Kind, Reading, label, listed, not_a_date
from quickstudy.tasks.datasets.names import natural

MOST_LEVELS = 20  # more categories of one column are an error: each becomes an input of its own


def infer(
    columns: Mapping[str, Sequence[Any]], names: Sequence[str], rows: Sequence[int], said: Reading
) -> list[Input]:
    """How each of the columns `names` is read, from its cells in `rows` and from what the user says.

    Raises:
        ValueError: for categories that are no inputs, too many categories, a category as the first of several inputs,
            and dates whose day and month cannot be told apart.
    """
    for name in said.categories:
        if name not in names:
            raise ValueError(f"categories={name!r} is no input; name it in x=, too (x={list(names)})")
    if said.dates not in ("calendar", "elapsed"):
        raise ValueError(f"dates={said.dates!r}; choose 'calendar' or 'elapsed'")
    found = all_of(partial(_inferred, name, columns[name], rows, said) for name in names)
    line = next((each.name for each in found if each.kind != "category"), None)
    if found[0].kind == "category" and line is not None:
        raise ValueError(
            f"the first input, {names[0]!r}, holds categories, and the first input orders the rows of a group; name it "
            f"after the others: x={[line, *(name for name in names if name != line)]}"
        )
    return found


def _inferred(name: str, cells: Sequence[Any], given: Sequence[int], said: Reading) -> Input:
    """How one column is read, from its cells in the rows `given`; missing ones have the mean of the others."""
    named = name in said.categories
    rows = [i for i in given if not (is_unnamed if named else is_missing)(cells[i])]
    if not rows:
        raise ValueError(f"column {name!r} has no values; leave it out of x=")
    kind = "category" if named else _kind(name, cells, rows, said.date_format)
    gaps = len(rows) < len(given)
    if kind == "category":
        levels = _levels(name, [label(cells[i]) for i in rows])
        return Input(name, "category", levels, said=named, fill=0.0 if gaps else None)
    if kind == "number" and said.date_format is None:
        _warn_of_digits(name, [cells[i] for i in rows])
    found = Input(name, kind)
    if kind == "date":
        form = said.date_format
        dates = [at for i in rows if (at := moment(cells[i], form)) is not None]
        timed, zoned = any(at.timed for at in dates), 2 * sum(at.zoned for at in dates) > len(dates)
        found = Input(name, "date", form=form, timed=timed, zoned=zoned, elapsed=said.dates == "elapsed")
    if gaps and found.elapsed:
        raise ValueError(f"column {name!r} lacks dates, which cannot be filled in; pass missing='drop'")
    return found._replace(fill=fmean(found.read(cells, rows)[0])) if gaps else found


def _kind(name: str, cells: Sequence[Any], rows: Sequence[int], form: str | None) -> Kind:
    """What most cells of a column hold. Raises ValueError for unclear dates, and words mixed with other cells."""
    cells_of_text = {cell: _kind_of_cell(cell, form) for cell in {cells[i] for i in rows if isinstance(cells[i], str)}}
    kinds = [cells_of_text[cells[i]] if isinstance(cells[i], str) else _kind_of_cell(cells[i], form) for i in rows]
    families = Counter({kind: 0 for kind in ("number", "date", "duration", "category")})
    families.update({"unclear": "date"}.get(kind, kind) for kind in kinds)
    most: Any = max(families, key=lambda kind: families[kind])
    if most == "date" and "unclear" in kinds:
        i = rows[kinds.index("unclear")]
        raise ValueError(
            f"column {name!r} holds {shown(cells[i])} in row {i + 1}, a date, but {not_a_date(cells[i], form)}"
        )
    if most == "category" and families["category"] < len(rows):
        i = rows[next(k for k, kind in enumerate(kinds) if kind != "category")]
        raise ValueError(
            f"column {name!r} holds {shown(cells[i])} in row {i + 1}, and words in other rows; correct the cell, or if "
            f"all of them are categories, pass categories={name!r}{first_row_hint(cells[i], i)}"
        )
    return most


def _kind_of_cell(cell: Any, form: str | None) -> str:
    """The kind of a cell that is not missing; "unclear" for dates that can be read in several ways."""
    if form is not None and isinstance(cell, str) and moment(cell, form) is not None:
        return "date"
    if is_number(cell):
        return "number"
    if moment(cell) is not None:  # with another form, reading it fails, and says so
        return "date"
    if duration(cell) is not None:
        return "duration"
    if not isinstance(cell, str):
        return "number"  # reading it fails, and says why
    return "unclear" if unclear(cell) else "category" if is_word(cell) else "number"


def _levels(name: str, labels: Sequence[str]) -> tuple[str, ...]:
    found = tuple(sorted(set(labels), key=natural))
    if len(found) > MOST_LEVELS:
        raise ValueError(
            f"column {name!r} has {len(found)} different words ({listed(found, 3)}), and each would be an input of its "
            f"own; expected at most {MOST_LEVELS}: merge the rare ones, or leave this column out of x="
        )
    if len(found) < 2:
        raise ValueError(
            f"column {name!r} holds {shown(found[0])} in all rows, so it tells nothing; leave it out of x="
        )
    spelt: dict[str, str] = {}
    for level in found:
        other = spelt.setdefault(level.casefold(), level)
        if other != level:
            warnings.warn(
                f"column {name!r} holds both {other!r} and {level!r}, which are read as different categories; if "
                "they are the same, write them alike",
                RuntimeWarning,
                stacklevel=2,
            )
    return found


def _warn_of_digits(name: str, cells: Sequence[Any]) -> None:
    """Warn of numbers that look like dates, as 20210304."""
    texts = {label(cell) for cell in cells}
    if len(texts) > 2 and all(re.fullmatch(r"(19|20)\d{6}", t) and moment(t, "%Y%m%d") for t in texts):
        warnings.warn(
            f"column {name!r} is read as numbers, and all of them look like dates, such as {min(texts)}; if they are, "
            "pass date_format='%Y%m%d'",
            RuntimeWarning,
            stacklevel=2,
        )

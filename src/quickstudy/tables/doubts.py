"""What looks like a mistake in a table that can be read."""

import math
from itertools import pairwise

import torch
from torch import Tensor

from quickstudy.tasks.datasets.columns import GroupedRows
from quickstudy.tasks.datasets.inputs import Input

FAR = 50.0  # times as large or as small as all others; groups of 28 real tables differ by 2 from their neighbours
FEWEST = 4  # groups, of which one may be far from the others
LISTED = 5  # most names of groups in a message


def doubts(rows: GroupedRows) -> list[str]:
    """Sentences about what looks like a mistake.

    That are inputs that never vary, codes for missing values such as -999, groups in other units, categories of a
    single group, and a file that was joined to itself.
    """
    found = []
    for name, column in zip((*rows.x, *rows.y), torch.cat(list(rows.rows)).T, strict=True):
        if bool((column == column[0]).all()):
            found.append(f"column {name!r} has the value {float(column[0]):g} in all rows, so it tells nothing")
        code = code_for_missing(column)
        if code is not None:
            count = int((column == code).sum())
            found.append(
                f"column {name!r} holds {code:g} in {count} row{'s' * (count > 1)}, far from its other values; if it "
                "stands for a missing value, leave these cells empty"
            )
    found += other_units(rows)
    found += [doubt for each in rows.inputs if each.kind == "category" for doubt in rare_levels(each, rows)]
    if all(int(own.unique(dim=0, return_counts=True)[1].min()) > 1 for own in rows.rows):
        found.append("every row occurs twice or more; if files were joined twice, remove the copies")
    return found


def other_units(rows: GroupedRows) -> list[str]:
    """Sentences about groups whose outcomes are 50 times as large or as small as those of all others, or more.

    The size of a group is the median of its |y|. At most a third of the groups may be far; of outcomes with both signs,
    only large ones are, as others may cancel.
    """
    found = []
    for d, name in enumerate(rows.y):
        values = [own[:, len(rows.x) + d] for own in rows.rows]
        sizes = {label: float(own.abs().median()) for label, own in zip(rows.names, values, strict=True)}
        order = sorted((label for label in sizes if sizes[label] > 0), key=sizes.__getitem__)
        if len(order) < FEWEST:
            continue
        steps = [math.log(sizes[b] / sizes[a]) for a, b in pairwise(order)]
        at = 1 + max(range(len(steps)), key=steps.__getitem__)
        small = 2 * at < len(order)
        far, near = (order[:at], order[at:]) if small else (order[at:], order[:at])
        signed = len({bool(own.amax() > 0) for own in values}) > 1 or any(bool((own < 0).any()) for own in values)
        if steps[at - 1] < math.log(FAR) or 3 * len(far) > len(order) or (small and signed):
            continue
        named = [str(label) for label in rows.names if label in far]
        listed = ", ".join(named[:LISTED]) + ", ..." * (len(far) > LISTED)
        found.append(
            f"{name!r} of {'groups' if len(far) > 1 else 'group'} {listed} is about {sizes[far[0]]:.3g}, far from all "
            f"other groups, of which it is {sizes[near[0]]:.3g} to {sizes[near[-1]]:.3g}; if the units differ, convert "
            "them"
        )
    return found


def rare_levels(one: Input, rows: GroupedRows) -> list[str]:
    """Sentences about categories of an input that occur in a single group."""
    places = [rows.x.index(f"{one.name}={level}") for level in one.levels[1:]]
    own = [each[:, places] for each in rows.rows]
    counts = [sum(bool((each == 0).all(1).any()) for each in own)]
    counts += [sum(bool(each[:, k].any()) for each in own) for k in range(len(places))]
    return [
        f"{one.name} is {level!r} in one group only, so what it does cannot be told from that group; merge it with "
        "others"
        for level, count in zip(one.levels, counts, strict=True)
        if count == 1
    ]


def code_for_missing(column: Tensor) -> float | None:
    """A number such as -999 that lies farther from the other values than these lie apart; None if there is none.

    >>> code_for_missing(torch.tensor([1.0, 3.0, -999.0])), code_for_missing(torch.tensor([1.0, 3.0, 2.0]))
    (-999.0, None)
    """
    for code in (float(sign * int("9" * digits)) for digits in (2, 3, 4, 5) for sign in (-1, 1)):
        rest = column[column != code]
        if len(rest) and len(rest) < len(column):
            low, high = float(rest.min()), float(rest.max())
            if max(low - code, code - high) > 3 * max(high - low, abs(low), abs(high)):
                return code
    return None

"""Large grids of cases: a third of each in `make test`, all of it in `make test-slow`."""

from collections import defaultdict
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SMALL = 12  # grids of so few cases run whole
SHARE = 3


@pytest.hookimpl(tryfirst=True)  # before those that are marked slow are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark two of three cases of each large grid as slow.

    A grid has several axes, such as kinds of networks and engines. The cases that stay lie on diagonals: each value of
    each axis meets a third of the values of every other one.
    """
    grids: dict[str, list[pytest.Function]] = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and HERE in item.path.parents:
            grids[item.nodeid.partition("[")[0]].append(item)
    for grid in grids.values():
        axes = list(zip(*(item.callspec._idlist for item in grid), strict=True))
        if len(axes) < 2 or len(grid) <= SMALL:
            continue
        places = [{value: place for place, value in enumerate(dict.fromkeys(axis))} for axis in axes]
        for item in grid:
            if sum(place[value] for place, value in zip(places, item.callspec._idlist, strict=True)) % SHARE:
                item.add_marker(pytest.mark.slow)

"""Tests that ask for more than the inner loop can do yet: known_gaps.txt names them; they run, and may fail."""

from pathlib import Path

import pytest

GAPS = frozenset((Path(__file__).parent / "known_gaps.txt").read_text().splitlines())


def pytest_collection_modifyitems(items):
    for item in items:
        if item.nodeid in GAPS:
            item.add_marker(pytest.mark.xfail(reason="a known gap", strict=False))

"""Recipes run small here; so does the tuning of a rival's adaptation, which has tests of its own."""

from collections.abc import Iterator
from functools import partial

import pytest

import quickstudy as qs


@pytest.fixture(scope="session", autouse=True)
def short_tuning() -> Iterator[None]:
    """A few steps on a few tasks, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qs, "tune_adaptation", partial(qs.tune_adaptation, steps=(0, 1, 2, 5), tasks=8))
        yield

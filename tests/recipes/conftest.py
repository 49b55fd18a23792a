"""Make the tuning of a rival's adaptation short; it has its own tests."""

from collections.abc import Iterator
from functools import partial

import pytest

import quickstudy as qs


@pytest.fixture(scope="session", autouse=True)
def short_tuning() -> Iterator[None]:
    """Tune over a few numbers of steps on a few tasks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qs, "tune_adaptation", partial(qs.tune_adaptation, steps=(0, 1, 2, 5), tasks=8))
        yield

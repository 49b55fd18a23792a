"""Make figures and the tuning of a rival's adaptation cheap; both have their own tests."""

from collections.abc import Iterator
from functools import partial

import pytest

import quickstudy as qs


@pytest.fixture(scope="module", autouse=True)
def small_figures(quick_figures: None) -> None:
    """Draw all figures of recipes small; tests/report has the tests of figures."""


@pytest.fixture(scope="session", autouse=True)
def short_tuning() -> Iterator[None]:
    """Tune over a few numbers of steps on a few tasks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qs, "tune_adaptation", partial(qs.tune_adaptation, steps=(0, 1, 2, 5), tasks=8))
        yield

"""Make cheap what recipes do besides their experiment: figures, validation, tuning and timing have their own tests."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def small_runs(quick_figures: None, few_validation_tasks: None, short_measurements: None) -> None:
    """Draw all figures of recipes small, validate on few tasks, and measure shortly."""

"""A table of people whose reaction times follow lines of their own."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest


class People(NamedTuple):
    X: pd.DataFrame
    y: pd.Series
    groups: pd.Series


def people(count: int = 12, rows: int = 6, seed: int = 0) -> People:
    """Lines with random intercepts and slopes, in mixed order of rows, with an index that is no range."""
    chance = np.random.default_rng(seed)
    person = np.repeat(np.arange(count), rows)
    day = np.tile(np.arange(float(rows)), count)
    intercept, slope = chance.normal(250, 30, count), chance.normal(10, 4, count)
    y = intercept[person] + slope[person] * day + chance.normal(0, 3, count * rows)
    frame = pd.DataFrame({"day": day, "person": [f"p{i}" for i in person], "speed": y})
    frame.index = pd.Index(100 + 3 * np.arange(len(frame)), name="row")
    frame = frame.iloc[chance.permutation(len(frame))]
    return People(frame[["day"]], frame["speed"], frame["person"])


@pytest.fixture
def table() -> People:
    return people()

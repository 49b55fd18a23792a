"""Students who answer items: a logistic model with an intercept of each student."""

from typing import NamedTuple

import numpy as np
import pandas as pd

SPREAD, SLOPE = 1.5, 1.5


class Answers(NamedTuple):
    X: pd.DataFrame
    y: pd.Series
    groups: pd.Series


def students(count: int = 40, items: int = 12, seed: int = 0, spread: float = SPREAD) -> Answers:
    """Of each student answers to items of random difficulty, in mixed order of rows."""
    chance = np.random.default_rng(seed)
    student, item = np.repeat(np.arange(count), items), chance.normal(size=count * items)
    logit = spread * chance.normal(size=count)[student] - SLOPE * item
    answer = np.where(chance.random(len(item)) < 1 / (1 + np.exp(-logit)), "right", "wrong")
    frame = pd.DataFrame({"item": item, "student": [f"s{i}" for i in student], "answer": answer})
    frame = frame.set_index(pd.Index(5 + np.arange(len(frame)))).iloc[chance.permutation(len(frame))]
    return Answers(frame[["item"]], frame["answer"], frame["student"])


def exact(X: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The probability of a right answer at items `at`, given answers of one student, by quadrature over intercepts."""
    grid = np.linspace(-8, 8, 801)
    weights = np.exp(-((grid / SPREAD) ** 2) / 2)
    for item, answer in zip(X, y, strict=True):
        right = 1 / (1 + np.exp(-grid + SLOPE * item))
        weights = weights * (right if answer == "right" else 1 - right)
    return (weights / weights.sum()) @ (1 / (1 + np.exp(-grid[:, None] + SLOPE * at)))

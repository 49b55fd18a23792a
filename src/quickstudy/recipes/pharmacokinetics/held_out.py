"""Predictions for people who were left out, from their first samples, and their scores."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.data import Examples
from quickstudy.evaluation.scores import task_mean
from quickstudy.recipes.pharmacokinetics.rivals import Predict
from quickstudy.recipes.pharmacokinetics.studies import Study

LEVEL = 0.9  # of the intervals
SCORES = ("log_rmse", "log_likelihood", "coverage90")


class Person(NamedTuple):
    """A person who was left out.

    Args:
        samples: `[1, N]`, all samples, with the limit of the other people.
        asked: `[1, M]`, the samples to be predicted: those after the first ones, without concentrations of 0.
    """

    samples: Examples
    asked: Examples


def person(study: Study, place: int, after: int) -> Person:
    """The person at `place`, who is predicted from at most `after` samples on.

    Raises:
        ValueError: if nothing is left to predict.
    """
    others = [i for i in range(len(study.people)) if i != place]
    samples = study.examples([place], study.limit(others))
    late = torch.arange(samples.num_points) >= after
    keep = (late & study.real[place] & (study.concentration[place] > 0)).nonzero()[:, 0]
    if not len(keep):
        raise ValueError(
            f"{study.drug}: {study.people[place]} has no concentration above 0 after the first {after} samples, so "
            f"there is nothing to predict; give fewer than --seen {after}, or leave this person out of the file"
        )
    return Person(samples, Examples(samples.x[:, keep], samples.y[:, keep]))


def scores(left_out: Person, predict: Predict, seen: int) -> dict[str, float]:
    """Error, mean log density and coverage of the 90% interval, of logarithms of concentrations."""
    asked = left_out.asked
    belief: Any = predict(left_out.samples.first(seen), asked.x)
    interval = belief.interval(LEVEL)
    inside = (interval.lower <= asked.y) & (asked.y <= interval.upper)
    found = (
        (belief.mean - asked.y).square().mean().sqrt(),
        task_mean(belief.log_prob(asked.y), None),
        inside.double().mean(),
    )
    return dict(zip(SCORES, (float(value) for value in found), strict=True))


def of_person(study: Study, place: int, predicts: Mapping[str, Predict], seen: Sequence[int]) -> list[dict[str, Any]]:
    """A row for each learner and number of samples seen, before any sample included."""
    left_out = person(study, place, max(seen))
    return [
        {"drug": study.drug, "person": study.people[place], "K": count, "learner": name}
        | scores(left_out, predict, count)
        for name, predict in predicts.items()
        for count in (0, *sorted(seen))
    ]


def curve(left_out: Person, predict: Predict, seen: int, hours: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Median and ends of the 90% interval of the concentration itself at `hours [M]`, each `[M]`."""
    dose = left_out.samples.x[:, :1, 1:].expand(1, len(hours), 1)
    belief: Any = predict(left_out.samples.first(seen), torch.cat([hours.view(1, -1, 1), dose], 2))
    low, high = belief.interval(LEVEL)
    middle = belief.quantile(0.5)
    return tuple(part.flatten().exp() for part in (middle, low, high))

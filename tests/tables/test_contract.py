"""The learners of tables keep the contract of learners."""

from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.data import Tasks
from quickstudy.tables.calibrated import Calibrated
from quickstudy.tables.each_output import EachOutput
from quickstudy.tables.in_units import InUnits
from quickstudy.tables.on_residuals import OnResiduals
from quickstudy.tables.stack import Stack
from quickstudy.tasks.datasets.scaling import Scaling
from quickstudy.testing import check_learner

SCALING = Scaling(("x",), ("y",), torch.tensor([0.5, 1.0]).double(), torch.tensor([2.0, 3.0]).double()).to_json()
LEARNERS: dict[str, Any] = {
    "EachOutput": lambda: EachOutput({"a": qs.CNP(width=16), "b": qs.MixedModel()}),
    "InUnits": lambda: InUnits(qs.CNP(width=16), SCALING),
    "OnResiduals": lambda: OnResiduals(qs.CNP(width=16), qs.MixedModel()),
    "Stack": lambda: Stack({"a": qs.CNP(width=16), "b": qs.MixedModel()}, (0, 4), [[0.5, 0.5], [0.2, 0.8]]),
    "Calibrated": lambda: Calibrated(qs.MixedModel(), (0, 2, 5), [[1.0], [1.2], [2.0]]),
}


class TwoOutputs:
    """Sine waves, and the same upside down."""

    dx, dy = 1, 2

    def sample(self, num_tasks: int, **options: Any) -> Tasks:
        tasks = qs.tasks.Sinusoid().sample(num_tasks, **options)
        support, query = (part._replace(y=torch.cat([part.y, -part.y], 2)) for part in tasks[:2])
        return Tasks(support, query)


FAMILIES = {"EachOutput": TwoOutputs()}
EXCEPTIONS = {
    "InUnits": {"types follow the learner"},  # units need float64, whatever the learner inside computes in
}


@pytest.mark.parametrize("name", LEARNERS)
def test_learners_of_tables_keep_the_contract(name: str) -> None:
    report = check_learner(LEARNERS[name], family=FAMILIES.get(name), raises=False)
    assert {row.property for row in report.failures} <= EXCEPTIONS.get(name, set()), str(report)

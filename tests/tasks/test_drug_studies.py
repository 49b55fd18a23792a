"""Simulated studies: who shares a drug, how people differ, and the distribution of the errors."""

import math

import pytest
import scipy.stats
import torch

from quickstudy.tasks import DrugStudies


def test_people_of_a_study_share_a_drug(generator: torch.Generator) -> None:
    tasks = DrugStudies(people=200, between=0.2).sample(400, support=0, query=1, generator=generator)
    assert tasks.info["study"].tolist() == [0] * 200 + [1] * 200
    logs = tasks.info["clearance"].log().view(2, 200)
    assert logs.std(1).tolist() == pytest.approx([0.2, 0.2], rel=0.2)
    assert abs(float(logs.mean(1).diff())) > 0.1


def test_people_of_a_study_are_sampled_over_the_same_time(generator: torch.Generator) -> None:
    tasks = DrugStudies(people=5, last=4.0, half_life=3.0).sample(10, support=30, query=170, generator=generator)
    x = torch.cat([tasks.support.x, tasks.query.x], 1)
    assert float(x.min()) > 0.01 * 12 - 1e-6 and 11 < float(x.max()) < 12
    assert float((x < 3).float().mean()) == pytest.approx(
        0.5 / 0.9 - 0.1 / 0.9, abs=0.05
    )  # half of (0.1 + 0.9 u) < 0.5


@pytest.mark.parametrize("compartments", [1, 2])
@pytest.mark.parametrize("route", ["oral", "bolus"])
def test_errors_are_students(compartments: int, route: str, generator: torch.Generator) -> None:
    torch.set_default_dtype(torch.float64)
    family = DrugStudies(compartments=compartments, route=route, error=0.1, jitter=0.2)  # type: ignore[arg-type]
    tasks = family.sample(20, support=0, query=200, generator=generator)
    logs = torch.stack([tasks.info[name] for name in family.model.names], 1).log()
    level, slope = family.model.level_and_slope(logs, tasks.query.x.squeeze(2))
    white = (tasks.query.y.squeeze(2) - level) / (0.1**2 + (0.2 * slope).square()).sqrt()
    assert scipy.stats.kstest(white.flatten().numpy(), scipy.stats.t(5).cdf).pvalue > 1e-3


def test_typical_people_lie_in_the_ranges(generator: torch.Generator) -> None:
    tasks = DrugStudies(people=1, between=1e-6).sample(3000, support=0, query=1, generator=generator)
    half_life = math.log(2) * tasks.info["volume"] / tasks.info["clearance"]
    for values, (low, high) in (
        (half_life, (1, 24)),
        (tasks.info["volume"], (0.05, 10)),
        (tasks.info["absorption"], (0.3, 3)),
    ):
        share = (values.log() - math.log(low)) / math.log(high / low)
        assert scipy.stats.kstest(share.numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"people": 0}, "people=0"),
        ({"compartments": 3}, "compartments=3; expected 1 or 2"),
        ({"route": "skin"}, "route='skin'"),
        ({"between": 0.0}, r"between=0\.0"),
        ({"half_life": (3.0, 1.0)}, "half_life=.*low <= high"),
    ],
)
def test_bad_options(option: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        DrugStudies(**option)  # type: ignore[arg-type]

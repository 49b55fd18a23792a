"""Classes of somebody's own: right ones pass every property, and each wrong one is found, in words that help."""

import pytest
import torch
from testing import own_environment, own_family, own_learner

from quickstudy.testing import (
    ContractError,
    check_environment,
    check_family,
    check_learner,
    environment_checks,
    family_checks,
    learner_checks,
)

CHECKS = {own_learner: learner_checks, own_family: family_checks, own_environment: environment_checks}
WRONG = [(checks, *row) for module, checks in CHECKS.items() for row in module.WRONG]


def names(report):
    return {row.property for row in report.skipped}


def test_a_right_learner_passes():
    report = check_learner(own_learner.Kernel)
    assert names(report) == {
        "a linear rule gives the same on low rank weights",
        "a description rebuilds it",
        "training progress is accepted",
    }


def test_a_right_learner_needs_no_quantiles():
    assert "quantiles invert the distribution function" in names(check_learner(own_learner.Plain))


def test_right_families_pass():
    assert not check_family(own_family.Steady).skipped
    assert not check_family(lambda: own_family.Steady(noise=0.0)).skipped
    assert names(check_family(own_family.Decay)) == {"held out tasks do not depend on the numbers of points"}


def test_right_environments_pass():
    assert not check_environment(own_environment.Walk).skipped
    assert check_environment(own_environment.TwoGoals).passed
    report = check_environment(lambda: own_environment.LeftRight(num_envs=1, horizon=1))
    assert names(report) == {"actions beyond their bounds are clipped"}


@pytest.mark.parametrize(
    ("checks", "make", "broken", "words"), WRONG, ids=[f"{row[1].__name__}-{row[0].__name__}" for row in WRONG]
)
def test_a_wrong_class_is_found(checks, make, broken, words):
    [check] = [check for check in checks(make) if check.name == broken]
    with pytest.raises(AssertionError) as found:
        check()
    assert words.lower() in str(found.value).lower()


def test_there_are_ten_wrong_ones_of_each():
    assert all(len(module.WRONG) >= 10 for module in CHECKS)


@pytest.mark.parametrize(
    ("check", "make", "options"),
    [
        (check_learner, own_learner.Forgets, {"training_steps": 0, "many_points": 10}),
        (check_family, own_family.SplitIgnored, {}),
        (check_environment, own_environment.OneClock, {}),
    ],
)
def test_one_fault_is_one_failure(check, make, options):
    """Every other property is checked, and holds."""
    with pytest.raises(ContractError) as error:
        check(make, **options)
    report = error.value.report
    [failure] = report.failures
    assert len(report.rows) > 15 and not report.not_run
    assert str(error.value).startswith(
        f"{make.__name__} fails 1 of {len(report.rows)} properties:\n- {failure.property}"
    )
    assert failure.why.split()[0] in str(error.value)
    assert error.value.__cause__ is None  # a property does not hold; no exception is behind it


def labels(num_classes=3):
    chance = torch.Generator().manual_seed(0)
    from quickstudy.tasks import from_dataset

    sizes = (12, 20, 14, 31, 15, 18, 11)
    sets = [(torch.rand(n, 2, generator=chance), torch.randint(num_classes, (n,), generator=chance)) for n in sizes]
    return from_dataset(sets)


def test_class_labels_dropout_and_unequal_tasks_are_data_like_any_other():
    """Tasks of 11 points do for a support set of 1000: the rest is masked."""
    from torch import nn

    import quickstudy as qs

    def make():
        network = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
        return qs.MAML(network, lr=0.1, engine="loop")

    assert check_family(labels).passed
    report = check_learner(make, family=labels(), training_steps=0, many_points=50)
    assert "a description rebuilds it" in names(report)

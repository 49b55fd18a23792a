"""How checks run and what they report: names, skips, errors, and a world that is left as it was."""

import random
import subprocess
import sys
from pathlib import Path
from unittest import SkipTest

import numpy as np
import pytest
import torch
from testing.own_family import Decay, SplitIgnored
from testing.own_learner import Kernel, NoAdapt

import quickstudy as qs
from quickstudy.testing import (
    Check,
    ContractError,
    Report,
    Row,
    check_environment,
    check_family,
    check_learner,
    environment_checks,
    family_checks,
    learner_checks,
)

ROOT = Path(__file__).parents[2]
FAST = {"training_steps": 0, "many_points": 10}


def state():
    return (
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
        random.getstate(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
    )


@pytest.mark.parametrize(
    "check", [lambda: check_learner(Kernel, **FAST), lambda: check_family(SplitIgnored, raises=False)]
)
def test_the_world_is_as_it_was(check):
    before = state()
    check()
    assert state() == before


def test_a_caller_without_gradients_is_no_obstacle():
    with torch.inference_mode():
        assert check_learner(Kernel, **FAST).passed
        assert torch.is_inference_mode_enabled()


@pytest.mark.parametrize("checks", [learner_checks, family_checks, environment_checks])
def test_a_check_is_a_name_and_a_function(checks):
    found = checks(lambda: None)
    assert len({check.name for check in found}) == len(found) > 10
    for check in found:
        name, function = check
        assert isinstance(check, Check) and str(check) == name and callable(function)
        assert function.__doc__ and function.__name__.replace("_", " ") == name
        assert any(page in function.__doc__ for page in ("docs/design.md", "docs/your-own.md", "docs/acting.md"))


def test_a_property_may_be_left_out_with_a_reason():
    skip = {"splits share no task": "there is one split"}
    report = check_family(SplitIgnored, skip=skip)
    assert report.skipped[0][:3] == ("splits share no task", "skipped", "there is one split")
    [check] = [check for check in family_checks(SplitIgnored, skip=skip) if check.name in skip]
    with pytest.raises(SkipTest, match="there is one split"):
        check()


def test_a_property_that_is_none_cannot_be_left_out():
    with pytest.raises(
        ValueError, match="'splits share tasks', which is not a property; did you mean 'splits share no"
    ):
        family_checks(Decay, skip={"splits share tasks": "why"})
    with pytest.raises(ValueError, match="not a property; the properties are 'shapes are"):
        family_checks(Decay, skip={"zzz": "why"})


@pytest.mark.parametrize(
    ("check", "given"),
    [(check_learner, Kernel()), (check_family, Decay()), (check_environment, qs.rl.Bandit(num_envs=1, horizon=2))],
)
def test_an_object_is_no_function_that_builds_one(check, given):
    with pytest.raises(TypeError, match=rf"make is a {type(given).__name__}; expected a function without arguments"):
        check(given)


def test_what_cannot_be_built_is_one_failure():
    report = check_learner(lambda: 1 / 0, raises=False)
    [row] = report.rows
    assert row.why.startswith("make() raised ZeroDivisionError: division by zero (test_checks.py, line ")
    assert report.not_run == len(learner_checks(Kernel)) - 1
    assert f"{report.not_run} other properties were not checked, as they need this one: fix it first." in str(report)


def test_the_same_object_twice_is_refused():
    kept = Kernel()
    [row] = check_learner(lambda: kept, raises=False).rows
    assert row.why == "make() returned the same learner twice; build a new one at each call, inside the function"


def test_an_exception_names_the_line_of_the_persons_own_code():
    class Broken(Kernel):
        def mean(self, x, support):
            return torch.cat([x, x.new_zeros(3)])

    with pytest.raises(ContractError) as error:
        check_learner(Broken)
    assert isinstance(error.value.__cause__, RuntimeError)
    [row] = error.value.report.rows
    assert "raised RuntimeError: Tensors must have same number of dimensions" in row.why
    assert "(test_checks.py, line" in row.why and "in mean)" in row.why
    assert "NoAdapt has no adapt" in check_learner(NoAdapt, raises=False).rows[0].why


def test_a_report_is_a_table():
    rows = (
        Row("padding changes nothing", "failed", "meta_loss changed: nan in place of 1", 0.5, AssertionError()),
        Row("seeds", "passed", "", 0.25),
        Row("functions", "skipped", "there are none", 0.0),
    )
    assert str(Report("Mine", rows)) == (
        "Mine: 1 passed, 1 failed, 1 skipped in 0.8 s\n\n"
        "property                 outcome  seconds\n"
        "padding changes nothing  FAILED      0.50\n"
        "seeds                    passed      0.25\n"
        "functions                skipped     0.00\n\n"
        "skipped: functions\n    there are none\n\n"
        "FAILED: padding changes nothing\n    meta_loss changed: nan in place of 1"
    )
    assert not Report("Mine", rows).passed and Report("Mine", rows[1:]).passed


def test_neither_pytest_nor_the_tests_are_needed(tmp_path):
    """As from a wheel: an empty folder, and no module that only the tests need."""
    banned = ["pytest", "_pytest", "hypothesis", "beartype", "sklearn", "scipy", "pandas"]
    program = f"""
import sys
sys.modules.update(dict.fromkeys({banned!r}))
import quickstudy as qs
print(qs.testing.check_family(qs.tasks.Sinusoid))
skip = dict([("torch func gives the same gradient", "its import takes seconds")])
assert qs.testing.check_learner(lambda: qs.CNP(width=8), training_steps=0, many_points=10, skip=skip).passed
assert qs.testing.check_environment(lambda: qs.rl.Bandit(num_envs=2, horizon=3)).passed
"""
    path = {"PYTHONPATH": str(Path(qs.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=path, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Sinusoid: 18 passed in ")

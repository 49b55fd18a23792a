"""Task families and environments, described in a run and built again from there."""

import json
from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.runs.rebuild import families
from quickstudy.runs.rebuild.families import FAMILIES, ForeignFamilyError, from_spec, to_spec

WAVES = qs.tasks.Sinusoid(amplitude=2.0, frequency=(0.8, 1.2), noise=0.1)
CASES: dict[str, Any] = {
    "Sinusoid": WAVES,
    "SineAndLine": qs.tasks.SineAndLine(sines=0.25),
    "Sawtooth": qs.tasks.Sawtooth(dx=2),
    "Steps": qs.tasks.Steps(jumps=3),
    "Harmonic": qs.tasks.Harmonic(waves=3),
    "Pendulum": qs.tasks.Pendulum(with_velocity=True),
    "Pharmacokinetics": qs.tasks.Pharmacokinetics(),
    "DrugStudies": qs.tasks.DrugStudies(compartments=2, route="bolus", people=4, error=0.1),
    "GaussianProcess": qs.tasks.GaussianProcess("periodic", dx=2),
    "PredatorPrey": qs.tasks.PredatorPrey(step=0.5, forecasting=0.5),
    "Mixture": qs.tasks.Mixture((WAVES, qs.tasks.Steps())),
    "Rescaled": qs.tasks.Rescaled(WAVES, x_center=-1.0, y_scale=2.0),
    "Informed": qs.tasks.Informed(qs.tasks.Informed(WAVES, ["amplitude"]), ["phase"]),
    "rl.Navigation2D": qs.rl.Navigation2D.unit_board(num_envs=3),
    "rl.CartPole": qs.rl.CartPole(flip=0.5, horizon=20),
    "rl.CartPoleSwingUp": qs.rl.CartPoleSwingUp(max_force=(5.0, 10.0), start="anywhere", horizon=20),
    "rl.Pendulum": qs.rl.Pendulum(max_torque=(1.0, 3.0), horizon=20),
    "rl.Bandit": qs.rl.Bandit(arms=3, probability=(0.2, 0.4)),
    "rl.GaussianBandit": qs.rl.GaussianBandit(arms=3, noise=0.5),
    "rl.GridNavi": qs.rl.GridNavi(cells=4, horizon=9),
    "rl.TabularMDP": qs.rl.TabularMDP(states=4),
    "rl.HalfCheetah": qs.rl.HalfCheetah("direction", frame_skip=1, control_cost=0.1),
    "rl.Ant": qs.rl.Ant("goal", healthy_reward=1.0),
    "rl.Hopper": qs.rl.Hopper(mass=2.0),
    "rl.Walker2d": qs.rl.Walker2d(friction=1.0),
    "rl.Humanoid": qs.rl.Humanoid(directions="two"),
    "rl.Informed": qs.rl.Informed(qs.rl.Navigation2D(horizon=7), ("goal",)),
}


def test_every_family_of_the_table_is_tried() -> None:
    assert set(CASES) == set(FAMILIES)


@pytest.mark.parametrize("name", CASES)
def test_a_family_comes_back_from_json(name: str) -> None:
    family = CASES[name]
    spec = json.loads(json.dumps(to_spec(family)))
    assert spec["class"] == name
    back = from_spec(spec, "cpu")
    assert type(back) is type(family) and repr(back) == repr(family)
    draws = []
    for each in (family, back):
        chance = torch.Generator().manual_seed(0)
        if name.startswith("rl."):
            draws.append(each.sample_tasks(3, generator=chance))
        else:
            tasks = each.sample(3, support=2, query=2, generator=chance)
            draws.append({"x": tasks.query.x, "y": tasks.query.y})
    assert all(torch.equal(draws[0][key], draws[1][key]) for key in draws[0])


def test_the_device_of_an_environment_is_the_runs() -> None:
    assert str(from_spec(to_spec(CASES["rl.Informed"]), "meta").device) == "meta"


class Sinusoid:
    """Somebody's own class, by the name of one of quickstudy's."""


@pytest.mark.parametrize(
    ("family", "says"),
    [
        (Sinusoid(), "test_families.Sinusoid"),
        (qs.tasks.Informed(qs.tasks.from_dataset([(torch.zeros(4, 1), torch.zeros(4, 1))] * 9), ["task"]), "PointSets"),
    ],
)
def test_what_no_run_holds_is_foreign(family: Any, says: str) -> None:
    with pytest.raises(ForeignFamilyError, match=says):
        from_spec(json.loads(json.dumps(to_spec(family))))


def nested(depth: int) -> dict[str, Any]:
    spec = to_spec(WAVES)
    for _ in range(depth):
        spec = {"class": "Informed", "family": spec, "keys": ["phase"]}
    return spec


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (None, "has no family ''"),
        ([], "has no family ''"),
        ({}, "has no family ''"),
        ({"class": "os.system"}, "this version has no family 'os.system'"),
        ({"class": ["Sinusoid"]}, "has no family"),
        ({"class": "Sinusoid", "colour": 1}, "does not fit this version"),
        ({"class": "Sinusoid", "noise": "loud"}, "does not fit this version"),
        ({"class": "Sawtooth", "dx": 10**9}, "expected 0 to 100,000"),
        (nested(2000), "families are nested"),
    ],
)
def test_a_description_that_is_damaged_is_one_line(spec: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        from_spec(spec)
    assert "\n" not in str(caught.value) and not isinstance(caught.value, ForeignFamilyError)


def test_nothing_is_imported_that_a_file_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "import_module", lambda name: pytest.fail(f"imported {name}"))
    for name in ("os", "os.system", "rl.os", "quickstudy.tasks.sinusoid"):
        with pytest.raises(ValueError, match="has no family"):
            from_spec({"class": name})

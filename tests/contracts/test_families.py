"""What every task family must do. A new family is one row of `GENERATIVE` or `OWN_DATA`."""

import math
from collections.abc import Callable
from typing import Any
from unittest import SkipTest

import pytest
import torch

from quickstudy.decide.transitions import Transitions
from quickstudy.learner import SPLITS
from quickstudy.rl import CartPole
from quickstudy.tasks import (
    Classification,
    DrugStudies,
    GaussianProcess,
    Harmonic,
    Images,
    Informed,
    Mixture,
    Pendulum,
    Pharmacokinetics,
    PredatorPrey,
    Rescaled,
    Sawtooth,
    SineAndLine,
    Sinusoid,
    Steps,
    Table,
    from_dataset,
)
from quickstudy.tasks.typed_digits import typed_digits
from quickstudy.testing import family_checks


def _curves() -> Any:
    draw = torch.Generator().manual_seed(3)
    sets = [(torch.rand(n, 2, generator=draw), torch.rand(n, 1, generator=draw)) for n in [9, 4, 7, 5, 8, 6, 9, 3, 7]]
    return from_dataset(sets)


def _table() -> Table:
    sizes = [5, 9, 4, 7, 6, 8, 3, 5]
    group = [f"g{i}" for i, n in enumerate(sizes) for _ in range(n)]
    draw = torch.Generator().manual_seed(4)
    x, y = torch.rand(2, len(group), generator=draw).tolist()
    return Table.from_columns({"group": group, "x": x, "y": y}, task="group", x="x", y="y")


def _images() -> Classification:
    draw = torch.Generator().manual_seed(5)
    labels = torch.arange(15).repeat_interleave(torch.arange(30, 45))  # classes of unequal sizes
    return Classification(torch.rand(len(labels), 1, 3, 3, generator=draw), labels, ways=3)


def _pictures(**options: Any) -> Images:
    return Images(torch.randint(0, 256, (40, 7, 6, 3), generator=torch.Generator().manual_seed(6)), **options)


def _typed() -> Images:
    found = typed_digits(60)
    return Images(found.images, found.labels, levels=found.levels, unseen=(8, 9))


GENERATIVE: dict[str, Callable[[], Any]] = {
    "sinusoid": Sinusoid,
    "sinusoid_noisy": lambda: Sinusoid(noise=0.3),
    "sinusoid_meta_sgd": Sinusoid.meta_sgd,
    "sinusoid_process_demo": Sinusoid.process_demo,
    "gp_rbf": GaussianProcess,
    "gp_matern52": lambda: GaussianProcess("matern52"),
    "gp_periodic": lambda: GaussianProcess("periodic", noise=(0.0, 0.1)),
    "gp_weakly_periodic": lambda: GaussianProcess.fixed("weakly_periodic"),
    "gp_noiseless": lambda: GaussianProcess(noise=0.0),
    "gp_2d": lambda: GaussianProcess.fixed("rbf", dx=2),
    "sawtooth": Sawtooth,
    "sawtooth_2d": lambda: Sawtooth(dx=2, noise=0.1),
    "sawtooth_hassan2026": lambda: Sawtooth.named("hassan2026"),
    "mixture": Mixture.bruinsma2023,
    "mixture_of_two": lambda: Mixture((Steps(), Sinusoid(noise=0.1))),
    "harmonic": Harmonic,
    "harmonic_three_waves": lambda: Harmonic(waves=3, noise=0.1),
    "sine_and_line": SineAndLine,
    "sine_and_line_noisy": lambda: SineAndLine(noise=0.3),
    "steps": Steps,
    "steps_two_jumps": lambda: Steps(jumps=2, noise=0.1),
    "pendulum": Pendulum,
    "pendulum_with_velocity": lambda: Pendulum(with_velocity=True, damping=0.0, noise=0.05),
    "pharmacokinetics": Pharmacokinetics,
    "pharmacokinetics_noisy": lambda: Pharmacokinetics(noise=0.5),
    "drug_studies": DrugStudies,
    "drug_studies_two_compartments": lambda: DrugStudies(compartments=2, route="bolus", people=2),
    "predator_prey": lambda: PredatorPrey(step=0.5),
    "predator_prey_forecasting": lambda: PredatorPrey(step=0.5, forecasting=0.5),
    "rescaled": lambda: Rescaled(Pendulum(), x_center=2.5, x_scale=2.5),
    "transitions": lambda: Transitions(CartPole(flip=0.5), both_signs=True),
    "classification": _images,
    "images": _pictures,
    "images_not_dequantised": lambda: _pictures(dequantise=False),
    "images_typed_digits": _typed,
    "informed": lambda: Informed(Sinusoid(), ("amplitude", "phase")),
    "informed_kind": lambda: Informed(SineAndLine(), ("is_sine", "slope")),
    "informed_direction": lambda: Informed(Sawtooth(dx=2), ("frequency", "direction")),
}
OWN_DATA: dict[str, Callable[[], Any]] = {
    "dataset": _curves,
    "table": _table,
    "informed_table": lambda: Informed(_table(), ["group"]),
}
FAMILIES = GENERATIVE | OWN_DATA

every_family = pytest.mark.parametrize("name", FAMILIES)


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


CHECKS = {name: {check.name: check for check in family_checks(make)} for name, make in FAMILIES.items()}
PROPERTIES = list(CHECKS["sinusoid"])


# which properties do not apply to a family, for want of what they are about
WITHOUT = {
    "held out tasks do not depend on the numbers of points": frozenset(OWN_DATA)
}  # which are as many as there are


@every_family
@pytest.mark.parametrize("property", PROPERTIES)
def test_family_keeps_the_contract(name: str, property: str) -> None:
    """A property that does not apply is one of those that the table says."""
    if name in WITHOUT.get(property, ()):
        with pytest.raises(SkipTest):
            CHECKS[name][property]()
        return
    try:
        CHECKS[name][property]()
    except SkipTest as reason:
        pytest.fail(f"not checked: {reason}")


def test_the_properties_are_all_there() -> None:
    assert len(PROPERTIES) >= 18 and set(WITHOUT) <= set(PROPERTIES)


@every_family
def test_repr_tells_families_apart(name: str) -> None:
    said = repr(FAMILIES[name]())
    assert sum(repr(make()) == said for make in FAMILIES.values()) == 1


FUNCTIONS = {
    "sinusoid": Sinusoid,
    "process_demo": Sinusoid.process_demo,
    "gp": GaussianProcess,
    "gp_periodic": lambda **k: GaussianProcess("periodic", **k),
    "sawtooth": Sawtooth,
    "harmonic": Harmonic,
    "sine_and_line": SineAndLine,
    "steps": Steps,
    "pendulum": Pendulum,
    "pharmacokinetics": Pharmacokinetics,
}
functions = pytest.mark.parametrize("name", FUNCTIONS)
bounded = pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "harmonic"])  # its x are normal


@bounded
def test_inputs_stay_in_the_domain_and_fill_it(name: str) -> None:
    family = FUNCTIONS[name]()
    tasks = family.sample(200, support=10, query=10, generator=_seeded())
    low, high = family.domain
    for x in (tasks.support.x, tasks.query.x):
        assert float(x.min()) >= low - 1e-6 and float(x.max()) <= high + 1e-6
        assert float(x.min()) < low + 0.02 * (high - low) and float(x.max()) > high - 0.02 * (high - low)
        assert float(x.mean()) == pytest.approx((low + high) / 2, abs=4 * (high - low) / math.sqrt(12 * 2000))


@bounded
@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_grid_changes_neither_the_tasks_nor_the_support_inputs(name: str, split: Any) -> None:
    points: dict[str, Any] = {"support": 5, "query": 11, "split": split}
    drawn = FUNCTIONS[name]().sample(3, **points, generator=_seeded())
    grid = FUNCTIONS[name]().sample(3, **points, generator=_seeded(), grid=True)
    assert torch.equal(drawn.support.x, grid.support.x)
    assert all(torch.equal(drawn.info[k], grid.info[k]) for k in drawn.info if not k.startswith("oracle"))


@functions
def test_noise_changes_outputs_only(name: str) -> None:
    quiet = FUNCTIONS[name](noise=0.0).sample(40, support=10, query=20, generator=_seeded())
    noisy = FUNCTIONS[name](noise=0.2).sample(40, support=10, query=20, generator=_seeded())
    assert torch.equal(quiet.support.x, noisy.support.x) and torch.equal(quiet.query.x, noisy.query.x)
    shared = [k for k in quiet.info if not k.startswith(("oracle", "noise"))]
    assert shared and all(torch.equal(quiet.info[k], noisy.info[k]) for k in shared)
    assert not torch.equal(quiet.support.y, noisy.support.y) and not torch.equal(quiet.query.y, noisy.query.y)


@bounded
@pytest.mark.parametrize("split", SPLITS)
def test_grid(name: str, split: Any) -> None:
    family = FUNCTIONS[name]()
    tasks = family.sample(3, support=5, query=11, split=split, generator=_seeded(), grid=True)
    expected = torch.linspace(*family.domain, 11).view(1, 11, 1).expand(3, 11, 1)
    assert torch.equal(tasks.query.x, expected)
    assert not torch.equal(tasks.support.x[0], tasks.support.x[1])


@pytest.mark.parametrize(
    "name", [name for name in FUNCTIONS if name not in ("process_demo", "harmonic")]
)  # no domain to set
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"noise": -0.1}, "noise=-0.1"),
        ({"noise": "loud"}, "noise='loud'"),
        ({"noise": math.nan}, "noise=nan"),
        ({"domain": (1.0, 1.0)}, "low < high"),
        ({"domain": (2.0, -2.0)}, "low <= high"),
        ({"domain": 3.0}, "expected a pair"),
    ],
)
def test_bad_options(name: str, change: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        FUNCTIONS[name](**change)
    assert "\n" not in str(caught.value)

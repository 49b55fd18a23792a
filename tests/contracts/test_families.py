"""What every task family must do. A new family is one row of `GENERATIVE` or `OWN_DATA`."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from quickstudy.checks import check_tasks
from quickstudy.data import Examples, Tasks
from quickstudy.decide.transitions import Transitions
from quickstudy.learner import SPLITS, TaskFamily
from quickstudy.rl import CartPole
from quickstudy.tasks import (
    GaussianProcess,
    Harmonic,
    Informed,
    Pendulum,
    Pharmacokinetics,
    Sawtooth,
    SineAndLine,
    Sinusoid,
    Steps,
    Table,
    from_dataset,
)


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
    "transitions": lambda: Transitions(CartPole(flip=0.5), both_signs=True),
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

every_family = pytest.mark.parametrize("name", FAMILIES)
generative = pytest.mark.parametrize("name", GENERATIVE)


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _tensors(tasks: Tasks) -> dict[str, Tensor]:
    parts = {"sx": tasks.support.x, "sy": tasks.support.y, "qx": tasks.query.x, "qy": tasks.query.y, **tasks.info}
    masks = {"sm": tasks.support.mask, "qm": tasks.query.mask}
    return parts | {k: v for k, v in masks.items() if v is not None}


def _same(a: Tasks, b: Tasks) -> bool:
    left, right = _tensors(a), _tensors(b)
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@every_family
@pytest.mark.parametrize("split", SPLITS)
def test_shapes_and_contract(name: str, split: Any) -> None:
    family = FAMILIES[name]()
    assert isinstance(family, TaskFamily)
    tasks = family.sample(6, support=3, query=4, split=split, generator=_seeded())
    check_tasks(tasks)
    assert tasks.support.x.shape == (6, 3, family.dx)
    assert tasks.support.y.shape == (6, 3, family.dy)
    assert tasks.query.x.shape == (6, 4, family.dx)
    assert tasks.query.y.shape == (6, 4, family.dy)


@every_family
def test_info_is_led_by_tasks(name: str) -> None:
    tasks = FAMILIES[name]().sample(6, support=3, query=4, generator=_seeded())
    assert tasks.info
    assert all(isinstance(v, Tensor) and v.shape[0] == 6 for v in tasks.info.values())


@every_family
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_default_dtype(name: str, dtype: torch.dtype) -> None:
    torch.set_default_dtype(dtype)
    tasks = FAMILIES[name]().sample(3, support=3, query=4, generator=_seeded())
    assert {v.dtype for v in _tensors(tasks).values() if v.is_floating_point()} == {dtype}


@every_family
def test_equal_seeds_equal_tasks(name: str) -> None:
    family, again = FAMILIES[name](), FAMILIES[name]()
    for split in SPLITS:
        first = family.sample(5, support=3, query=4, split=split, generator=_seeded())
        assert _same(first, again.sample(5, support=3, query=4, split=split, generator=_seeded()))
        assert not _same(first, family.sample(5, support=3, query=4, split=split, generator=_seeded(1)))


@generative
@pytest.mark.parametrize("split", ["validation", "test"])
def test_held_out_tasks_do_not_depend_on_the_numbers_of_points(name: str, split: Any) -> None:
    """More support points leave the query as it is; more query points leave the task and the support inputs."""
    family = FAMILIES[name]()
    small, seen, asked = (
        family.sample(6, support=support, query=query, split=split, generator=_seeded())
        for support, query in ((3, 4), (20, 4), (3, 33))
    )
    for other in (seen, asked):
        known = [k for k in small.info if not k.startswith("oracle")]
        assert known and all(torch.equal(small.info[k], other.info[k]) for k in known)
        assert torch.equal(small.support.x, other.support.x[:, :3])
    assert torch.equal(small.query.x, seen.query.x)
    for one, other in ((small.support, seen.support.first(3)), (small.query, seen.query)):
        torch.testing.assert_close(one.y, other.y, atol=2e-5, rtol=1e-4)  # linear algebra of another size rounds


@bounded
@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_grid_changes_neither_the_tasks_nor_the_support_inputs(name: str, split: Any) -> None:
    points: dict[str, Any] = {"support": 5, "query": 11, "split": split}
    drawn = FUNCTIONS[name]().sample(3, **points, generator=_seeded())
    grid = FUNCTIONS[name]().sample(3, **points, generator=_seeded(), grid=True)
    assert torch.equal(drawn.support.x, grid.support.x)
    assert all(torch.equal(drawn.info[k], grid.info[k]) for k in drawn.info if not k.startswith("oracle"))


@every_family
def test_a_generator_moves_on(name: str) -> None:
    family = FAMILIES[name]()
    for split in SPLITS:
        draw = _seeded()
        first = family.sample(5, support=3, query=4, split=split, generator=draw)
        assert not _same(first, family.sample(5, support=3, query=4, split=split, generator=draw))


@every_family
def test_without_a_generator_torch_decides(name: str) -> None:
    family = FAMILIES[name]()
    for split in SPLITS:
        torch.manual_seed(7)
        first = family.sample(5, support=3, query=4, split=split)
        second = family.sample(5, support=3, query=4, split=split)
        torch.manual_seed(7)
        assert _same(first, family.sample(5, support=3, query=4, split=split))
        assert not _same(first, second)


@every_family
def test_splits_share_no_task(name: str) -> None:
    family = FAMILIES[name]()
    seen: dict[bytes, str] = {}
    for split in SPLITS:
        for i in range(20):
            tasks = family.sample(2, support=1, query=2, split=split, generator=_seeded(i))
            for y in tasks.query.y:
                owner = seen.setdefault(y[:1].numpy().tobytes(), split)
                assert owner == split


@every_family
def test_empty_support(name: str) -> None:
    tasks = FAMILIES[name]().sample(4, support=0, query=3, generator=_seeded())
    check_tasks(tasks)
    assert tasks.support.num_points == 0
    assert tasks.support.mask is None or tasks.support.mask.shape == (4, 0)


@every_family
def test_real_points_are_finite(name: str) -> None:
    tasks = FAMILIES[name]().sample(50, support=12, query=12, generator=_seeded())
    for examples in (tasks.support, tasks.query):
        assert bool(torch.isfinite(examples.x[examples.real()]).all())
        assert bool(torch.isfinite(examples.y[examples.real()]).all())
    assert all(bool(torch.isfinite(v).all()) for v in tasks.info.values() if v.is_floating_point())


@every_family
def test_the_callers_data_are_safe(name: str) -> None:
    """Writing into sampled tasks changes nothing that is sampled later."""
    family = FAMILIES[name]()
    first = family.sample(3, support=3, query=3, generator=_seeded())
    kept = Tasks(*(Examples(e.x.clone(), e.y.clone(), e.mask) for e in first[:2]), first.info)
    first.support.x.fill_(math.nan)
    first.query.y.fill_(math.nan)
    again = family.sample(3, support=3, query=3, generator=_seeded())
    assert torch.equal(again.support.x, kept.support.x)
    assert torch.equal(again.query.y, kept.query.y)


@every_family
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"num_tasks": 0}, "num_tasks=0"),
        ({"num_tasks": 2.5}, r"num_tasks=2\.5"),
        ({"support": -1}, "support=-1"),
        ({"query": 0}, "query=0"),
        ({"split": "dev"}, "unknown split 'dev'; choose one of train, validation, test"),
    ],
)
def test_bad_requests(name: str, change: dict[str, Any], match: str) -> None:
    request = {"num_tasks": 2, "support": 3, "query": 4, "split": "train"} | change
    with pytest.raises(ValueError, match=match) as caught:
        FAMILIES[name]().sample(request.pop("num_tasks"), **request)
    assert "\n" not in str(caught.value)


@every_family
def test_repr_tells_families_apart(name: str) -> None:
    family = FAMILIES[name]()
    assert repr(family) == repr(FAMILIES[name]())
    assert "\n" not in repr(family) and " at 0x" not in repr(family)
    assert sum(repr(make()) == repr(family) for make in FAMILIES.values()) == 1


@every_family
def test_immutable(name: str) -> None:
    with pytest.raises(AttributeError):
        FAMILIES[name]().dx = 7


@bounded
def test_inputs_stay_in_the_domain_and_fill_it(name: str) -> None:
    family = FUNCTIONS[name]()
    tasks = family.sample(200, support=10, query=10, generator=_seeded())
    low, high = family.domain
    for x in (tasks.support.x, tasks.query.x):
        assert float(x.min()) >= low - 1e-6 and float(x.max()) <= high + 1e-6
        assert float(x.min()) < low + 0.02 * (high - low) and float(x.max()) > high - 0.02 * (high - low)
        assert float(x.mean()) == pytest.approx((low + high) / 2, abs=4 * (high - low) / math.sqrt(12 * 2000))


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

"""`check_family`: checks of every property of the contract on a task family."""

import itertools
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from quickstudy.checks import check_tasks
from quickstudy.data import Examples, Tasks
from quickstudy.learner import SPLITS, TaskFamily
from quickstudy.testing.checks import (
    Check,
    NotPrepared,
    Property,
    checks_of,
    default_type,
    error_text,
    report_of,
    settings,
    skip,
)
from quickstudy.testing.comparing import expect, expect_raises, expect_shape, fail, failing, same_tensors
from quickstudy.testing.report import Report

CHANCE = "draw every random number with generator=generator, on generator.device"
SPLIT = "quickstudy.tasks.sampling.split_generator(num_tasks, support, query, split, generator)"


@dataclass(frozen=True)
class FamilyCase:
    """A task family under test.

    Args:
        make: builds the family.
        device: device of the generators.
    """

    make: Callable[[], Any]
    device: torch.device

    def generator(self, seed: int = 0) -> torch.Generator:
        """Return a seeded generator."""
        return torch.Generator(self.device).manual_seed(seed)

    def draw(
        self, family: Any, num_tasks: int = 5, *, support: int = 3, query: int = 4, seed: int = 0, **options: Any
    ) -> Tasks:
        """Draw tasks of the family from a seeded generator."""
        return family.sample(num_tasks, support=support, query=query, generator=self.generator(seed), **options)


def check_family(
    make: Callable[[], TaskFamily],
    *,
    skip: Mapping[str, str] | None = None,
    device: torch.device | str = "cpu",
    raises: bool = True,
) -> Report:
    """Check every property of a task family on a class of your own.

    All checks run even if some fail (the first one alone if sampling fails), and take a second or two. The random
    numbers of torch, numpy and Python are restored at the end.

    Args:
        make: builds the family: its class, or `lambda: MyFamily(noise=0.1)`.
        skip, device: see `family_checks`.
        raises: raise `ContractError` if a property fails; False only returns the report.

    Returns:
        The report: `print` shows it as a table.

    Raises:
        ContractError: an AssertionError that lists every property that fails, and why.
        TypeError, ValueError: for bad arguments.

    >>> import quickstudy as qs
    >>> check_family(qs.tasks.Sinusoid).passed
    True
    """
    return report_of(make, family_checks(make, skip=skip, device=device), raises=raises)


def family_checks(
    make: Callable[[], TaskFamily],
    *,
    skip: Mapping[str, str] | None = None,
    device: torch.device | str = "cpu",
) -> tuple[Check, ...]:
    """Return the properties of a task family, each as a check, for `pytest.mark.parametrize("check", ..., ids=str)`.

    Args:
        make: builds the family.
        skip: reasons for properties that do not hold by definition, by their names.
        device: device of the generators, and so of the tasks.

    >>> import quickstudy as qs
    >>> checks = family_checks(qs.tasks.Sinusoid)
    >>> print(checks[4])
    equal seeds give equal tasks
    >>> checks[4]()
    """
    if not callable(make):
        raise TypeError(
            f"make is a {type(make).__name__}; expected a function without arguments that builds the family: "
            f"lambda: {type(make).__name__}(...)"
        )
    case = FamilyCase(make, torch.device(device))
    return checks_of(PROPERTIES, case, skip, lambda: settings(torch.float32, "cpu"))


def tensors(tasks: Tasks) -> dict[str, Tensor]:
    """Return all tensors of tasks, by name."""
    support, query, info = tasks
    parts = {"support.x": support.x, "support.y": support.y, "query.x": query.x, "query.y": query.y}
    masks = {"support.mask": support.mask, "query.mask": query.mask}
    parts |= {name: mask for name, mask in masks.items() if mask is not None}
    return parts | {f"info[{name!r}]": value for name, value in info.items() if isinstance(value, Tensor)}


def _same(a: Tasks, b: Tasks) -> bool:
    return same_tensors(tensors(a), tensors(b))


def shapes_are_those_of_the_contract(case: FamilyCase) -> None:
    """`x [T, N, *dx]`, `y [T, N, *dy]` or labels, in every split (docs/design.md, TaskFamily)."""
    family = _built(case)
    sizes = [(6, 3, 4), (1, 1, 1)]
    for split, (num_tasks, support, query) in itertools.product(SPLITS, sizes):
        try:
            tasks = case.draw(family, num_tasks, support=support, query=query, split=split)
            check_tasks(tasks)
        except Exception as error:
            where = f"sample({num_tasks}, support={support}, query={query}, split={split!r})"
            raise NotPrepared(f"{where}: {error_text(error)}") from error
        for name, examples, points in (("support", tasks.support, support), ("query", tasks.query, query)):
            expect_shape(examples.x, (num_tasks, points, *examples.x.shape[2:]), f"{name}.x")
            _check_features(family, examples, name)


def _built(case: FamilyCase) -> Any:
    try:
        family = case.make()
    except Exception as error:
        raise NotPrepared(f"make() {error_text(error)}") from error
    if not isinstance(family, TaskFamily):
        raise NotPrepared(f"make() returned a {type(family).__name__}, which has no sample(); a family has sample()")
    return family


def _check_features(family: Any, examples: Examples, name: str) -> None:
    """Check the attributes `dx` and `dy` of the family, if it has them."""
    dx, dy = getattr(family, "dx", None), getattr(family, "dy", None)
    found = examples.x.shape[2:].numel()
    if dx is not None:
        expect(found == _count(dx), f"{name}.x has {found} features for each point, and the family says dx={dx}")
    if dy is None:
        return
    if examples.y.is_floating_point():
        found = examples.y.shape[2:].numel()
        expect(found == _count(dy), f"{name}.y has {found} features for each point, and the family says dy={dy}")
    else:
        largest = int(examples.clean().y.max()) if examples.y.numel() else -1
        expect(largest < _count(dy), f"{name}.y has a label {largest}, and the family says dy={dy} classes")


def _count(features: Any) -> int:
    return math.prod(features) if isinstance(features, tuple | list) else int(features)


def info_is_led_by_tasks(case: FamilyCase) -> None:
    """Every tensor in `info` is `[T, ...]`; `oracle_log_prob` is `[T, M]` (docs/design.md, Tasks)."""
    tasks = case.draw(case.make(), 6)
    if not tasks.info:
        skip("its info is empty")
    for name, value in tasks.info.items():
        expect(isinstance(name, str), f"info has a key {name!r}; expected text")
        if not isinstance(value, Tensor):
            fail(f"info[{name!r}] is a {type(value).__name__}; expected a tensor [T, ...], with a value for each task")
        led = value.dim() and len(value) == 6
        expect(led, f"info[{name!r}] has shape {list(value.shape)}; expected [6, ...] of 6 tasks")
    if "oracle_log_prob" in tasks.info:
        expect_shape(tasks.info["oracle_log_prob"], (6, 4), "info['oracle_log_prob']")


def tasks_have_the_default_type(case: FamilyCase) -> None:
    """Real numbers are in torch's default dtype (docs/design.md, TaskFamily)."""
    cure = "in sample, make tensors without dtype=, or with torch.get_default_dtype()"
    for dtype in (torch.float32, torch.float64):
        with default_type(dtype):
            tasks = case.draw(case.make(), 3)
        for name, value in tensors(tasks).items():
            wrong = value.is_floating_point() and value.dtype != dtype
            expect(not wrong, f"{name} is {value.dtype} where torch's default is {dtype}", cure)


def tasks_live_on_the_device_of_the_generator(case: FamilyCase) -> None:
    """Tasks are on the generator's device, whatever torch's default device is (docs/design.md, TaskFamily)."""
    family = case.make()
    cure = "pass device=generator.device (or x.device, or x.new_zeros) wherever sample makes a tensor"
    words = "where torch's default device is another than the generator's"
    try:
        with torch.device("meta"):  # tensors made on it by mistake have no values, so that they are found
            tasks = family.sample(5, support=3, query=4, generator=case.generator())
    except Exception as error:
        raise AssertionError(failing(f"{words}, {error_text(error)}", cure)) from error
    for name, value in tensors(tasks).items():
        there = value.device.type == case.device.type
        expect(there, f"{words}, {name} is on {value.device} and the generator on {case.device}", cure)


def equal_seeds_give_equal_tasks(case: FamilyCase) -> None:
    """Tasks are a pure function of the generator's state, and differ between seeds (docs/design.md, Determinism)."""
    family, other = case.make(), case.make()
    for split in SPLITS:
        first = case.draw(family, split=split)
        what = f"sample(split={split!r}) gave two different batches with equal generators"
        expect(_same(first, case.draw(other, split=split)), what, f"{CHANCE}, not by numpy or Python's random")
        what = f"sample(split={split!r}) gave the same batch with generators of different seeds"
        expect(not _same(first, case.draw(family, split=split, seed=1)), what, CHANCE)


def a_generator_moves_on(case: FamilyCase) -> None:
    """A second batch from the same generator has other tasks (docs/design.md, Determinism)."""
    family = case.make()
    for split in SPLITS:
        draw = case.generator()
        first, second = (family.sample(5, support=3, query=4, split=split, generator=draw) for _ in range(2))
        what = f"two calls of sample(split={split!r}) with the same generator gave the same batch: it is not advanced"
        expect(not _same(first, second), f"{what}. Draw from it, or draw from it the seed of another")


def without_a_generator_torch_decides(case: FamilyCase) -> None:
    """`generator=None` draws from torch's own random numbers (docs/design.md, Determinism)."""
    family = case.make()
    for split in SPLITS:
        batches = []
        for seed in (7, None, 7):
            if seed is not None:
                torch.manual_seed(seed)
            batches.append(family.sample(5, support=3, query=4, split=split))
        what = f"sample(split={split!r}) without a generator"
        expect(_same(batches[0], batches[2]), f"{what} gave different batches after equal torch.manual_seed")
        expect(not _same(batches[0], batches[1]), f"{what} gave the same batch twice: draw from torch's random numbers")


def a_generator_is_the_only_source_of_chance(case: FamilyCase) -> None:
    """With a generator nothing is drawn from torch's own random numbers (docs/design.md, Determinism)."""
    family = case.make()
    for split in SPLITS:
        before = torch.get_rng_state()
        case.draw(family, split=split)
        what = f"sample(split={split!r}, generator=...) drew from torch's own random numbers"
        expect(torch.equal(before, torch.get_rng_state()), f"{what}, or seeded them", CHANCE)


def held_out_tasks_do_not_depend_on_the_numbers_of_points(case: FamilyCase) -> None:
    """Equal seeds give equal tasks of validation and test at any number of points (docs/design.md, TaskFamily)."""
    family = case.make()
    for split in SPLITS[1:]:
        small, seen, asked = (
            case.draw(family, 6, support=support, query=query, split=split)
            for support, query in ((3, 4), (20, 4), (3, 33))
        )
        kept = torch.equal(small.query.x, seen.query.x) and torch.equal(small.support.x, asked.support.x)
        if not kept or not torch.equal(small.support.x, seen.support.first(3).x):
            skip(
                f"tasks of split {split!r} change with support= or query=, so that scores at several sizes are not of "
                "the same tasks; quickstudy.tasks.sampling.Batch draws the same tasks for all sizes"
            )
        for one, other in ((small.support, seen.support.first(3)), (small.query, seen.query)):
            alike = one.y.shape == other.y.shape and torch.allclose(one.y, other.y, atol=2e-5, rtol=1e-4)
            expect(
                alike, f"tasks of split {split!r} have the same inputs at other numbers of points, and other outputs"
            )
        for name, value in small.info.items():
            if name.startswith("oracle") or not isinstance(value, Tensor):
                continue
            same = torch.equal(value, seen.info[name]) and torch.equal(value, asked.info[name])
            expect(same, f"info[{name!r}] of split {split!r} depends on the numbers of points, and the inputs do not")


def splits_share_no_task(case: FamilyCase) -> None:
    """Equal seeds give different tasks in different splits (docs/your-own.md, Your own task family)."""
    family, owners = case.make(), dict[bytes, tuple[str, int]]()
    for split in SPLITS:
        for seed in range(20):
            tasks = family.sample(2, support=1, query=2, split=split, generator=case.generator(seed))
            query = tasks.query
            for x, y in zip(query.x.cpu(), query.y.cpu(), strict=True):
                real = x.is_floating_point() and y.is_floating_point()
                key = _bytes(x[:1]) + _bytes(y[:1]) if real else _bytes(x) + _bytes(y)
                owner, first = owners.setdefault(key, (split, seed))
                what = f"a task of split {split!r} (seed {seed}) is one of split {owner!r} (seed {first})"
                expect(owner == split, f"{what}; draw each split from a seed of its own: {SPLIT} does")


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def the_tasks_of_a_batch_differ(case: FamilyCase) -> None:
    """A batch holds T draws from the family, not one T times (docs/design.md, TaskFamily)."""
    tasks = case.draw(case.make(), 8, support=0, query=6)
    same = all(bool((e == e[:1]).all()) for e in tasks.query[:2])
    expect(not same, "all 8 tasks of a batch are the same; draw what makes a task with a leading axis [num_tasks, ...]")


def query_points_are_not_support_points(case: FamilyCase) -> None:
    """A learner is judged on points that it has not seen (docs/design.md, Tasks)."""
    tasks = case.draw(case.make(), 8, support=6, query=6)
    support, query = tasks.support, tasks.query
    if not query.x.is_floating_point():
        skip("its inputs are not real numbers, so that two points may be equal")
    same = _equal(support.x, query.x) & _equal(support.y, query.y) & support.real()[:, :, None] & query.real()[:, None]
    words = "in every task a query point is also a support point"
    cure = "give the query what is left: x[:, support:], not x[:, :query]"
    if not query.y.is_floating_point():
        cure += "; if several points of a class have the same inputs by nature, skip this property"
    expect(not same.flatten(1).any(1).all(), f"{words}; {cure}")


def _equal(one: Tensor, other: Tensor) -> Tensor:
    """Return which points `[T, N]` of one set are equal to which points `[T, M]` of the other, `[T, N, M]`."""
    one, other = (part.reshape(*part.shape[:2], -1) for part in (one, other))
    return (one[:, :, None] == other[:, None]).all(-1)


def a_support_set_may_be_empty(case: FamilyCase) -> None:
    """`support=0` gives tasks without support points (docs/design.md, Examples)."""
    tasks = case.draw(case.make(), 4, support=0, query=3)
    check_tasks(tasks)
    expect(tasks.support.num_points == 0, f"support=0 gave {tasks.support.num_points} support points")
    if tasks.support.mask is not None:
        expect_shape(tasks.support.mask, (4, 0), "support.mask")


def real_points_are_finite(case: FamilyCase) -> None:
    """Only padding may hold NaN or infinity (docs/design.md, Padding)."""
    tasks = case.draw(case.make(), 50, support=12, query=12)
    for name, examples in (("support", tasks.support), ("query", tasks.query)):
        for part, values in (("x", examples.x), ("y", examples.y)):
            finite = bool(torch.isfinite(values[examples.real()]).all())
            expect(finite, f"{name}.{part} has a NaN or infinite value at a real point; leave it out by the mask")
    for name, value in tasks.info.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            expect(bool(torch.isfinite(value).all()), f"info[{name!r}] has a NaN or infinite value")


def writing_into_tasks_changes_no_others(case: FamilyCase) -> None:
    """What `sample` returned is the caller's own (docs/design.md, Habits)."""
    family = case.make()
    first = family.sample(3, support=3, query=3, generator=case.generator())
    kept = {name: value.clone() for name, value in tensors(first).items()}
    for value in tensors(first).values():
        with suppress(RuntimeError):  # an expanded tensor cannot be written into
            value.copy_(torch.full_like(value, math.nan) if value.is_floating_point() else torch.zeros_like(value))
    again = tensors(family.sample(3, support=3, query=3, generator=case.generator()))
    for name, value in kept.items():
        what = f"{name} of a later batch changed when an earlier one was written into"
        expect(torch.equal(again[name], value), f"{what}: return a copy (tensor.clone()) of what the family keeps")


REQUESTS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"num_tasks": 0}, "num_tasks=0"),
    ({"num_tasks": 2.5}, "num_tasks=2.5"),
    ({"support": -1}, "support=-1"),
    ({"query": 0}, "query=0"),
    ({"split": "dev"}, "'dev'"),
)


def impossible_requests_are_refused(case: FamilyCase) -> None:
    """Bad counts and splits raise ValueError, with the value in a message of one line (docs/design.md, Habits)."""
    cure = f"call quickstudy.learner.check_counts and check_split, or {SPLIT}, which does both"
    family = case.make()
    for change, words in REQUESTS:
        request = {"num_tasks": 2, "support": 3, "query": 4, "split": "train", **change}
        given = ", ".join(f"{name}={value!r}" for name, value in change.items())
        call = lambda: family.sample(request.pop("num_tasks"), **request)  # noqa: B023, E731
        message = str(expect_raises(call, ValueError, f"sample({given})", cure))
        named = words in message and "\n" not in message
        expect(named, f"the message for sample({given}) is {message!r}; expected one line that contains {words}", cure)


def its_repr_tells_families_apart(case: FamilyCase) -> None:
    """`repr` is kept in a run's config.json and compared on resume (docs/your-own.md, Your own task family)."""
    once, twice = repr(case.make()), repr(case.make())
    cure = "make the family a dataclass, or write a __repr__ that names every option"
    expect(" at 0x" not in once, f"its repr is {once!r}, which differs in every run", cure)
    expect(once == twice, f"two families built alike have different reprs: {once!r}, {twice!r}", cure)
    expect("\n" not in once, "its repr has several lines; a run's config.json takes one", cure)


def its_options_are_frozen(case: FamilyCase) -> None:
    """Options cannot be changed, so that they stay as in a run's config (docs/your-own.md, Your own task family)."""
    family = case.make()
    try:
        family.dx = 7
    except AttributeError:
        return
    skip("attributes can be set, so that a family may change within a run; @dataclass(frozen=True) forbids it")


PROPERTIES: tuple[Property, ...] = (
    shapes_are_those_of_the_contract,
    info_is_led_by_tasks,
    tasks_have_the_default_type,
    tasks_live_on_the_device_of_the_generator,
    equal_seeds_give_equal_tasks,
    a_generator_moves_on,
    without_a_generator_torch_decides,
    a_generator_is_the_only_source_of_chance,
    splits_share_no_task,
    held_out_tasks_do_not_depend_on_the_numbers_of_points,
    the_tasks_of_a_batch_differ,
    query_points_are_not_support_points,
    a_support_set_may_be_empty,
    real_points_are_finite,
    writing_into_tasks_changes_no_others,
    impossible_requests_are_refused,
    its_repr_tells_families_apart,
    its_options_are_frozen,
)

"""Checks of single properties, and reports of many checks.

A check restores the random numbers of torch, numpy and Python, and torch's default type and device.
"""

import random
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from unittest import SkipTest  # pytest treats it as a skip, too

import numpy as np
import torch

from quickstudy.testing.report import Report, Row

Property = Callable[[Any], None]  # takes the case, and raises AssertionError if the property does not hold
_HERE = str(Path(__file__).parent)
_PACKAGE = str(Path(_HERE).parent)
_LIBRARIES = tuple(str(Path(str(module.__file__)).parent) for module in (torch, np))


class Check(NamedTuple):
    """One property of one class: `check()` raises AssertionError if the property does not hold.

    A check whose property does not apply raises `unittest.SkipTest`, which pytest shows as skipped.

    Args:
        name: the property as a sentence; `str(check)` returns it.
        run: a function without arguments that checks the property.
    """

    name: str
    run: Callable[[], None]

    def __call__(self) -> None:
        """Check the property."""
        self.run()

    def __str__(self) -> str:
        return self.name


class NotPrepared(AssertionError):
    """No property can be checked, as the class cannot be built or fails on simple data."""


def skip(why: str) -> NoReturn:
    """Raise SkipTest, which ends a check whose property does not apply."""
    raise SkipTest(why)


def name_of(function: Property) -> str:
    """Return the name of a property."""
    return function.__name__.replace("_", " ")


def checks_of(
    properties: Sequence[Property], case: Any, skipped: Mapping[str, str] | None, settings: Callable[[], Any]
) -> tuple[Check, ...]:
    """Return each property of the case as a check.

    Args:
        properties: functions that take the case.
        case: the class under test.
        skipped: reasons why properties are not checked, by their names.
        settings: returns the context in which each check runs.

    Raises:
        ValueError: for a name that is not a property.
    """
    names = [name_of(function) for function in properties]
    for name in skipped or {}:
        if name not in names:
            near = get_close_matches(name, names, n=1, cutoff=0.3)
            hint = f"did you mean {near[0]!r}?" if near else f"the properties are {', '.join(map(repr, names))}"
            raise ValueError(f"skip names {name!r}, which is not a property; {hint}")
    return tuple(
        Check(name, _check(function, case, (skipped or {}).get(name), settings))
        for name, function in zip(names, properties, strict=True)
    )


def _check(function: Property, case: Any, reason: str | None, settings: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        if reason is not None:
            skip(reason)
        with settings():
            function(case)

    run.__name__ = function.__name__
    run.__doc__ = function.__doc__
    return run


def report_of(make: Callable[[], Any], checks: Sequence[Check], *, raises: bool) -> Report:
    """Run all checks, even if some fail, and report. If the class fails on simple data, only the first check runs.

    Args:
        make: builds the object to check; the report is named after its class.
        checks: the checks.
        raises: whether to raise an error if a property fails.

    Raises:
        ContractError: if a property failed and `raises` is True.
    """
    rows: list[Row] = []
    for check in checks:
        rows.append(_row(check))
        if isinstance(rows[-1].error, NotPrepared):
            break
    report = Report(_name(make), tuple(rows), len(checks) - len(rows))
    if raises:
        report.raise_failures()
    return report


def _name(make: Callable[[], Any]) -> str:
    """Return the name of the class that is checked, or of `make` if it fails."""
    with settings(torch.get_default_dtype(), "cpu"):
        try:
            return type(make()).__name__
        except Exception:
            return getattr(make, "__name__", "make")


def _row(check: Check) -> Row:
    begin = time.perf_counter()
    why, error = "", None
    try:
        check()
        outcome = "passed"
    except SkipTest as reason:
        outcome, why = "skipped", str(reason)
    except Exception as found:
        outcome, why, error = "failed", error_text(found), found
    return Row(check.name, outcome, why, time.perf_counter() - begin, error)  # type: ignore[arg-type]


def error_text(error: BaseException) -> str:
    """Return the message of an assertion, or which other exception was raised where."""
    if isinstance(error, AssertionError) and str(error):
        return str(error)
    frame = _place(error)
    where = f" ({Path(frame.filename).name}, line {frame.lineno}, in {frame.name})" if frame else ""
    return f"raised {type(error).__name__}{': ' if str(error) else ''}{error}{where}"


def _place(error: BaseException) -> traceback.FrameSummary | None:
    """Return the innermost line of the user's own code, or else of quickstudy's."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_HERE)]
    frames = [f for f in frames if not f.filename.startswith((*_LIBRARIES, "<"))]
    own = [f for f in frames if not f.filename.startswith(_PACKAGE)]
    found = own or frames
    return found[-1] if found else None


@contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    """Set torch's default type to `dtype`, and restore it at the end."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def settings(dtype: torch.dtype, device: torch.device | str) -> Iterator[None]:
    """Seed random numbers, set torch's default type and device, and enable gradients; restore all at the end."""
    place = torch.device(device)
    python, legacy = random.getstate(), np.random.get_state()
    devices = [] if place.type == "cpu" else [place]
    kind = "cuda" if place.type == "cpu" else place.type
    try:
        with (
            torch.random.fork_rng(devices, device_type=kind),
            torch.inference_mode(False),
            torch.enable_grad(),
            default_type(dtype),
            nullcontext() if torch.get_default_device() == place else place,
        ):
            torch.manual_seed(3)
            random.seed(3)
            np.random.seed(3)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)

"""The fast path is used only where it was shown, on the user's own data, to agree with plain PyTorch."""

import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from quickstudy.inner.fast.engine import Fast
from quickstudy.inner.fast.trying import reason_of
from quickstudy.inner.modules.outputs import concatenated, map_outputs
from quickstudy.inner.modules.purity import replaying, untouched
from quickstudy.inner.modules.settings import settings_of_function
from quickstudy.inner.plain import Plain
from quickstudy.inner.problem import Problem
from quickstudy.inner.state import State
from quickstudy.inner.transforms import in_transform

Evidence = dict[str, Tensor]

AT_ONCE = 4  # layouts that are verified as they come
EVERY = 64  # calls for each further one

ROUNDING = 100.0  # times what the last digits of the weights change counts as rounding
_CLOSE = {torch.float64: 1e-10, torch.complex128: 1e-10, torch.float32: 2e-5, torch.complex64: 2e-5}
_FAR = 1e-2  # in shorter types


class Trust:
    """What was verified, and what came of it; one for every inner loop.

    Args:
        engine: that was asked for: "auto" falls back to plain PyTorch, others raise.
        verify: whether to verify at all.
    """

    def __init__(self, engine: str, verify: bool):
        self.engine, self.verify = engine, verify
        self.verdicts: dict[Any, str | None] = {}
        self.calls, self.checked, self.again = 0, 0, False
        self._said: set[str] = set()
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Trust, (self.engine, self.verify)

    def objection(
        self,
        key: Any,
        fast: Callable[[], Evidence],
        plain: Callable[[], Evidence],
        rounded: Callable[[], Evidence] | None = None,
    ) -> str | None:
        """Why the fast path must not be used for data, modes and settings like these; None where it may be.

        Args:
            key: what stands for them.
            fast: runs it on a small part of the user's data, leaving no trace.
            plain: runs plain PyTorch on the same.
            rounded: the same with weights that differ in their last digits, to tell what is rounding.
        """
        with self._lock:
            self.calls += 1
            known = key in self.verdicts
            room = AT_ONCE + self.calls // EVERY > self.checked
            if not self.verify or (known and not self.again) or not (known or room or self.again):
                return self.verdicts.get(key) if known else next(filter(None, self.verdicts.values()), None)
            self.checked, self.again = self.checked + 1, False
        expected = plain()  # what the user did wrong, this says
        try:
            found = fast()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            verdict: str | None = reason_of(error)
        else:
            verdict = difference(found, expected)
            if verdict is not None and rounded is not None:
                verdict = difference(found, expected, rounded())
            if verdict is None and not all(bool(t.isfinite().all()) for t in expected.values()):
                return None  # nothing is shown by what is not a number: next time again
        self.verdicts[key] = verdict
        return verdict

    def fall_back(self, why: str) -> None:
        """Say that tasks run one by one; RuntimeError where the engine was asked for by name."""
        if self.engine != "auto":
            raise RuntimeError(
                f"engine={self.engine!r} cannot be used here: {why}. engine='auto' takes the loop where it must, "
                "engine='loop' always"
            )
        if why not in self._said:
            self._said.add(why)
            warnings.warn(f"tasks run one by one: {why}. engine='loop' says so itself", RuntimeWarning, stacklevel=4)


@dataclass(frozen=True)
class Trusted:
    """The fast path, and plain PyTorch where it turns out that it cannot be used; see `Engine`.

    Args:
        fast: how tasks run.
        trust: what was verified.
        shown: functions whose values were verified with the steps.
        apart: every task by itself.
    """

    fast: Fast
    trust: Trust
    shown: tuple[Any, ...] = ()
    apart: bool = False

    @property
    def together(self) -> bool:
        """Whether all tasks run in one pass."""
        return self.fast.together and not self.apart

    def step(
        self, problem: Problem, state: State, start: State, data: Any, outer: Any, step: int, *, second_order: bool
    ) -> State:
        """One more step of the rule; see `Engine`."""
        return self._or_each(
            lambda: self.fast.step(problem, state, start, data, outer, step, second_order=second_order),
            lambda: _each_step(problem, state, start, data, outer, step, second_order=second_order),
        )

    def gradient(
        self, problem: Problem, state: State, data: Any, outer: Any, step: int, *, second_order: bool
    ) -> tuple[dict[str, Any], State]:
        """Every task's gradient; see `Engine`."""
        return self.fast.gradient(problem, state, data, outer, step, second_order=second_order)

    def evaluate(
        self, problem: Problem, state: State, function: Callable[..., Any], data: Any, outer: Any, step: int
    ) -> tuple[Any, dict[str, Tensor]]:
        """A function of every task's network; see `Engine`."""

        def each() -> tuple[Any, dict[str, Tensor]]:
            found = [Plain().evaluate(problem, s, function, d, outer, step) for s, d in _alone(state, data)]
            values, buffers = zip(*found, strict=True)
            return concatenated(values), {k: torch.cat([b[k] for b in buffers]) for k in buffers[0]}

        def fast() -> tuple[Any, dict[str, Tensor]]:
            return self.fast.evaluate(problem, state, function, data, outer, step)

        if self.apart or (in_transform() and not self.shown):
            return each()
        if (
            not self.trust.verify
            or getattr(function, "wraps", function) in self.shown
            or in_transform()
            or torch.compiler.is_compiling()
        ):
            return self._or_each(fast, each)
        key = "evaluate", _name(function), settings_of_function(function), _layout(data), step, problem.network.training
        why = self._objection_to(key, problem, state, function, data, outer, step)
        if why is not None:
            self.trust.fall_back(why)
            return each()
        return self._or_each(fast, each)

    def _objection_to(
        self, key: Any, problem: Problem, state: State, function: Callable[..., Any], data: Any, outer: Any, step: int
    ) -> str | None:
        """Why the function's values, or their gradients, cannot be had in one pass."""
        two = _two_of(state, data)

        def evidence(run: Callable[[Problem, State], Any]) -> Evidence:
            same = replace(problem, randomness="same")
            here = two[0].built().detach()
            moved = {k: v.requires_grad_(v.is_floating_point()) for k, v in here.moved.items()}
            with untouched(problem.network, *problem.functions(), function), torch.enable_grad():
                torch.manual_seed(0)
                return _values(run(same, here._replace(moved=moved)), moved)

        def fast(problem: Problem, state: State) -> Any:
            return self.fast.evaluate(problem, state, function, two[1], outer, step)[0]

        def plain(problem: Problem, state: State) -> Any:
            values = []
            with replaying("same", 2) as again:
                for s, d in _alone(state, two[1]):
                    again()
                    values.append(Plain().evaluate(problem, s, function, d, outer, step)[0])
            return concatenated(values)

        return self.trust.objection(key, lambda: evidence(fast), lambda: evidence(plain))

    def _or_each(self, fast: Callable[[], Any], each: Callable[[], Any]) -> Any:
        try:
            return fast()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if in_transform():
                raise
            found = each()  # what the user did wrong, this says
            self.trust.fall_back(reason_of(error))
            return found


def difference(found: Evidence, expected: Evidence, rounded: Evidence | None = None) -> str | None:
    """The first thing in which the fast path's evidence is not plain PyTorch's, in words; None if they agree.

    Args:
        found: the fast path's.
        expected: plain PyTorch's.
        rounded: plain PyTorch's, but for rounding; what it differs by may be exceeded `ROUNDING` times.
    """
    largest: dict[str, float] = {}
    close = max((_CLOSE.get(t.dtype, _FAR) for t in expected.values()), default=_FAR)  # layers may differ in precision
    for name, value in expected.items():
        kind = name.partition(" ")[0]
        largest[kind] = max(largest.get(kind, 0.0), _largest(value))
    for name in (*expected, *(n for n in found if n not in expected)):
        right, got = _pair(expected.get(name), found.get(name))
        if got.shape != right.shape:
            return f"{name} has shape {list(got.shape)}, and {list(right.shape)} in plain PyTorch"
        if bool(((got.isnan() != right.isnan()) | (got.isinf() != right.isinf())).any()):
            return f"{name} is finite in only one of it and plain PyTorch"
        size = max(_largest(right), 1e-3 * largest.get(name.partition(" ")[0], 0.0))
        allowed = close * size
        if rounded is not None:
            allowed = max(allowed, ROUNDING * _apart(*_pair(expected.get(name), rounded.get(name))))
        if (apart := _apart(got, right)) > allowed:
            return f"{name} differs by {apart / max(size, 1e-300):.1e} of its size from plain PyTorch's"
    return None


def _pair(one: Tensor | None, other: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both, with zeros for the one that is not there."""
    there: Any = other if one is None else one
    return (torch.zeros_like(there) if one is None else one), (torch.zeros_like(there) if other is None else other)


def _apart(one: Tensor, other: Tensor) -> float:
    return _largest((one - other).nan_to_num(0.0, 0.0, 0.0))


def _largest(value: Tensor) -> float:
    finite = value.detach()[value.detach().isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def _values(value: Any, moved: dict[str, Tensor]) -> Evidence:
    tensors: list[Tensor] = []
    map_outputs(tensors.append, value)
    found = {f"output {i}": t.detach() for i, t in enumerate(tensors)}
    sums = [t.sum() for t in tensors if t.requires_grad and t.is_floating_point()]
    wanted = {k: v for k, v in moved.items() if v.requires_grad}
    if sums and wanted:
        grads = torch.autograd.grad(
            torch.stack(sums).sum(), list(wanted.values()), allow_unused=True, retain_graph=True
        )
        found |= {f"gradient of {k}": g for k, g in zip(wanted, grads, strict=True) if g is not None}
    return found


def _two_of(state: State, data: Any) -> tuple[State, Any]:
    """The first and the last task."""
    count = _count(state, data)
    places = torch.tensor([0, count - 1] if count > 1 else [0])
    return state.select(places), tree_map(lambda t: t[places.to(t.device)] if isinstance(t, Tensor) else t, data)


def _alone(state: State, data: Any) -> list[tuple[State, Any]]:
    """Every task alone."""
    alone = []
    for i in range(_count(state, data)):
        one = tree_map(lambda t, i=i: t[i : i + 1] if isinstance(t, Tensor) else t, data)
        alone.append((state.select(torch.tensor([i])).built(), one))
    return alone


def _each_step(
    problem: Problem, state: State, start: State, data: Any, outer: Any, step: int, *, second_order: bool
) -> State:
    begun = [s for s, _ in _alone(start, data)]
    after = [
        Plain().step(problem, s, b, d, outer, step, second_order=second_order)
        for (s, d), b in zip(_alone(state, data), begun, strict=True)
    ]
    return after[0].joined(after[1:])


def _count(state: State, data: Any) -> int:
    leaves = tree_leaves((data, state.buffers, state.moved))
    return next(len(t) for t in leaves if isinstance(t, Tensor) and t.dim())


def _layout(data: Any) -> tuple[Any, ...]:
    return tuple((t.dtype, t.shape) for t in tree_leaves(data) if isinstance(t, Tensor))


def _name(function: Any) -> Any:
    function = getattr(function, "wraps", function)
    return getattr(getattr(function, "__func__", function), "__code__", type(function))

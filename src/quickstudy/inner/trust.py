"""The fast path is used only where it was shown, on the user's own data, to agree with plain PyTorch."""

import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from quickstudy.checks import values_are_readable
from quickstudy.data import Examples
from quickstudy.inner.fast.engine import Fast
from quickstudy.inner.fast.lowrank import NotLinear
from quickstudy.inner.fast.trying import reason_of
from quickstudy.inner.fast.watch import HOOKED, Watch
from quickstudy.inner.modules.outputs import concatenated, map_outputs
from quickstudy.inner.modules.purity import changed, replaying, reseed, untouched
from quickstudy.inner.modules.settings import settings_of, settings_of_function
from quickstudy.inner.plain import Plain
from quickstudy.inner.points import real_points
from quickstudy.inner.problem import Problem
from quickstudy.inner.state import State
from quickstudy.inner.transforms import in_transform

Evidence = dict[str, Tensor]
"""By name. What comes before the last word says of what kind it is, and thereby what counts as large."""

BUFFER = "the buffer "

AT_ONCE = 4  # layouts that are verified as they come
EVERY = 64  # calls for each further one

ROUNDING = 100.0  # times what the last digits of the weights change counts as rounding
EXCUSED = 1e-2  # of a tensor's size at most; where rounding changes more, nothing can be compared
UNDECIDED = "undecided"
UNCLEAR = 16  # such answers, after which they count as agreement
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
        self.calls, self.checked, self.unclear, self.again = 0, 0, 0, False
        self._said: set[str] = set()
        self._settings: set[Any] = set()
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Trust, (self.engine, self.verify)

    def settled(self, settings: Any, layout: Any) -> bool:
        """Whether there is a verdict for such data and settings, and nobody has asked to verify again."""
        if self.again or (settings, layout) not in self.verdicts:
            return False
        self.calls += 1
        return True

    def objection(
        self,
        settings: Any,
        layout: Any,
        *,
        fast: Callable[[], Evidence],
        plain: Callable[[], Evidence],
        rounded: Callable[[], Evidence] | None = None,
        precision: torch.dtype | None = None,
    ) -> str | None:
        """Why the fast path must not be used for data, modes and settings like these; None where it may be.

        Args:
            settings: what stands for modes and settings, two entries for the kind of call first. The first `EVERY` are
                all verified; of more, some, and one refusal of the kind then counts for the others.
            layout: what stands for the data. Of many, some are verified, and the others believed.
            fast: runs it on a small part of the user's data, leaving no trace.
            plain: runs plain PyTorch on the same.
            rounded: the same with weights that differ in their last digits, to tell what is rounding.
            precision: the shortest type that the network computes in, where that is known.
        """
        with self._lock:
            key = settings, layout
            self.calls += 1
            known = key in self.verdicts
            new = settings not in self._settings and len(self._settings) < EVERY
            room = new or AT_ONCE + self.calls // EVERY > self.checked
            if new:
                self._settings.add(settings)
            if not self.verify or (known and not self.again) or not (known or room or self.again):
                return self.verdicts.get(key) if known else self._of_its_kind(settings)
            self.checked, self.again = self.checked + 1, False
        expected = _dense(plain())  # an error of the user's own is raised here
        try:
            found = _dense(fast())
        except (torch.OutOfMemoryError, NotLinear):
            raise
        except Exception as error:
            verdict: str | None = reason_of(error)
        else:
            verdict = difference(found, expected, precision=precision)
            if verdict is not None and rounded is not None:
                verdict = difference(found, expected, _dense(rounded()), precision=precision)
            if verdict is UNDECIDED and difference(_dense(plain()), expected, precision=precision) is not None:
                verdict = "it gives other numbers when it runs again, by a count or random numbers of its own"
            numbers = (t for name, t in expected.items() if not name.startswith(BUFFER))  # masks may hold -inf
            if verdict is None and not all(bool(t.isfinite().all()) for t in numbers):
                return None  # nothing is shown by what is not a number: next time again
            if verdict is UNDECIDED:
                self.unclear += 1
                if self.unclear < UNCLEAR:
                    return None  # likewise by rounding alone, as where an inner loop diverges
                verdict = None
        with self._lock:
            self.verdicts[key] = verdict
        return verdict

    def _of_its_kind(self, settings: Any) -> str | None:
        """What was found for other layouts with the same settings; where these are too many, for any of them."""
        kind = settings[:2]
        seen = settings in self._settings
        found = ((other, why) for (other, _), why in self.verdicts.items() if why is not None)
        return next((why for other, why in found if other == settings or (not seen and other[:2] == kind)), None)

    def fall_back(self, why: str) -> None:
        """Say that tasks run one by one; RuntimeError where the engine was asked for by name."""
        if self.engine == "loop":  # tasks run one by one anyway
            raise RuntimeError(f"mixed_mode=True cannot be used here: {why}. Leave it out")
        if self.engine != "auto":
            raise RuntimeError(
                f"engine={self.engine!r} cannot be used here: {why}. Use engine='auto', which takes the loop "
                "where it must, or engine='loop'"
            )
        if why not in self._said:
            self._said.add(why)
            warnings.warn(
                f"tasks run one by one: {why}. Pass engine='loop' to choose this without a warning",
                RuntimeWarning,
                stacklevel=4,
            )


@dataclass(frozen=True)
class Trusted:
    """The fast path, and plain PyTorch where it turns out that it cannot be used; see `Engine`.

    Args:
        fast: how tasks run.
        trust: what was verified.
        shown: functions whose values were verified together with the steps; others are verified when they come.
        layout: types and shapes of the points for which they were.
        apart: whether every task runs by itself.
    """

    fast: Fast
    trust: Trust
    shown: Any = None
    layout: Any = None
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
            plain, found = Plain(set(self.fast.plan.sparse)), []
            alone = _alone(state, data, compact=getattr(function, "wraps", function) == problem.point_loss)
            with replaying(problem.randomness, len(alone)) as again:
                for s, d in alone:
                    again()
                    found.append(plain.evaluate(problem, s, function, d, outer, step))
            values, buffers = zip(*found, strict=True)
            return concatenated(values), {k: torch.cat([b[k] for b in buffers]) for k in buffers[0]}

        def fast() -> tuple[Any, dict[str, Tensor]]:
            return self.fast.evaluate(problem, state, function, data, outer, step)

        if self.apart or (in_transform() and self.shown is None):
            return each()
        known = getattr(function, "wraps", function) == self.shown and layout_of(data) == self.layout
        if not self.trust.verify or known or in_transform() or not all(values_are_readable(t) for t in _tensors(data)):
            return self._or_each(fast, each)
        told = getattr(function, "wraps", function)
        of_network = settings_of(problem.network), tuple(state.moved), told_of(outer)
        settings = "evaluate", _name(told), settings_of_function(told), *of_network
        why = self._objection_to(settings, problem, state, function, data, outer, step=step)
        if why is not None:
            self.trust.fall_back(why)
            return each()
        return self._or_each(fast, each)

    def _objection_to(
        self,
        settings: Any,
        problem: Problem,
        state: State,
        function: Callable[..., Any],
        data: Any,
        outer: Any,
        *,
        step: int,
    ) -> str | None:
        """Why the function's values, or their gradients, cannot be had in one pass."""
        few, points = _two_of(state, data)
        written: list[str] = []
        watch = Watch()
        compact = getattr(function, "wraps", function) == problem.point_loss

        def evidence(run: Callable[[Problem, State, Any], Any], *, shake: bool = False) -> Evidence:
            here, given = few.built().detach(), _cloned(points)
            moved = {k: shaken(v) if shake else v for k, v in here.moved.items()}
            moved = {k: _begun(v) for k, v in moved.items()}
            shared = {k: _begun(v) if few.shared[k].requires_grad else v.clone() for k, v in here.shared.items()}
            judge = problem.judge()
            with untouched(problem.network, *problem.functions(), function, outer), torch.enable_grad():
                reseed(0)
                value = run(replace(problem, randomness="same"), here._replace(shared=shared, moved=moved), given)
                written.extend(k for k, v in shared.items() if changed(v, here.shared[k]))
                if any(changed(a, b) for a, b in zip(_tensors(given), _tensors(points), strict=True)):
                    written.append("its data")
                return _values(value, {**shared, **moved, **judge, **_numbered("outer", outer)})

        def fast(problem: Problem, state: State, given: Any) -> Any:
            return self.fast.evaluate(problem, state, function, given, outer, step)[0]

        def plain(problem: Problem, state: State, given: Any) -> Any:
            values = []
            with watch, replaying("same", 2) as again:
                for s, d in _alone(state, given, compact=compact):
                    again()
                    values.append(Plain(set(self.fast.plan.sparse)).evaluate(problem, s, function, d, outer, step)[0])
            return concatenated(values)

        why = self.trust.objection(
            settings,
            layout_of(data),
            fast=lambda: evidence(fast),
            plain=lambda: evidence(plain),
            rounded=lambda: evidence(plain, shake=True),
            precision=self.fast.plan.precision,
        )
        if why is None and (written or watch.hooked):
            why = f"the network writes into {written[0]}" if written else HOOKED
            self.trust.verdicts[settings, layout_of(data)] = why
        return why

    def _or_each(self, fast: Callable[[], Any], each: Callable[[], Any]) -> Any:
        try:
            return fast()
        except (torch.OutOfMemoryError, NotLinear):
            raise
        except Exception as error:
            if in_transform():
                raise
            found = each()  # an error of the user's own is raised here
            self.trust.fall_back(reason_of(error))
            return found


def difference(
    found: Evidence, expected: Evidence, rounded: Evidence | None = None, *, precision: torch.dtype | None = None
) -> str | None:
    """The first thing in which the fast path's evidence is not plain PyTorch's, in words; None if they agree.

    Args:
        found: the fast path's.
        expected: plain PyTorch's.
        rounded: plain PyTorch's, but for rounding; what it differs by may be exceeded `ROUNDING` times. Where that is
            more than `EXCUSED`, a difference shows nothing, and the answer is `UNDECIDED`.
        precision: the shortest type that the network computes in, where that is known.
    """
    unclear = False
    largest: dict[str, float] = {}
    types = {t.dtype for t in expected.values()} | ({precision} if precision is not None else set())
    close = max((_CLOSE.get(dtype, _FAR) for dtype in types), default=_FAR)  # layers may differ in precision
    for name, value in expected.items():
        kind = name.rpartition(" ")[0]
        largest[kind] = max(largest.get(kind, 0.0), _largest(value))
    coarsest = max((torch.finfo(dtype).eps for dtype in types if dtype.is_floating_point), default=0.0)
    for name in (*expected, *(n for n in found if n not in expected)):
        right, got = _pair(expected.get(name), found.get(name))
        if got.shape != right.shape:
            return f"{name} has shape {list(got.shape)}, and {list(right.shape)} in plain PyTorch"
        if bool(((got.isnan() != right.isnan()) | (got.isinf() != right.isinf())).any()):
            return f"{name} is finite in only one of it and plain PyTorch"
        whole = largest.get(name.rpartition(" ")[0], 0.0)
        size = max(_largest(right), 1e-3 * whole)
        allowed, excused = max(close * size, 64 * coarsest * whole), 0.0
        if rounded is not None:
            excused = ROUNDING * _apart(*_pair(expected.get(name), rounded.get(name)))
        if (apart := _apart(got, right)) <= max(allowed, min(excused, EXCUSED * size)):
            continue
        if apart > excused:
            return f"{name} differs by {apart / max(size, 1e-300):.1e} of its size from plain PyTorch's"
        unclear = True
    return UNDECIDED if unclear else None


def shaken(tensor: Tensor, precision: torch.dtype | None = None) -> Tensor:
    """The same numbers, but for their last digits in `precision`, by default their own."""
    if not tensor.is_floating_point():
        return tensor
    eps = torch.finfo(precision or tensor.dtype).eps
    noise = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(0)).to(tensor) * 2 - 1
    return tensor.detach() * (1 + 8 * eps * noise)


def _pair(one: Tensor | None, other: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both, with zeros for the one that is not there."""
    there: Any = other if one is None else one
    return (torch.zeros_like(there) if one is None else one), (torch.zeros_like(there) if other is None else other)


def _apart(one: Tensor, other: Tensor) -> float:
    return _largest((one - other).nan_to_num(0.0, 0.0, 0.0))


def _largest(value: Tensor) -> float:
    finite = value.detach()[value.detach().isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def _dense(found: Evidence) -> Evidence:
    """Without sparse layouts: a weight that is not adapted may have a meta-gradient with one."""
    return {k: t if t.layout == torch.strided else t.to_dense() for k, t in found.items()}


def _begun(tensor: Tensor) -> Tensor:
    """A clone whose gradient can be asked for."""
    clone = tensor.detach().clone()
    return clone.requires_grad_() if _is_number(clone) and clone.layout == torch.strided else clone


def _numbered(name: str, tree: Any) -> dict[str, Tensor]:
    return {f"{name}-{i}": t for i, t in enumerate(_tensors(tree))}


def _values(value: Any, given: dict[str, Tensor]) -> Evidence:
    tensors: list[Tensor] = []
    map_outputs(tensors.append, value)
    found = {f"output {i}": t.detach() if _is_number(t) else t.double() for i, t in enumerate(tensors)}
    sums = [t.sum() for t in tensors if t.requires_grad and t.is_floating_point()]
    wanted = {k: v for k, v in given.items() if v.requires_grad}
    if sums and wanted:
        grads = torch.autograd.grad(
            torch.stack(sums).sum(), list(wanted.values()), allow_unused=True, retain_graph=True
        )
        found |= {f"gradient of {k}": g for k, g in zip(wanted, grads, strict=True) if g is not None}
    return found


def _is_number(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _two_of(state: State, data: Any) -> tuple[State, Any]:
    """The first and the last task, or those with the fewest and the most points."""
    count = _count(state, data)
    places = torch.tensor([0, count - 1] if count > 1 else [0])
    points = data[-1] if isinstance(data, tuple) and data and not isinstance(data, Examples) else data
    if isinstance(points, Examples) and points.mask is not None:
        places = points.sizes().argsort().cpu()[places]
    return state.select(places), tree_map(lambda t: t[places.to(t.device)] if isinstance(t, Tensor) else t, data)


def _alone(state: State, data: Any, *, compact: bool = False) -> list[tuple[State, Any]]:
    """Every task alone; `compact`: without padding, also where points come after those of the support set."""
    alone = []
    for i in range(_count(state, data)):
        one = tree_map(lambda t, i=i: t[i : i + 1] if isinstance(t, Tensor) else t, data)
        if compact:
            one = real_points(one) if isinstance(one, Examples) else (one[0], real_points(one[1]))
        alone.append((state.select(torch.tensor([i])).built(), one))
    return alone


def _each_step(
    problem: Problem, state: State, start: State, data: Any, outer: Any, step: int, *, second_order: bool
) -> State:
    begun = [s for s, _ in _alone(start, data)]
    after = []
    with replaying(problem.randomness, len(begun)) as again:
        for (s, d), b in zip(_alone(state, data), begun, strict=True):
            again()
            after.append(Plain().step(problem, s, b, d, outer, step, second_order=second_order))
    return after[0].joined(after[1:])


def _count(state: State, data: Any) -> int:
    leaves = tree_leaves((data, state.buffers, state.moved))
    return next(len(t) for t in leaves if isinstance(t, Tensor) and t.dim())


def _cloned(tree: Any) -> Any:
    return tree_map(lambda t: t.detach().clone() if isinstance(t, Tensor) else t, tree)


def _tensors(tree: Any) -> list[Tensor]:
    return [t for t in tree_leaves(tree) if isinstance(t, Tensor)]


def layout_of(data: Any) -> tuple[Any, ...]:
    """Types, shapes and places of one task's part, and what in it is no tensor."""
    return tuple(_told(t, t.shape[1:]) if isinstance(t, Tensor) else _told(t) for t in tree_leaves(data))


def told_of(tree: Any) -> tuple[Any, ...]:
    """The same of whole tensors."""
    return tuple(_told(t, t.shape) if isinstance(t, Tensor) else _told(t) for t in tree_leaves(tree))


def _told(leaf: Any, shape: Any = None) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.dtype, shape, leaf.device, leaf.requires_grad
    return leaf if leaf is None or isinstance(leaf, bool | int | float | str) else type(leaf)


def _name(function: Any) -> Any:
    """What kind of function it is, whatever it closes over."""
    return getattr(getattr(function, "__func__", function), "__code__", type(function))

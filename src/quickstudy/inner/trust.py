"""Verification: the fast path is used only after it agreed with plain PyTorch on the user's own data."""

import threading
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from quickstudy.inner.fast.lowrank import NotLinear
from quickstudy.inner.fast.trying import reason_of
from quickstudy.inner.modules.settings import Settings

Evidence = dict[str, Tensor]
"""Tensors by name. The name without its last word is the kind; differences are judged by the size of the kind."""

BUFFER = "the buffer "

AT_ONCE = 4  # layouts that are verified at their first call
EVERY = 64  # calls after which one more layout is verified

ROUNDING = 100.0  # a difference counts as rounding up to this multiple of the effect of the weights' last digits
EXCUSED = 1e-2  # rounding can explain a difference up to this share of a tensor's size; beyond, nothing can be compared
SHAKES = 8  # other last digits that are tried: whether a unit at its kink is on can depend on them
UNDECIDED = "undecided"
UNCLEAR = 16  # this many undecided comparisons count as agreement
_CLOSE = {torch.float64: 1e-10, torch.complex128: 1e-10, torch.float32: 2e-5, torch.complex64: 2e-5}
_FAR = 1e-2  # for shorter types


class Trust:
    """The results of verification; every inner loop has its own.

    Args:
        engine: the engine given by the user: "auto" falls back to plain PyTorch, others raise.
        verify: whether to verify at all.
    """

    def __init__(self, engine: str, verify: bool):
        self.engine, self.verify = engine, verify
        self.verdicts: dict[Any, str | None] = {}
        self.calls, self.checked, self.unclear, self.again = 0, 0, 0, False
        self._said: set[str] = set()
        self.settings_of_functions = Settings()
        self._settings: set[Any] = set()
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Trust, (self.engine, self.verify)

    def settled(self, settings: Any, layout: Any) -> bool:
        """Whether there is a verdict for these settings and this layout, and no new verification was requested."""
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
        rounded: Callable[[int], Evidence] | None = None,
        precision: torch.dtype | None = None,
    ) -> str | None:
        """The reason not to use the fast path with these settings and this layout; None if it may be used.

        Args:
            settings: a key for modes and settings; its first two entries are the kind of call. The first `EVERY` keys
                are all verified, of later ones only some, and a refusal then holds for all keys of that kind.
            layout: a key for the data. Of many layouts, only some are verified.
            fast: runs the fast path on a small part of the user's data, and leaves no trace.
            plain: runs plain PyTorch on the same data.
            rounded: runs plain PyTorch with weights that differ in their last digits, to measure rounding; these digits
                depend on its argument.
            precision: the shortest type that the network computes in, if known.
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
            self.checked, self.again = self.checked + (not new), False
        expected = _dense(plain())  # an error of the user's own is raised here
        try:
            found = _dense(fast())
        except (torch.OutOfMemoryError, NotLinear):
            raise
        except Exception as error:
            verdict: str | None = reason_of(error)
        else:
            verdict = difference(found, expected, precision=precision)
            for seed in range(SHAKES):
                if verdict is None or verdict is UNDECIDED or rounded is None:
                    break
                verdict = difference(found, expected, _dense(rounded(seed)), precision=precision)
            if verdict is UNDECIDED and difference(_dense(plain()), expected, precision=precision) is not None:
                verdict = "it gives other numbers when it runs again, by a count or random numbers of its own"
            numbers = (t for name, t in expected.items() if not name.startswith(BUFFER))  # masks may hold -inf
            if verdict is None and not all(bool(t.isfinite().all()) for t in numbers):
                return None  # NaN and infinity show nothing: verify at the next call
            if verdict is UNDECIDED:
                self.unclear += 1
                if self.unclear < UNCLEAR:
                    return None  # rounding dominates, as in a diverging inner loop: verify at the next call
                verdict = None
        with self._lock:
            self.verdicts[key] = verdict
        return verdict

    def _of_its_kind(self, settings: Any) -> str | None:
        """A refusal for another layout with the same settings; for settings beyond the limit, any of the kind."""
        kind = settings[:2]
        seen = settings in self._settings
        found = ((other, why) for (other, _), why in self.verdicts.items() if why is not None)
        return next((why for other, why in found if other == settings or (not seen and other[:2] == kind)), None)

    def fall_back(self, why: str) -> None:
        """Warn that tasks run one by one; RuntimeError if the user chose the engine by name."""
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


def difference(
    found: Evidence, expected: Evidence, rounded: Evidence | None = None, *, precision: torch.dtype | None = None
) -> str | None:
    """The first difference between the fast path and plain PyTorch, in words; None if they agree.

    Args:
        found: tensors of the fast path.
        expected: tensors of plain PyTorch.
        rounded: tensors of plain PyTorch with other last digits of the weights. Up to `ROUNDING` times the difference
            that these make is allowed. Where that exceeds `EXCUSED`, a difference shows nothing: `UNDECIDED`.
        precision: the shortest type that the network computes in, if known.
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
            return f"{name} is finite in plain PyTorch or in the fast path, but not in both"
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


def shaken(tensor: Tensor, precision: torch.dtype | None = None, *, seed: int) -> Tensor:
    """The tensor with other last digits, which `seed` draws, in `precision`, by default that of its own type."""
    if not tensor.is_floating_point() or tensor.layout != torch.strided:
        return tensor
    eps = torch.finfo(precision or tensor.dtype).eps
    noise = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(seed)).to(tensor) * 2 - 1
    return tensor.detach() * (1 + 8 * (1 + seed) * eps * noise)


def _pair(one: Tensor | None, other: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both tensors; zeros take the place of one that is None."""
    there: Any = other if one is None else one
    return (torch.zeros_like(there) if one is None else one), (torch.zeros_like(there) if other is None else other)


def _apart(one: Tensor, other: Tensor) -> float:
    return _largest((one - other).nan_to_num(0.0, 0.0, 0.0))


def _largest(value: Tensor) -> float:
    finite = value.detach()[value.detach().isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def _dense(found: Evidence) -> Evidence:
    """The tensors with dense layouts: the meta-gradient of a weight that does not adapt can be sparse."""
    return {k: t if t.layout == torch.strided else t.to_dense() for k, t in found.items()}

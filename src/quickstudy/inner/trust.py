"""The fast path is used only where it was shown, on the user's own data, to agree with plain PyTorch."""

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
        self.settings_of_functions = Settings()
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

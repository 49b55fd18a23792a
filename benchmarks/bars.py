"""What quickstudy set out to reach, beside what was measured."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Bar(NamedTuple):
    """One promise about a case.

    Args:
        text: in words.
        contender: whose time is judged.
        beside: the other contender, or "floor".
        factor: the bar.
        faster: `beside / contender` must be at least `factor`; otherwise `contender / beside` at most.
    """

    text: str
    contender: str
    beside: str
    factor: float
    faster: bool = True


class Verdict(NamedTuple):
    """A bar, what was measured, and whether it is met (None: not measured)."""

    bar: Bar
    measured: float | None

    @property
    def met(self) -> bool | None:
        """Whether the bar is met."""
        if self.measured is None:
            return None
        return self.measured >= self.bar.factor if self.bar.faster else self.measured <= self.bar.factor


def in_words(bar: Mapping[str, Any]) -> str:
    """One of "met", "missed", "not measured", or "for comparison" of a bar as it stands in the JSON."""
    if bar["measured"] is None:
        return "not measured"
    return {True: "met", False: "missed", None: "for comparison"}[bar["met"]]


def lines(bars: Iterable[Mapping[str, Any]]) -> str:
    """Every bar beside what was measured, for the terminal."""
    return "\n".join(
        f"  {in_words(b)}: {b['bar']}" + ("" if b["measured"] is None else f" (measured {b['measured']:.2f})")
        for b in bars
    )


LOOP, JAX, EAGER, COMPILED, FIT = "python loop", "JAX jit+vmap", "ours, eager", "ours, compiled", "ours, in fit"
BEST = "ours, best"  # the fastest of eager, compiled and in fit

BARS: dict[str, tuple[Bar, ...]] = {
    "25x1x40": (
        Bar("in fit at least 25x faster than the loop", FIT, LOOP, 25),
        Bar("in fit at most 1.1x the time of JAX", FIT, JAX, 1.1, False),
        Bar("bare meta_loss, compiled, at most 1.7x the time of JAX", COMPILED, JAX, 1.7, False),
    ),
    "25x5x40": (
        Bar("in fit at least 40x faster than the loop", FIT, LOOP, 40),
        Bar("in fit at most 1.1x the time of JAX", FIT, JAX, 1.1, False),
    ),
    "100x1x256": (
        Bar("at least 7x faster than JAX", BEST, JAX, 7),
        Bar("within 1.5x of the counted floor", BEST, "floor", 1.5, False),
    ),
    "100x5x256": (Bar("at least 3.5x faster than JAX", BEST, JAX, 3.5),),
    "32x1x1024": (Bar("at least 8x faster than JAX", BEST, JAX, 8),),
    "conv4": (
        Bar("at least 8x faster than JAX", BEST, JAX, 8),
        Bar("stretch: at least 1.3x faster than the loop", BEST, LOOP, 1.3),
    ),
    "transformer": (Bar("at least 1.5x faster than the loop", BEST, LOOP, 1.5),),
}


def verdicts(case: str, times: Mapping[str, float]) -> list[Verdict]:
    """The bars of `case` beside `times` (seconds by contender, and "floor")."""
    ours = [times[name] for name in (EAGER, COMPILED, FIT) if name in times]
    times = {**times, **({BEST: min(ours)} if ours else {})}
    found = []
    for bar in BARS.get(case, ()):
        known = bar.contender in times and bar.beside in times
        ratio = times[bar.beside] / times[bar.contender] if known else None
        if ratio is not None and not bar.faster:
            ratio = 1 / ratio
        found.append(Verdict(bar, ratio))
    return found

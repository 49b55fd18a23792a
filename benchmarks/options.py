"""The command line that all scripts here share."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.records import FOLDER


@dataclass(frozen=True)
class Options:
    """What was asked for.

    Args:
        cases: to be measured.
        quick: tiny sizes, to see that everything runs.
        rounds: the most rounds of a race.
        budget: seconds of measuring for one contender.
        limit: seconds a step may take to be raced.
        compile_steps: inner steps up to which ours are compiled; they are unrolled, and 10 take a minute or two.
        out: where the JSON goes.
        contenders: parts of the names of those to run; all if empty.
    """

    cases: tuple[str, ...]
    quick: bool
    rounds: int
    budget: float
    limit: float
    compile_steps: int
    out: Path
    contenders: tuple[str, ...]

    @property
    def fit_steps(self) -> int:
        """Of a run of `fit`."""
        return 60 if self.quick else 3000

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Those of `names` to run."""
        return [n for n in names if not self.contenders or any(part in n for part in self.contenders)]


def parse(
    arguments: Sequence[str], description: str | None, cases: Iterable[str], quick_cases: Iterable[str] = ()
) -> Options:
    """Read the command line of one script.

    Args:
        arguments: the command line.
        description: for --help.
        cases: that there are.
        quick_cases: those that have a quick form; all if empty.
    """
    known = tuple(cases)
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=known, help="measure this one; may be repeated")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--rounds", type=int, help="the most rounds (20; quick: 3)")
    parser.add_argument("--budget", type=float, help="seconds of measuring for one contender (1.5; quick: 0.02)")
    parser.add_argument("--limit", type=float, default=3.0, help="seconds; a slower step is timed once")
    parser.add_argument("--compile-steps", type=int, default=10, help="ours is compiled up to so many inner steps")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the results")
    parser.add_argument("--contender", action="append", default=[], help="part of a name; may be repeated")
    given = parser.parse_args(arguments)
    known = (tuple(quick_cases) or known) if given.quick else known
    unknown = [case for case in given.case or () if case not in known]
    if unknown:
        parser.error(f"{unknown[0]} has no quick form; these have: {', '.join(known)}")
    rounds = given.rounds or (3 if given.quick else 20)
    budget = given.budget or (0.02 if given.quick else 1.5)
    return Options(
        cases=tuple(given.case or known),
        quick=given.quick,
        rounds=rounds,
        budget=budget,
        limit=given.limit,
        compile_steps=given.compile_steps,
        out=given.out,
        contenders=tuple(given.contender),
    )

"""How the time of a meta-gradient grows with tasks, width and inner steps, beside the counted floor.

From 25 tasks, width 256 and 1 step, one of the three is varied. Eager, so that no curve waits for compilers (JAX jits).

    python -m benchmarks.scaling --case tasks
"""

import sys
import warnings
from typing import Any

import torch

from benchmarks import contenders, floor, records
from benchmarks.options import Options, parse
from benchmarks.problems import mlp
from benchmarks.timing import Race

BASE = {"tasks": 25, "steps": 1, "width": 256}
CURVES = {"tasks": (1, 5, 25, 100, 400), "width": (16, 64, 256, 1024), "steps": (1, 2, 5, 10, 20)}
QUICK = {"tasks": (1, 3), "width": (4, 8), "steps": (1, 2)}
ENTRIES = ("python loop", "vmap(grad)", "JAX jit+vmap", "ours, eager")
SHARE = 0.3  # of the budget of a race in `meta_step`: there are many points here


def point(size: dict[str, int], options: Options, speed: float) -> dict[str, Any]:
    """Milliseconds of every contender at one size, and of the floor."""
    problem = mlp(**size)
    race = Race(budget=SHARE * options.budget, rounds=min(options.rounds, 7), limit=options.limit)
    found: dict[str, float] = {}
    for name in options.chosen(ENTRIES):
        try:
            step = contenders.builder(name)(problem).step
        except ModuleNotFoundError:
            continue
        assert step is not None
        if not race.enter(name, step):
            found[name] = race.once[name] * 1e3
    for _ in range(race.number_of_rounds()):
        race.round()
    found |= {name: seconds * 1e3 for name, seconds in race.medians().items()}
    operations = floor.flops(floor.mlp_layers(size["width"]), size["tasks"], size["steps"])
    return {**size, "milliseconds": found, "gigaflop": operations / 1e9, "floor": operations / speed / 1e6}


def as_table(curve: str, points: list[dict[str, Any]]) -> str:
    """Milliseconds, one column a contender."""
    names = list(dict.fromkeys(n for p in points for n in p["milliseconds"]))
    rows = [
        [
            p[curve],
            *(f"{p['milliseconds'][n]:.2f}" if n in p["milliseconds"] else "" for n in names),
            f"{p['floor']:.3f}",
        ]
        for p in points
    ]
    return records.table([curve, *names, "floor"], rows)


def main(arguments: list[str]) -> None:
    """Measure the curves asked for."""
    options = parse(arguments, __doc__, CURVES)
    warnings.simplefilter("ignore")  # of the alternatives
    speed = floor.gigaflops(256 if options.quick else floor.LARGE)
    for curve in options.cases:
        values = (QUICK if options.quick else CURVES)[curve]
        points = []
        for value in values:
            torch.manual_seed(0)
            points.append(point({**BASE, curve: value}, options, speed))
        records.write_case("scaling", options.out, curve, {"gigaflop_per_second": speed, "points": points})
        print(f"\nmilliseconds by {curve}, from {BASE}\n{as_table(curve, points)}")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])

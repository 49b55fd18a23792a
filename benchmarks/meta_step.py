"""A whole meta-step (sampling, exact meta-gradient, Adam) by every contender, interleaved in one run, medians.

Each contender's meta-gradient is first compared with the python loop's. For the convolutional net that is done on a
small one: on the large one some of 10^7 ReLUs and maxima lie within float32's rounding of their kink, and every
contender, the loop too, is 1e-3 away from the loop in float64.

    python -m benchmarks.meta_step --case 25x1x40
"""

import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks import contenders, floor, records
from benchmarks.bars import lines, verdicts
from benchmarks.options import Options, parse
from benchmarks.problems import Contender, Problem, conv, mlp, transformer
from benchmarks.timing import Race, difference, repeats_within

TOLERANCE = 1e-4  # relative, float32
PLAIN = contenders.NAMES[0]
DENSE, DENSE_STEPS = "dense, compiled", 5  # torch.compile itself needs many minutes for more
COMPILED = (DENSE, "ours, compiled", "ours, in fit")
FLOOR = "large product"  # raced beside the contenders: the floor is counted in its speed
MLPS = ((25, 1, 40), (25, 5, 40), (25, 10, 40), (100, 1, 256), (100, 5, 256), (100, 10, 256), (32, 1, 1024))
CASES: dict[str, Callable[[], Problem]] = {
    **{"{}x{}x{}".format(*size): partial(mlp, *size) for size in MLPS},
    "conv4": conv,
    "transformer": transformer,
}
QUICK: dict[str, Callable[[], Problem]] = {
    "25x1x40": partial(mlp, 3, 1, 8),
    "conv4": partial(conv, 2, 1, 4, 16),
    "transformer": partial(transformer, 2, 1, 16, 4, 1),
}
CHECKED = {"conv": QUICK["conv4"]}  # kinds whose gradients are compared on another problem than the one that is timed
# A few further contenders make no sense on larger networks: they are the loop with more overhead.
ENTRIES = {
    "mlp": contenders.NAMES,
    "conv": (PLAIN, "vmap(grad)", "JAX jit+vmap", "ours, eager", "ours, compiled"),
    "transformer": (PLAIN, "ours, eager", "ours, compiled"),
}


def measure(case: str, problem: Problem, options: Options) -> dict[str, Any]:
    """Times, agreement and bars of one case."""
    checked = CHECKED.get(problem.kind, lambda: problem)()
    tasks = checked.sample(torch.Generator().manual_seed(1))
    race = Race(budget=options.budget, rounds=options.rounds, limit=options.limit)
    rows: dict[str, dict[str, Any]] = {}
    drivers: dict[str, Contender] = {}
    expected = None
    for name in options.chosen(ENTRIES[problem.kind]):
        if name in COMPILED and problem.steps > (DENSE_STEPS if name == DENSE else options.compile_steps):
            rows[name] = {"skipped": "not compiled: that would take many minutes"}
            continue
        rows[name] = {}
        try:
            builder = contenders.builder(name)
            contender = builder(problem)
            judged = contender if checked is problem else builder(checked)
            found = None if judged.gradient is None else judged.gradient(tasks)
        except ModuleNotFoundError as error:
            rows[name] = {"skipped": f"{error.name} is not installed"}
            continue
        except RuntimeError as error:  # what cannot do it is a finding, not an end to the others
            rows[name] = {"skipped": f"fails: {_reason(error)}"}
            continue
        expected = found if name == PLAIN else expected
        if found is not None and expected is not None:
            rows[name] = {"error": difference(found, expected)}
        if contender.step is not None and not race.enter(name, contender.step):
            rows[name] |= {"milliseconds": race.once[name] * 1e3, "skipped": f"over {options.limit} s; timed once"}
        if contender.drive is not None:
            drivers[name] = contender
    side = 256 if options.quick else floor.LARGE
    race.enter(FLOOR, floor.product(side))
    _run(race, drivers, options)
    speed = 2 * side**3 / race.medians()[FLOOR] / 1e9
    del race.times[FLOOR]
    times = {**{k: r["milliseconds"] / 1e3 for k, r in rows.items() if "milliseconds" in r}, **race.medians()}
    for name, median in times.items():
        rows[name]["milliseconds"] = round(median * 1e3, 4)
    return {"problem": _described(problem), "contenders": rows, **_judged(case, problem, times, speed, options)}


def _reason(error: BaseException) -> str:
    """The first line of what went wrong first."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().splitlines()[0]


def _run(race: Race, drivers: dict[str, Contender], options: Options) -> None:
    rounds = race.number_of_rounds()
    if not drivers:
        for _ in range(rounds):
            race.round()
    for name, contender in drivers.items():  # `fit` has the loop, and lets the others run now and then
        assert contender.drive is not None
        once = min((t for n, t in race.once.items() if n in COMPILED), default=0.0)
        steps = repeats_within(once, 2 * options.budget, options.fit_steps)
        race.times[name] = contender.drive(rounds, max(1, steps // rounds), race.round)


def _judged(case: str, problem: Problem, times: dict[str, float], speed: float, options: Options) -> dict[str, Any]:
    """The counted floor, at `speed` in 10^9 operations a second, and the bars."""
    operations = operations_of(problem)
    seconds = operations / speed / 1e9
    judged = [] if options.quick else verdicts(case, {**times, "floor": seconds})
    return {
        "floor": {"gigaflop": operations / 1e9, "gigaflop_per_second": speed, "milliseconds": seconds * 1e3},
        "bars": [{"bar": v.bar.text, "measured": v.measured, "met": v.met} for v in judged],
    }


def operations_of(problem: Problem) -> int:
    """Counted floating-point operations of the exact meta-gradient.

    For an MLP by formula; for others those of the loop, with the linear layers in low-rank form where that is less.
    """
    if problem.kind == "mlp":
        return floor.flops(floor.mlp_layers(problem.size["width"]), problem.tasks, problem.steps)
    tasks = problem.sample(torch.Generator().manual_seed(1))
    gradient = contenders.builder(PLAIN)(problem).gradient
    assert gradient is not None
    total = floor.counted(lambda: gradient(tasks))
    if problem.kind == "transformer":
        layers = _transformer_layers(problem)
        dense = sum(floor.dense_flops(layer, problem.tasks, problem.steps) for layer in layers)
        total += floor.flops(layers, problem.tasks, problem.steps) - dense
    return total


def _transformer_layers(problem: Problem) -> list[floor.Layer]:
    width, rows = problem.size["width"], problem.support * problem.size["tokens"]
    block = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    return [floor.Layer(a, b, rows, rows) for a, b in block * problem.size["layers"]]


def _described(problem: Problem) -> dict[str, Any]:
    parameters = sum(p.numel() for p in problem.network.parameters())
    fields = ("kind", "tasks", "support", "query", "steps", "lr")
    return {k: getattr(problem, k) for k in fields} | problem.size | {"parameters": parameters}


def as_table(result: dict[str, Any]) -> str:
    """The contenders of a case, with ratios to the loop and to JAX."""
    rows = result["contenders"]
    times = {name: row.get("milliseconds") for name, row in rows.items()}

    def ratio(beside: str, name: str) -> str:
        ours, other = times.get(name), times.get(beside)
        return "" if ours is None or other is None else f"{other / ours:.2f}"

    cells = []
    for name, row in rows.items():
        note = row.get("skipped", "")
        if row.get("error", 0.0) > TOLERANCE:
            note = "WRONG gradient" + (f"; {note}" if note else "")
        error = f"{row['error']:.0e}" if "error" in row else "checked by fit" if name.endswith("fit") else ""
        time = "" if times[name] is None else f"{times[name]:.3f}"
        cells.append([name, time, ratio(PLAIN, name), ratio("JAX jit+vmap", name), error, note])
    bound = result["floor"]["milliseconds"]
    cells.append([f"floor: {result['floor']['gigaflop']:.3g} GFLOP", f"{bound:.3f}", "", "", "", ""])
    return records.table(["", "ms", "times faster than the loop", "than JAX", "gradient's error", ""], cells)


def main(arguments: list[str]) -> None:
    """Measure the cases asked for, one after another."""
    options = parse(arguments, __doc__, CASES, QUICK)
    # of the alternatives: deprecations, and vmap's slow paths
    warnings.simplefilter("ignore")
    for case in options.cases:
        torch.manual_seed(0)
        torch.compiler.reset()
        problem = (QUICK if options.quick else CASES)[case]()
        result = measure(case, problem, options)
        records.write_case("meta_step", options.out, case, result)
        print(f"\n{case}\n{as_table(result)}")
        print(lines(result["bars"]))
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])

"""A whole meta-step beside the alternatives, from results/benchmarks/meta_step.json."""

import json
from collections.abc import Mapping
from typing import Any

from results_pages.files import Lines
from results_pages.page import Figure, Headline, Page
from results_pages.record import RESULTS, Made, Record
from results_pages.table import Row, Table, plain, times

OURS = ("ours, in fit", "ours, compiled", "ours, eager")
LOOP, JAX = "python loop", "JAX jit+vmap"


def page() -> Page:
    """Milliseconds of a meta-step."""
    found = json.loads((RESULTS / "benchmarks" / "meta_step.json").read_text())
    cases: Mapping[str, Any] = found["cases"]
    rows = [_row(name, case) for name, case in cases.items()]
    first, conditions = next(iter(cases.items())), next(iter(cases.values()))["conditions"]
    small, name = first[1], _name(first[1]["problem"])
    fastest, loop, jax = _fastest(small), _milliseconds(small, LOOP), _milliseconds(small, JAX)
    last = _milliseconds(cases["32x1x1024"], JAX) or 0.0
    made = Made(found["command"], "medians of one process", conditions["commit"][:10], conditions["hardware"])
    return Page(
        name="speed",
        title="Speed of a meta-step",
        question="**How fast is an exact meta-gradient beside the alternatives?** One meta-step is to sample a batch "
        "of tasks, to compute the exact second-order gradient, and a step of Adam. All contenders take turns "
        "in one process; the times are medians. The *floor* is the counted floating-point operations at the "
        "speed of one large matrix product, timed in the same process.",
        figure=Figure(
            "../../results/benchmarks/meta_step.png",
            "Times faster than a Python loop, for each contender and problem",
            "Times faster than a Python loop over tasks, on a logarithmic scale; problems are named tasks x inner "
            "steps x width.",
        ),
        table=Table(
            ("", LOOP, JAX, "ours, the fastest", "floor", "times faster than the loop", "than JAX"),
            rows,
            (None,) * 6,
            "Milliseconds a meta-step, lower is better. *Ours, the fastest* is the least of eager, compiled and "
            "inside `fit`; the file has each, and higher, TorchOpt and vmap(grad) besides. An empty cell was not "
            "measured.",
        ),
        says=f"On the network of the MAML paper ({name}) a meta-step takes {plain(fastest)} ms, "
        f"{times(loop or 0.0, fastest)} times less than a Python loop and {times(jax or 0.0, fastest)} times less "
        f"than JAX. At width 1024 it is {times(last, _fastest(cases['32x1x1024']))} times as fast as JAX: no copy "
        "of the weights is made for each task ([Engines](../engines.md)).",
        care=(
            "One machine with two cores, one run: read ratios, not milliseconds.",
            f"torch {conditions['torch']}, JAX {conditions['jax']}, higher {conditions['higher']}, "
            f"TorchOpt {conditions['torchopt']}.",
        ),
        published=(),
        records=(Record("benchmarks", (made,), {}, (1, "runs")),),
        headline=Headline(
            "How long does a meta-step take?",
            "milliseconds; 25 tasks, 1 step, width 40 ↓",
            plain(fastest),
            "none",
            f"Python loop: {plain(loop or 0.0)}; JAX: {plain(jax or 0.0)}",
        ),
        files={"speed.csv": ("milliseconds of every contender on every problem", _lines(cases))},
    )


def _row(name: str, case: Mapping[str, Any]) -> Row:
    loop, jax, ours = _milliseconds(case, LOOP), _milliseconds(case, JAX), _fastest(case)
    numbers = (loop, jax, ours, case["floor"]["milliseconds"])
    ratios = ["" if other is None else times(other, ours) for other in (loop, jax)]
    return Row(_name(case["problem"]), [*("" if n is None else plain(n) for n in numbers), *ratios])


def _milliseconds(case: Mapping[str, Any], name: str) -> float | None:
    return case["contenders"].get(name, {}).get("milliseconds")


def _fastest(case: Mapping[str, Any]) -> float:
    return min(t for name in OURS if (t := _milliseconds(case, name)) is not None)


def _name(problem: Mapping[str, Any]) -> str:
    steps = f"{problem['steps']} step{'s' if problem['steps'] > 1 else ''}"
    kinds = {
        "mlp": "MLP of width {width}",
        "conv": "{filters}-filter conv-4",
        "transformer": "transformer, {layers} layers",
    }
    return f"{kinds[problem['kind']].format(**problem)}, {problem['tasks']} tasks, {steps}"


def _lines(cases: Mapping[str, Any]) -> Lines:
    return [
        {"problem": _name(case["problem"]), "contender": name, **row}
        for case in cases.values()
        for name, row in [*case["contenders"].items(), ("floor", {"milliseconds": case["floor"]["milliseconds"]})]
    ]

"""A whole meta-step on a GPU: each of our engines, eager and compiled, beside JAX; medians of interleaved rounds.

python -m benchmarks.gpu
"""

import os
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch

import quickstudy as qs
from benchmarks import contenders, records
from benchmarks.options import Options, parse
from benchmarks.problems import OUTER_RATE, Problem, mlp
from benchmarks.timing import Race, difference

SIZES = ((25, 1, 40), (25, 5, 40), (100, 1, 256), (100, 5, 256), (32, 1, 1024), (256, 5, 1024))
CASES: dict[str, Callable[[], Problem]] = {"{}x{}x{}".format(*size): partial(mlp, *size) for size in SIZES}
QUICK: dict[str, Callable[[], Problem]] = {"25x1x40": partial(mlp, 3, 1, 8)}
LOOP_TASKS = 32  # a loop over more takes seconds
WAYS = tuple((engine, compile) for engine in ("batched", "lowrank", "auto") for compile in (False, True))
TOLERANCE = 1e-3  # relative, float32, whose products may round differently on a GPU


def measure(problem: Problem, options: Options, device: str) -> dict[str, Any]:
    """Milliseconds of every way, and how far its meta-gradient is from that of the loop."""
    race = Race(budget=options.budget, rounds=options.rounds, limit=options.limit)
    tasks = problem.sample(torch.Generator().manual_seed(1))
    ways: dict[str, tuple[str, bool]] = {f"{e}{', compiled' if c else ''}": (e, c) for e, c in WAYS}
    if problem.tasks <= LOOP_TASKS:
        ways = {"loop": ("loop", False), **ways}
    expected = [g.cpu() for g in _ours(problem, "batched", False, device)[0](tasks)]
    rows: dict[str, dict[str, Any]] = {}
    for name, (engine, compile) in ways.items():
        try:
            gradient, step = _ours(problem, engine, compile, device)
            rows[name] = {"error": difference([g.cpu() for g in gradient(tasks)], expected)}
            race.enter(name, step)
        except RuntimeError as error:  # what cannot do it is a finding, not an end to the others
            rows[name] = {"skipped": str(error).strip().splitlines()[0]}
    try:
        jax = contenders.builder("JAX jit+vmap")(problem)
        assert jax.gradient is not None and jax.step is not None
        backend = __import__("jax").default_backend()
        rows["JAX jit+vmap"] = {"error": difference(jax.gradient(tasks), expected), "backend": backend}
        race.enter("JAX jit+vmap", jax.step)
    except ModuleNotFoundError as error:
        rows["JAX jit+vmap"] = {"skipped": f"{error.name} is not installed"}
    for _ in range(race.number_of_rounds()):
        race.round()
    for name, median in race.medians().items():
        rows[name]["milliseconds"] = round(median * 1e3, 4)
    return {"contenders": rows}


def _ours(
    problem: Problem, engine: str, compile: bool, device: str
) -> tuple[Callable[[qs.Tasks], list[torch.Tensor]], Callable[[], None]]:
    """The meta-gradient of tasks, and a whole step, of one engine."""
    how: dict[str, Any] = {"engine": engine, "compile": compile}
    learner = qs.MAML(deepcopy(problem.network), lr=problem.lr, steps=problem.steps, **how).to(device)
    params = list(learner.parameters())
    optimizer = torch.optim.Adam(params, lr=OUTER_RATE, fused=True)
    generator = torch.Generator(device).manual_seed(0)

    def gradient(tasks: qs.Tasks) -> list[torch.Tensor]:
        moved = qs.Tasks(*(qs.Examples(e.x.to(device), e.y.to(device)) for e in (tasks.support, tasks.query)))
        return list(torch.autograd.grad(learner.meta_loss(moved), params))

    def step() -> None:
        optimizer.zero_grad()
        learner.meta_loss(problem.sample(generator)).backward()
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()

    return gradient, step


def main(arguments: list[str]) -> None:
    """Measure every size, and print and keep what was found."""
    options = parse(arguments, __doc__, CASES, QUICK)
    os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")  # as torch has it: no TF32
    if not torch.cuda.is_available() and not options.quick:
        sys.exit("there is no GPU here; --quick runs on the CPU, to see that everything works")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for case in options.cases:
        make = (QUICK if options.quick else CASES)[case]
        found = measure(make(), options, device)
        records.write_case("gpu", options.out, case, found, device)
        rows = [
            [name, row.get("milliseconds", row.get("skipped", "")), f"{row['error']:.1e}" if "error" in row else ""]
            for name, row in found["contenders"].items()
        ]
        print(records.table([f"{case} on {device}", "ms", "error"], rows), flush=True)
        wrong = [name for name, row in found["contenders"].items() if row.get("error", 0) > TOLERANCE]
        if wrong:
            sys.exit(f"{case}: the meta-gradients of {', '.join(wrong)} are not that of the batched engine")


if __name__ == "__main__":
    main(sys.argv[1:])

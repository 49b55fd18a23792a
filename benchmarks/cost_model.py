"""Is `engine="auto"` right? Times low-rank and stacked fast weights over a grid, beside what the cost model picks.

The regret of a case is the time of the pick over the time of the better one. The constants of
src/quickstudy/inner/fast/cost.py were set by hand from this table. Writes results/benchmarks/cost_model.json.

    python benchmarks/cost_model.py
"""

import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

import quickstudy as qs
from quickstudy.compiling.compiled import meta_gradient
from quickstudy.runs import facts

TASKS, STEPS, WIDTHS, POINTS = (4, 25, 100), (1, 3, 10), (40, 128, 256, 512), (5, 20)
ROUNDS, LEAST_SECONDS, MOST_WEIGHTS = 5, 0.02, 100 * 3 * 256 * 256


def seconds(function: Callable[[], object]) -> float:
    """Of one call, repeated for long enough to be measured."""
    start = time.perf_counter()
    function()
    repeats = max(1, int(LEAST_SECONDS / (time.perf_counter() - start)))
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def measure(tasks: int, steps: int, width: int, points: int) -> dict[str, object]:
    """Milliseconds of an eager meta-gradient with either engine, and the pick."""
    generator = torch.Generator().manual_seed(0)
    batch = qs.tasks.Sinusoid().sample(tasks, support=points, query=points, generator=generator)
    learners = {
        engine: qs.MAML(qs.nets.MLP(8, [width, width], 8), lr=0.01, steps=steps, engine=engine)
        for engine in ("auto", "batched", "lowrank")
    }
    support = qs.Examples(batch.support.x.expand(-1, -1, 8), batch.support.y.expand(-1, -1, 8))
    wide = qs.Tasks(support, support)
    pick = "lowrank" if "layers.1.weight" in learners["auto"].explain(wide).plan.lowrank else "batched"
    work = {name: meta_gradient(learners[name], compile=False) for name in ("batched", "lowrank")}
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, gradient in work.items():
            times[name].append(seconds(lambda gradient=gradient: gradient(wide)) * 1e3)
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    regret = medians[pick] / min(medians.values())
    return {**{k: round(v, 3) for k, v in medians.items()}, "pick": pick, "regret": round(regret, 3)}


if __name__ == "__main__":
    torch.manual_seed(0)
    found = {}
    for tasks, steps, width, points in itertools.product(TASKS, STEPS, WIDTHS, POINTS):
        if tasks * steps * width * width > MOST_WEIGHTS:
            continue
        name = f"{tasks} tasks x {steps} steps x width {width}, {points} points"
        found[name] = measure(tasks, steps, width, points)
        print(f"{name:48} {found[name]}", flush=True)
    regrets = [float(row["regret"]) for row in found.values()]
    print(f"regret: mean {statistics.mean(regrets):.3f}, largest {max(regrets):.2f}")
    out = Path("results/benchmarks/cost_model.json")
    conditions = {"hardware": facts.hardware("cpu"), "threads": torch.get_num_threads(), "torch": torch.__version__}
    summary = {"mean_regret": round(statistics.mean(regrets), 3), "largest_regret": max(regrets)}
    record = {"command": "python benchmarks/cost_model.py", **conditions, **summary, "cases": found}
    out.write_text(json.dumps(record, indent=1) + "\n")

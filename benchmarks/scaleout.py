"""Many processes: what is measured of one and of a few, and what that says about 8, 64 and 512.

One process a rank and one thread each. For every size of network: the seconds of a meta-gradient a task, on one rank,
and those of one all-reduce of its gradient by gloo between 1, 2 and 4 ranks of this machine. From these, by a ring:

    T(P) = compute * tasks / P + 2 (P - 1) latency + 2 (P - 1) / P * bytes / bandwidth,

with latency and bandwidth fitted to what was measured here, and in a second table those of an assumed network.
Efficiency is T(1) / (P T(P)) for one batch, whatever the number of ranks. Assumptions: every rank computes as fast as
the one measured; all-reduce starts when the gradient is complete (nothing overlaps); no stragglers; the batch divides.

    python -m benchmarks.scaleout
"""

import multiprocessing
import socket
import statistics
import sys
import time
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

import quickstudy as qs
from benchmarks import records
from benchmarks.options import Options, parse
from benchmarks.timing import median_of

# parameters, about -> width of three hidden layers
NETWORKS = {"2 thousand": 28, "100 thousand": 222, "1 million": 706, "10 million": 2235, "100 million": 7070}
QUICK = {"2 thousand": 28}
RANKS = (1, 2, 4)
EXTRAPOLATED = (8, 64, 512)
BATCH = 512  # tasks, of all ranks together
TASKS = 8  # timed together on one rank
ASSUMED = {"latency": 20e-6, "bandwidth": 25e9 / 8}  # seconds; bytes a second: Ethernet of 25 gigabits


def compute(width: int, options: Options) -> tuple[int, float]:
    """Parameters of the network, and seconds of an exact meta-gradient for one task (1 step, 10 + 10 points)."""
    torch.manual_seed(0)
    learner = qs.MAML(qs.nets.MLP(1, [width] * 3, 1), lr=0.001)
    tasks = qs.tasks.Sinusoid().sample(TASKS, support=10, query=10, generator=torch.Generator().manual_seed(0))

    def once() -> None:
        learner.zero_grad()
        learner.meta_loss(tasks).backward()

    seconds = median_of(once, rounds=3 if width > 2000 else 10, budget=options.budget) / TASKS
    return sum(p.numel() for p in learner.parameters()), seconds


def all_reduce(ranks: int, sizes: list[int], rounds: int) -> list[float]:
    """Seconds of one all-reduce between `ranks` processes, for each size: the slowest rank's median."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    work = partial(_rank, ranks=ranks, port=port, sizes=sizes, rounds=rounds, results=results)
    processes = [context.Process(target=work, args=(rank,)) for rank in range(ranks)]
    for process in processes:
        process.start()
    found = [results.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    return [max(times) for times in zip(*found, strict=True)]


def _rank(rank: int, *, ranks: int, port: int, sizes: list[int], rounds: int, results: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://localhost:{port}", rank=rank, world_size=ranks)
    medians = []
    for size in sizes:
        values, times = torch.ones(size), []
        for _ in range(rounds + 1):
            dist.barrier()
            start = time.perf_counter()
            dist.all_reduce(values)
            times.append(time.perf_counter() - start)
        medians.append(statistics.median(times[1:]))
    results.put(medians)
    dist.destroy_process_group()


def ring(ranks: int, numbers: int, network: dict[str, float]) -> float:
    """Seconds of an all-reduce, as above."""
    return 2 * (ranks - 1) * network["latency"] + 2 * (ranks - 1) / ranks * 4 * numbers / network["bandwidth"]


def fit_ring(measured: dict[tuple[int, int], float]) -> dict[str, float]:
    """Latency and bandwidth from seconds by (ranks, numbers): least squares of relative errors, neither below 0."""
    rows = [(2 * (p - 1), 2 * (p - 1) / p * 4 * n) for (p, n) in measured if p > 1]
    seconds = np.array([t for (p, _), t in measured.items() if p > 1])
    system = np.array(rows) / seconds[:, None]
    latency, per_byte = np.linalg.lstsq(system, np.ones(len(seconds)), rcond=None)[0]
    return {"latency": max(float(latency), 0.0), "bandwidth": 1 / max(float(per_byte), 1e-15)}


def extrapolate(numbers: int, task: float, network: dict[str, float]) -> dict[str, dict[str, float]]:
    """Seconds of a step and efficiency, by ranks."""
    alone = BATCH * task
    found = {}
    for ranks in (1, *RANKS[1:], *EXTRAPOLATED):
        seconds = alone / ranks + ring(ranks, numbers, network)
        found[str(ranks)] = {"seconds": seconds, "efficiency": alone / (ranks * seconds)}
    return found


def measure(options: Options) -> dict[str, Any]:
    """Everything, by size of network."""
    torch.set_num_threads(1)
    networks = QUICK if options.quick else NETWORKS
    computed = {name: compute(width, options) for name, width in networks.items()}
    sizes = [numbers for numbers, _ in computed.values()]
    ranks = RANKS[:2] if options.quick else RANKS
    reduced = {p: all_reduce(p, sizes, 3 if options.quick else 15) for p in ranks}
    measured = {(p, n): reduced[p][i] for p, (i, n) in product(ranks, enumerate(sizes))}
    here = fit_ring(measured)
    rows = []
    for i, (name, (numbers, task)) in enumerate(computed.items()):
        times = {str(p): reduced[p][i] for p in ranks}
        row = {"network": name, "parameters": numbers, "task_seconds": task, "all_reduce_seconds": times}
        rows.append(row | {"here": extrapolate(numbers, task, here), "assumed": extrapolate(numbers, task, ASSUMED)})
    return {"batch": BATCH, "fitted": here, "assumed": ASSUMED, "rows": rows, "bars": []}


def as_table(result: dict[str, Any]) -> str:
    """Compute and all-reduce, then efficiencies."""
    ranks = list(result["rows"][0]["all_reduce_seconds"])
    head = ["parameters", "ms a task", *(f"all-reduce, {p} ranks (ms)" for p in ranks[1:])]
    cells = [
        [
            r["network"],
            f"{1e3 * r['task_seconds']:.3g}",
            *(f"{1e3 * r['all_reduce_seconds'][p]:.3g}" for p in ranks[1:]),
        ]
        for r in result["rows"]
    ]
    parts = [records.table(head, cells)]
    for key, words in (("here", "fitted to this machine's gloo"), ("assumed", "assumed")):
        network = result["fitted" if key == "here" else "assumed"]
        parts.append(
            f"Efficiency of a batch of {result['batch']} tasks; network {words}: latency "
            f"{1e6 * network['latency']:.3g} microseconds, {network['bandwidth'] / 1e9:.3g} GB/s."
        )
        counts = [c for c in result["rows"][0][key] if c != "1"]
        rows = [[r["network"], *(f"{r[key][c]['efficiency']:.2f}" for c in counts)] for r in result["rows"]]
        parts.append(records.table(["parameters", *(f"{c} ranks" for c in counts)], rows))
    return "\n\n".join(parts)


def main(arguments: list[str]) -> None:
    """Measure, write and show."""
    options = parse(arguments, __doc__, ("study",))
    result = measure(options)
    records.write_case("scaleout", options.out, "study", result)
    print(f"\n{as_table(result)}")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])

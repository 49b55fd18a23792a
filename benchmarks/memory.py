"""Peak memory above the idle process, and time, of a meta-gradient over 1 to 1000 inner steps.

MLP 1-256-256-1, 25 tasks, 10 support and 10 query points. Every peak is measured in a process of its own; times, too
(`seconds`, which depend on what the memory allocator makes of a process), and once more in turns, all ways in one
process (`seconds_in_turns`), as in all other benchmarks. The weights are stacked (`engine="batched"`) throughout, so
that rows differ by what they keep for the way back and by nothing else.

    python -m benchmarks.memory --case 100
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import records
from benchmarks.bars import lines
from benchmarks.options import Options, parse

WAYS: dict[str, dict[str, Any]] = {
    "plain unrolling": {},
    "checkpoint every step": {"checkpoint": "every"},
    "checkpoint sqrt": {"checkpoint": "sqrt"},
    "mixed mode": {"mixed_mode": True},
    "mixed mode, checkpoint sqrt": {"mixed_mode": True, "checkpoint": "sqrt"},
}
PLAIN, LEAN = "plain unrolling", "mixed mode, checkpoint sqrt"
STEPS = (1, 10, 100, 1000)
LIMIT = 24e9  # bytes, of the bar
SHARE = 0.5  # of the free memory; what would need more is not run
TASKS, WIDTH = 25, 256
ROUNDS = 5


def learner(way: str, width: int, steps: int) -> Any:
    """A MAML whose meta-gradient goes that way."""
    import quickstudy as qs

    network = qs.nets.MLP(1, [width, width], 1)
    return qs.MAML(network, lr=0.01, steps=steps, engine="batched", **WAYS[way])


def sample(tasks: int, points: int) -> Any:
    """Sine waves, the same each time."""
    import quickstudy as qs

    generator = torch.Generator().manual_seed(0)
    return qs.tasks.Sinusoid().sample(tasks, support=points, query=points, generator=generator)


def child(way: str, steps: int, tasks: int, width: int) -> dict[str, float]:
    """Peak megabytes above idle and seconds of one meta-gradient, in this process."""
    torch.manual_seed(0)
    tiny = learner(way, 2, 2)  # loads what torch loads at the first use
    tiny.meta_loss(sample(2, 2)).backward()
    large, batch = learner(way, width, steps), sample(tasks, 10)
    idle = _reset_peak()
    start = time.perf_counter()
    large.meta_loss(batch).backward()
    first = time.perf_counter() - start
    peak = _peak()
    times = [first]
    while (sum(times) < 1.0 and len(times) < 20) or (len(times) < 6 and first < 10):
        large.zero_grad()
        start = time.perf_counter()
        large.meta_loss(batch).backward()
        times.append(time.perf_counter() - start)
    return {"peak_megabytes": (peak - idle) / 1e6, "seconds": statistics.median(times[1:] or times)}


def in_turns(ways: list[str], steps: int, tasks: int, width: int) -> dict[str, float]:
    """Median seconds of a meta-gradient, all ways in turns, in this process."""
    learners, batch = {way: learner(way, width, steps) for way in ways}, sample(tasks, 10)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS + 1):
        for way, made in learners.items():
            made.zero_grad()
            start = time.perf_counter()
            made.meta_loss(batch).backward()
            times[way].append(time.perf_counter() - start)
    return {way: statistics.median(seen[1:]) for way, seen in times.items()}


def _peak() -> int:
    """The most memory that this process has ever held, or since `_reset_peak`, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(next(line for line in status.read_text().splitlines() if "VmHWM" in line).split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _reset_peak() -> int:
    """Forget the peak where the system can (Linux); the memory held now, in bytes."""
    forget = Path("/proc/self/clear_refs")
    if forget.exists():
        forget.write_text("5")
    return _peak()


def measure(steps: int, options: Options) -> dict[str, Any]:
    """Every way, in turn, with so many inner steps; those that would not fit are left out, and say so."""
    earlier = records.read("memory", options.out).get("cases", {})
    room = SHARE * min(LIMIT, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) / 1e6
    rows: dict[str, Any] = {}
    for way in options.chosen(list(WAYS)):
        expected = _predicted(way, steps, earlier)
        if expected > room:
            rows[way] = {"skipped": f"not run: about {expected / 1e3:.0f} GB", "predicted_megabytes": expected}
            continue
        rows[way] = _in_a_process(way, steps, options)
    run = [way for way, row in rows.items() if "seconds" in row]
    if PLAIN in run:
        for way, seconds in _in_a_process("; ".join(run), steps, options, turns=True).items():
            rows[way]["seconds_in_turns"] = seconds
    return {"steps": steps, "tasks": TASKS, "width": WIDTH, "ways": rows}


def _in_a_process(ways: str, steps: int, options: Options, *, turns: bool = False) -> dict[str, float]:
    size = ("4", "8") if options.quick else (str(TASKS), str(WIDTH))
    kind = "--turns" if turns else "--child"
    command = [sys.executable, "-m", "benchmarks.memory", kind, ways, str(steps), *size]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise RuntimeError(f"{ways} with {steps} steps failed: {answer.stderr.strip()[-500:]}")
    return json.loads(answer.stdout.splitlines()[-1])


def _predicted(way: str, steps: int, earlier: dict[str, Any]) -> float:
    """Megabytes, from the two longest shorter runs, taken to grow linearly; 0 if there are none."""
    known = [
        (case["steps"], case["ways"][way]["peak_megabytes"])
        for case in earlier.values()
        if case["steps"] < steps and "peak_megabytes" in case["ways"].get(way, {})
    ]
    if len(known) < 2:
        return 0.0
    (a, low), (b, high) = sorted(known)[-2:]
    return high + (high - low) / (b - a) * (steps - b)


def bars(cases: dict[str, Any]) -> list[dict[str, Any]]:
    """The bars on memory and time, beside what was measured."""
    peak = {
        (c["steps"], w): r["peak_megabytes"] for c in cases.values() for w, r in c["ways"].items() if "seconds" in r
    }
    alone, turns = (
        {(c["steps"], w): r[key] for c in cases.values() for w, r in c["ways"].items() if key in r}
        for key in ("seconds", "seconds_in_turns")
    )
    found = []

    def add(text: str, most: float | None, over: dict[Any, float], a: Any, b: Any) -> None:
        ratio = over[a] / over[b] if a in over and b in over else None
        met = None if ratio is None or most is None else ratio <= most
        found.append({"bar": text, "measured": ratio, "met": met})

    add("mixed mode, checkpoint sqrt: peak at 100 steps at most 12x that of 1 step", 12, peak, (100, LEAN), (1, LEAN))
    add("the same beside plain unrolling of 1 step", None, peak, (100, LEAN), (1, PLAIN))
    add("plain unrolling: peak at 100 steps beside 1 step", None, peak, (100, PLAIN), (1, PLAIN))
    add("mixed mode, checkpoint sqrt: time at most 1.8x of plain unrolling", 1.8, turns, (100, LEAN), (100, PLAIN))
    add("the same, each in a fresh process of its own", None, alone, (100, LEAN), (100, PLAIN))
    add("mixed mode, checkpoint sqrt: 1000 steps in 24,000 MB", LIMIT / 1e6, {**peak, 1: 1.0}, (1000, LEAN), 1)
    return found


def as_table(cases: dict[str, Any]) -> str:
    """Megabytes above idle and milliseconds, by steps."""
    cells = []
    for case in sorted(cases.values(), key=lambda c: c["steps"]):
        for way, row in case["ways"].items():
            shown = [f"{row['peak_megabytes']:.1f}", f"{row['seconds'] * 1e3:.1f}"] if "seconds" in row else ["", ""]
            shown.append(f"{row['seconds_in_turns'] * 1e3:.1f}" if "seconds_in_turns" in row else "")
            cells.append([way, case["steps"], *shown, row.get("skipped", "")])
    return records.table(["", "steps", "MB above idle", "ms", "ms, in turns", ""], cells)


def main(arguments: list[str]) -> None:
    """Measure the numbers of steps asked for."""
    options = parse(arguments, __doc__, [str(s) for s in STEPS])
    for case in options.cases:
        records.write_case("memory", options.out, case, measure(int(case), options))
    cases = records.read("memory", options.out)["cases"]
    print(f"\nmemory\n{as_table(cases)}")
    print(lines(bars(cases)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--turns"]:
        print(json.dumps(in_turns(sys.argv[2].split("; "), *map(int, sys.argv[3:]))))
    elif sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(sys.argv[2], *map(int, sys.argv[3:]))))
    else:
        main(sys.argv[1:])

"""Peak memory above the idle process, and time, of a meta-gradient over 1 to 1000 inner steps.

MLP 1-256-256-1, 25 tasks, 10 support and 10 query points. Every measurement has a process of its own. The weights are
stacked (`engine="batched"`) throughout, so that rows differ by what they keep for the way back and by nothing else.

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


def child(way: str, steps: int, tasks: int, width: int) -> dict[str, float]:
    """Peak bytes above idle and seconds of one meta-gradient, in this process."""
    import quickstudy as qs

    def learner(width: int, steps: int) -> qs.MAML:
        network = qs.nets.MLP(1, [width, width], 1)
        return qs.MAML(network, lr=0.01, steps=steps, engine="batched", **WAYS[way])

    torch.manual_seed(0)
    family, generator = qs.tasks.Sinusoid(), torch.Generator().manual_seed(0)
    tiny = learner(2, 2)  # loads what torch loads at the first use
    tiny.meta_loss(family.sample(2, support=2, query=2, generator=generator)).backward()
    large = learner(width, steps)
    batch = family.sample(tasks, support=10, query=10, generator=generator)
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
        size = ("4", "8") if options.quick else (str(TASKS), str(WIDTH))
        command = [sys.executable, "-m", "benchmarks.memory", "--child", way, str(steps), *size]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            raise RuntimeError(f"{way} with {steps} steps failed: {answer.stderr.strip()[-500:]}")
        rows[way] = json.loads(answer.stdout.splitlines()[-1])
    return {"steps": steps, "tasks": TASKS, "width": WIDTH, "ways": rows}


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
    time_of = {(c["steps"], w): r["seconds"] for c in cases.values() for w, r in c["ways"].items() if "seconds" in r}
    found = []

    def add(text: str, most: float | None, over: dict[Any, float], a: Any, b: Any) -> None:
        ratio = over[a] / over[b] if a in over and b in over else None
        met = None if ratio is None or most is None else ratio <= most
        found.append({"bar": text, "measured": ratio, "met": met})

    add("mixed mode, checkpoint sqrt: peak at 100 steps at most 12x that of 1 step", 12, peak, (100, LEAN), (1, LEAN))
    add("the same beside plain unrolling of 1 step", None, peak, (100, LEAN), (1, PLAIN))
    add("plain unrolling: peak at 100 steps beside 1 step", None, peak, (100, PLAIN), (1, PLAIN))
    add("mixed mode, checkpoint sqrt: time at most 1.8x of plain unrolling", 1.8, time_of, (100, LEAN), (100, PLAIN))
    add("mixed mode, checkpoint sqrt: 1000 steps in 24,000 MB", LIMIT / 1e6, {**peak, 1: 1.0}, (1000, LEAN), 1)
    return found


def as_table(cases: dict[str, Any]) -> str:
    """Megabytes above idle and milliseconds, by steps."""
    cells = []
    for case in sorted(cases.values(), key=lambda c: c["steps"]):
        for way, row in case["ways"].items():
            shown = [f"{row['peak_megabytes']:.1f}", f"{row['seconds'] * 1e3:.1f}"] if "seconds" in row else ["", ""]
            cells.append([way, case["steps"], *shown, row.get("skipped", "")])
    return records.table(["", "steps", "MB above idle", "ms", ""], cells)


def main(arguments: list[str]) -> None:
    """Measure the numbers of steps asked for."""
    options = parse(arguments, __doc__, [str(s) for s in STEPS])
    for case in options.cases:
        records.write_case("memory", options.out, case, measure(int(case), options))
    cases = records.read("memory", options.out)["cases"]
    print(f"\nmemory\n{as_table(cases)}")
    print(lines(bars(cases)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(sys.argv[2], *map(int, sys.argv[3:]))))
    else:
        main(sys.argv[1:])

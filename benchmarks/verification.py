"""What trying and verifying cost: a small network, support sets whose size varies from step to step.

python -m benchmarks.verification [--steps 2000]

Prints the share of all processor time that went into trying (plans) and verifying (evidence), and what one verification
costs beside one plain meta-gradient of two tasks.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

import quickstudy as qs
from quickstudy.inner import choosing


def watched(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """`function`, whose processor time is added to `spent`."""

    def timed(*arguments: Any, **options: Any) -> Any:
        start = time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            spent.append(time.process_time() - start)

    return timed


def many_layouts(steps: int) -> tuple[float, list[float], list[float]]:
    """Seconds of all steps, of each plan, and of each piece of evidence."""
    torch.manual_seed(0)
    tried: list[float] = []
    shown: list[float] = []
    choosing.try_pass, choosing.try_vectorised, before = (  # type: ignore[assignment]
        watched(choosing.try_pass, tried),
        watched(choosing.try_vectorised, tried),
        choosing.evidence,
    )
    choosing.evidence = watched(before, shown)  # type: ignore[assignment]
    learner = qs.MAML(qs.nets.MLP(1, [40, 40], 1), lr=0.01)
    optimizer = torch.optim.Adam(learner.parameters(), lr=1e-3)
    family, sizes = qs.tasks.Sinusoid(), torch.randint(5, 51, (steps,)).tolist()
    start = time.process_time()
    for size in sizes:
        tasks = family.sample(25, support=size, query=size)
        optimizer.zero_grad()
        learner.meta_loss(tasks).backward()
        optimizer.step()
    return time.process_time() - start, tried, shown


def plain_of_two() -> float:
    """Seconds of one plain meta-gradient of two tasks."""
    learner = qs.MAML(qs.nets.MLP(1, [40, 40], 1), lr=0.01, engine="loop")
    tasks = qs.tasks.Sinusoid().sample(2, support=25, query=25)
    times = []
    for _ in range(50):
        start = time.process_time()
        learner.meta_loss(tasks).backward()
        times.append(time.process_time() - start)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    whole, tried, shown = many_layouts(given.steps)
    pairs = [a + b for a, b in zip(shown[::2], shown[1::2], strict=False)]
    plain = plain_of_two()
    share = (sum(tried) + sum(shown)) / whole
    print(
        f"{given.steps} steps on sizes 5 to 50: {whole:.1f} s; trying {sum(tried):.2f} s, verifying {sum(shown):.2f} s"
    )
    print(f"share of trying and verifying: {share:.1%} (bar: below 10%)")
    print(f"one verification: {statistics.median(pairs) / plain:.2f} plain meta-gradients of two tasks")


if __name__ == "__main__":
    main()

"""One MAML meta-step on sinusoids, sampling and Adam included: a plain Python loop beside quickstudy's engines.

Interleaved in one run, medians; ratios to the plain loop. Writes results/benchmarks/maml.json.

    python benchmarks/maml.py
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

import quickstudy as qs
from quickstudy.compiled import meta_gradient
from quickstudy.training import facts

CASES = ((25, 1, 40), (25, 5, 40), (100, 1, 256))  # tasks, inner steps, width
ROUNDS, LEAST_SECONDS = 15, 0.2


def plain_loop(network: nn.Module, lr: float, steps: int) -> Callable[[qs.Tasks], list[torch.Tensor]]:
    """MAML as most code writes it: one task after another, `create_graph=True`."""

    def gradient(tasks: qs.Tasks) -> list[torch.Tensor]:
        total = torch.zeros(())
        for t in range(tasks.num_tasks):
            params = dict(network.named_parameters())
            for _ in range(steps):
                loss = F.mse_loss(functional_call(network, params, (tasks.support.x[t],)), tasks.support.y[t])
                grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
                params = {k: p - lr * g for (k, p), g in zip(params.items(), grads, strict=True)}
            total = total + F.mse_loss(functional_call(network, params, (tasks.query.x[t],)), tasks.query.y[t])
        return list(torch.autograd.grad(total / tasks.num_tasks, list(network.parameters())))

    return gradient


def contenders(width: int, steps: int) -> dict[str, tuple[nn.Module, Callable[[qs.Tasks], list[torch.Tensor]]]]:
    """Name -> (parameters, meta-gradient)."""

    def learner(engine: str) -> qs.MAML:
        return qs.MAML(qs.nets.MLP(1, [width, width], 1), lr=0.01, steps=steps, engine=engine)

    network = qs.nets.MLP(1, [width, width], 1)
    found = {"plain loop": (network, plain_loop(network, 0.01, steps))}
    for name, engine, compile in (
        ("loop", "loop", False),
        ("batched", "batched", False),
        ("batched, compiled", "batched", True),
    ):
        maml = learner(engine)
        gradient = meta_gradient(maml, compile=compile)
        found[name] = (maml, lambda tasks, gradient=gradient: gradient(tasks)[1])
    return found


def measure(tasks: int, steps: int, width: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of a whole meta-step, and how many times faster than the plain loop."""
    torch.manual_seed(0)
    family, generator = qs.tasks.Sinusoid(), torch.Generator().manual_seed(0)
    work = {}
    for name, (module, gradient) in contenders(width, steps).items():
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)

        def meta_step(module=module, gradient=gradient, optimizer=optimizer) -> None:
            batch = family.sample(tasks, support=10, query=10, generator=generator)
            for p, g in zip(module.parameters(), gradient(batch), strict=True):
                p.grad = g
            optimizer.step()

        meta_step()
        start = time.perf_counter()
        meta_step()
        work[name] = meta_step, max(1, int(LEAST_SECONDS / ROUNDS / (time.perf_counter() - start)))
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, (meta_step, repeats) in work.items():
            start = time.perf_counter()
            for _ in range(repeats):
                meta_step()
            times[name].append((time.perf_counter() - start) / repeats * 1e3)
    medians = {name: statistics.median(values) for name, values in times.items()}
    plain = medians["plain loop"]
    return {name: {"milliseconds": round(m, 3), "speedup": round(plain / m, 1)} for name, m in medians.items()}


if __name__ == "__main__":
    found = {}
    for case in CASES:
        name = "{} tasks x {} steps x width {}".format(*case)
        found[name] = measure(*case)
        print(name)
        for contender, row in found[name].items():
            print(f"  {contender:20} {row['milliseconds']:9.3f} ms   {row['speedup']:6.1f} x")
    out = Path("results/benchmarks/maml.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    conditions = {"hardware": facts.hardware("cpu"), "threads": torch.get_num_threads(), "torch": torch.__version__}
    out.write_text(json.dumps({"command": "python benchmarks/maml.py", **conditions, "cases": found}, indent=1) + "\n")

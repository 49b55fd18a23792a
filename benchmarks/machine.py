"""What this machine does in a second: the constants behind the cost model of `engine="auto"`.

Products of one shared matrix and of one matrix a task, memory bandwidth, the price of one more operation in eager and
in compiled code, and of a compilation.

    python -m benchmarks.machine
"""

import sys
import time
from functools import partial
from typing import Any

import torch
from torch import Tensor

import quickstudy as qs
from benchmarks import records
from benchmarks.options import Options, parse
from benchmarks.timing import median_of
from quickstudy.compiling.compiled import meta_gradient

CASES = ("products", "bandwidth", "operations", "compilation")
ROWS = 10  # points of a task
SIZES = ((25, 40), (100, 40), (25, 256), (100, 256), (32, 1024))  # tasks, width
CHAIN = 50  # operations in a row, to see the price of one


def products(options: Options) -> dict[str, Any]:
    """GFLOP/s of rows x W^T with W shared by all tasks, and with one W a task; eager and compiled."""
    found = []
    for tasks, width in ((2, 8),) if options.quick else SIZES:
        x, shared, own = torch.randn(tasks, ROWS, width), torch.randn(width, width), torch.randn(tasks, width, width)
        operations = 2 * tasks * ROWS * width * width
        row: dict[str, float] = {"tasks": tasks, "rows": ROWS, "width": width}
        for name, weight in (("shared", shared), ("per_task", own)):
            torch.compiler.reset()  # or the sizes count as recompilations of one function
            for mode, run in (("eager", _product), ("compiled", torch.compile(_product, dynamic=False))):
                once = median_of(partial(run, x, weight), **_effort(options))
                row[f"{name}_{mode}"] = operations / once / 1e9
        found.append(row)
    return {"gigaflop_per_second": found}


def _product(x: Tensor, weight: Tensor) -> Tensor:
    return x @ weight.mT


def bandwidth(options: Options) -> dict[str, Any]:
    """Gigabytes a second of a copy (read and written), for sizes in and out of the caches."""
    found = {}
    for megabytes in (1,) if options.quick else (1, 16, 256):
        source = torch.randn(megabytes * 250_000)
        target = torch.empty_like(source)
        once = median_of(lambda source=source, target=target: target.copy_(source), **_effort(options))
        found[f"{megabytes}MB"] = 2 * megabytes * 1e6 / once / 1e9
    return {"gigabytes_per_second": found}


def operations(options: Options) -> dict[str, Any]:
    """Microseconds of one more operation on a small tensor: eager, eager with autograd, under vmap, compiled.

    Compiled code fuses what is elementwise; small products, which stay calls, are timed beside it.
    """
    small, weight = torch.randn(10, 40), torch.randn(40, 40)

    def elementwise(x: Tensor) -> Tensor:
        for _ in range(CHAIN):
            x = x * 1.01
        return x

    def multiply(x: Tensor) -> Tensor:
        for _ in range(CHAIN):
            x = torch.mm(x, weight)
        return x

    def backward(x: Tensor) -> Tensor:
        return torch.autograd.grad(elementwise(x.requires_grad_()).sum(), x)[0]

    ways = {
        "eager": elementwise,
        "eager, forward and backward": backward,
        "eager, under vmap": torch.vmap(elementwise),  # of ten rows
        "eager, product": multiply,
        "compiled": torch.compile(elementwise, dynamic=False),
        "compiled, product": torch.compile(multiply, dynamic=False),
    }
    each = {n: median_of(lambda f=f: f(small.clone()), **_effort(options)) / CHAIN * 1e6 for n, f in ways.items()}
    return {"microseconds": each}


def compilation(options: Options) -> dict[str, Any]:
    """Seconds to compile a meta-gradient from nothing, and microseconds of a call into compiled code."""
    from torch._inductor.utils import fresh_cache

    width, family = (4 if options.quick else 40), qs.tasks.Sinusoid()
    found = {}
    for steps in (1,) if options.quick else (1, 5):
        learner = qs.MAML(qs.nets.MLP(1, [width, width], 1), steps=steps)
        tasks = family.sample(25, support=10, query=10, generator=torch.Generator().manual_seed(0))
        with fresh_cache():
            start = time.perf_counter()
            meta_gradient(learner, compile=True)(tasks)
            found[f"{steps} steps"] = time.perf_counter() - start
    empty = torch.compile(lambda x: x + 1, dynamic=False)
    x = torch.zeros(1)
    return {"seconds": found, "call_microseconds": median_of(lambda: empty(x), **_effort(options)) * 1e6}


def _effort(options: Options) -> dict[str, Any]:
    return {"rounds": 5, "budget": 0.02 if options.quick else 0.4}


def main(arguments: list[str]) -> None:
    """Measure the cases asked for."""
    options = parse(arguments, __doc__, CASES)
    measures = {f.__name__: f for f in (products, bandwidth, operations, compilation)}
    for case in options.cases:
        torch.manual_seed(0)
        torch.compiler.reset()
        result = measures[case](options)
        records.write_case("machine", options.out, case, result)
        print(f"\n{case}: {(measures[case].__doc__ or '').splitlines()[0]}")
        for name, value in result.items():
            _show(name, value)
        sys.stdout.flush()


def _show(name: str, value: Any) -> None:
    if isinstance(value, list):
        print(records.table(list(value[0]), [[f"{v:.4g}" for v in row.values()] for row in value]))
    elif isinstance(value, dict):
        print(records.table(["", name], [[k, f"{v:.3g}"] for k, v in value.items()]))
    else:
        print(f"{name}: {value:.3g}")


if __name__ == "__main__":
    main(sys.argv[1:])

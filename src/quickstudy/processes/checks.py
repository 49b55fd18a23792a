"""Argument checks of processes."""

from typing import Any

from quickstudy.checks import check_examples, check_fits, check_query
from quickstudy.data import Examples


def check_support(process: Any, support: Examples, name: str = "support") -> None:
    """Raise an error unless `support` has the sizes, float type and device of the process."""
    check_examples(support, name)
    if not support.x.is_floating_point():
        raise TypeError(f"{name}.x is {support.x.dtype}; a process encodes real numbers: use x.float()")
    if support.x.dim() != 3 or support.x.shape[2] != process.dx:
        raise ValueError(
            f"{name}.x has shape {list(support.x.shape)}; this process was built with dx={process.dx} "
            f"and expects [T, N, {process.dx}]"
        )
    if support.y.dim() != 3 or support.y.shape[2] != process.dy:
        raise ValueError(
            f"{name}.y is {support.y.dtype} of shape {list(support.y.shape)}; this process was built with "
            f"dy={process.dy} and expects floats [T, N, {process.dy}]"
        )
    check_fits(process, support, name)


def check_inputs(process: Any, x: Any, num_tasks: int) -> None:
    """Raise an error unless `x` is `[num_tasks, M, dx]`, with the float type and device of the process."""
    check_query(x, num_tasks, (process.dx,), next(process.parameters()))


def check_more(process: Any, examples: Examples, num_tasks: int) -> None:
    """Raise an error unless `examples` can be appended to a support set of `num_tasks` tasks."""
    check_support(process, examples, "examples")
    check_query(examples.x, num_tasks, (process.dx,), next(process.parameters()), "examples.x")

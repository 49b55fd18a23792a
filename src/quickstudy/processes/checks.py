"""Argument checks of processes."""

from typing import Any

from torch import Tensor

from quickstudy.checks import check_examples, check_fits, check_query
from quickstudy.data import Examples


def check_support(process: Any, support: Examples, name: str = "support") -> None:
    """Raise an error unless `support` has the sizes, float type and device of the process."""
    check_examples(support, name)
    if not support.x.is_floating_point():
        raise TypeError(f"{name}.x is {support.x.dtype}; a process encodes real numbers: use x.float()")
    for axis in ("x", "y"):
        _check_features(process, getattr(support, axis), f"{name}.{axis}", f"d{axis}")
    check_fits(process, support, name)


def _check_features(process: Any, values: Tensor, name: str, size: str) -> None:
    """Raise ValueError unless `values` are real numbers `[T, N, d]` with the process's `d` features."""
    own, found = getattr(process, size), values.shape[2:].numel()
    if not values.is_floating_point():
        cure = "a process predicts real numbers; learners such as MAML predict class labels"
    elif values.dim() > 3:
        flat = "" if found == own else f", and build the process with {size}={found}"
        cure = f"it takes one axis of features, so flatten those of each point: {name}.flatten(2){flat}"
    elif values.dim() == 3 and values.shape[2] != own:
        cure = f"build the process with {size}={found}"
    elif values.dim() == 3:
        return
    else:
        cure = f"add the missing axis, for example {name}.unsqueeze(-1)"
    raise ValueError(
        f"{name} is {values.dtype} of shape {list(values.shape)}; this process was built with {size}={own} and expects "
        f"floats [T, N, {own}]; {cure}"
    )


def check_inputs(process: Any, x: Any, num_tasks: int) -> None:
    """Raise an error unless `x` is `[num_tasks, M, dx]`, with the float type and device of the process."""
    check_query(x, num_tasks, (process.dx,), next(process.parameters()))


def check_more(process: Any, examples: Examples, num_tasks: int) -> None:
    """Raise an error unless `examples` can be appended to a support set of `num_tasks` tasks."""
    check_support(process, examples, "examples")
    check_query(examples.x, num_tasks, (process.dx,), next(process.parameters()), "examples.x")

"""Argument checks of processes."""

from typing import Any

from torch import Tensor

from quickstudy.checks import check_examples, check_finite, check_fits, check_query, check_tasks, values_are_readable
from quickstudy.data import Examples, Tasks
from quickstudy.processes.heads.head import possible, takes_labels, takes_missing


def check_all(process: Any, tasks: Tasks) -> None:
    """Raise an error unless the process can learn from `tasks`."""
    check_tasks(tasks, missing=takes_missing(_head(process)))
    check_support(process, tasks.support)
    _check_possible(_head(process), tasks.query, "query.y")


def check_support(process: Any, support: Examples, name: str = "support") -> None:
    """Raise an error unless `support` has the sizes, types and device of the process, and outcomes that are possible.

    The head of the process decides about outcomes: floats `[T, N, dy]` or labels `[T, N]`, and which of their values.
    """
    head = _head(process)
    check_examples(support, name, missing=takes_missing(head))
    if not support.x.is_floating_point():
        raise TypeError(f"{name}.x is {support.x.dtype}; a process encodes real numbers: use x.float()")
    _check_features(process, support.x, f"{name}.x", "dx")
    if takes_labels(head):
        _check_labels(head, support.y, f"{name}.y")
    else:
        _check_features(process, support.y, f"{name}.y", "dy")
    check_fits(process, support, name)
    _check_possible(head, support, f"{name}.y")


def _head(process: Any) -> Any:
    return getattr(process, "head", None)


def _check_features(process: Any, values: Tensor, name: str, size: str) -> None:
    """Raise ValueError unless `values` are real numbers `[T, N, d]` with the process's `d` features."""
    own, found = getattr(process, size), values.shape[2:].numel()
    if not values.is_floating_point():
        cure = (
            "for class labels, give a process without a latent variable head=qs.heads.CategoricalHead(classes), or "
            "take a learner such as MAML; for real outcomes or counts use y.float()"
        )
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


def _check_labels(head: Any, y: Tensor, name: str) -> None:
    """Raise ValueError unless `y` are integers `[T, N]`."""
    if y.is_floating_point():
        last = ".squeeze(-1)" if y.dim() == 3 and y.shape[2] == 1 else ""
        cure = f"if they are labels, use {name}{last}.long(); for real outcomes, take another head"
    elif y.dim() > 2:
        cure = "it takes one label for each point"
    else:
        return
    raise ValueError(
        f"{name} is {y.dtype} of shape {list(y.shape)}; the head of this process, {head!r}, expects integer labels "
        f"[T, N]; {cure}"
    )


def _check_possible(head: Any, examples: Examples, name: str) -> None:
    """Raise ValueError if a real point has an outcome that the head gives no probability; `name` is that of `y`."""
    if not hasattr(head, "possible") or not values_are_readable(examples.y):
        return
    real = examples.real() if examples.y.dim() == 2 else examples.real().unsqueeze(-1)
    bad = (~possible(head, examples.y) & real).nonzero()
    if len(bad):
        first = bad[0].tolist()
        where = f"task {first[0]}, point {first[1]}" + (f", output {first[2]}" if len(first) > 2 else "")
        raise ValueError(
            f"{name} has {len(bad)} value{'s' * (len(bad) > 1)} that {head!r} gives no probability, the first, "
            f"{examples.y[tuple(first)].item():g}, at {where}; expected {head.expects}"
        )


def check_asked(process: Any, points: Examples) -> None:
    """Raise ValueError unless `y` at each real point of `points`, of whose density one asks, is an outcome."""
    head = _head(process)
    if takes_labels(head):
        _check_labels(head, points.y, "y")
    elif values_are_readable(points.y):
        check_finite(points.y, points.mask, "y", missing=takes_missing(head))
    _check_possible(head, points, "y")


def check_inputs(process: Any, x: Any, num_tasks: int) -> None:
    """Raise an error unless `x` is `[num_tasks, M, dx]`, with the float type and device of the process."""
    check_query(x, num_tasks, (process.dx,), next(process.parameters()))


def check_more(process: Any, examples: Examples, num_tasks: int) -> None:
    """Raise an error unless `examples` can be appended to a support set of `num_tasks` tasks."""
    check_support(process, examples, "examples")
    check_query(examples.x, num_tasks, (process.dx,), next(process.parameters()), "examples.x")

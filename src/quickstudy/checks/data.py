"""Checks of examples, tasks and losses."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from quickstudy.checks.axes import missing_axis, missing_axis_of_y, missing_task_axis, swapped_axes
from quickstudy.data import IGNORED, Examples, Tasks, zero_padding
from quickstudy.tracing import values_are_readable


class HasParameters(Protocol):
    """A learner, or any other `nn.Module`."""

    def parameters(self) -> Iterator[Tensor]:
        """As in `nn.Module`."""


def check_examples(
    examples: Examples, name: str = "examples", learner: HasParameters | None = None, *, missing: bool = False
) -> None:
    """Raise an error if `examples` break the contract: shapes, types, devices and finite values.

    Args:
        examples: what to check.
        name: what the caller calls them.
        learner: if given, the examples must have the device and the float type of its parameters.
        missing: whether NaN in `y` is allowed, for an output that was not observed.
    """
    check_layout(examples, name)
    if values_are_readable(examples.x):
        check_finite(examples.x, examples.mask, f"{name}.x")
        check_finite(examples.y, examples.mask, f"{name}.y", missing=missing)
        _check_counted(examples, name)
    if learner is not None:
        check_fits(learner, examples, name)


def check_finite(values: Tensor, mask: Tensor | None, name: str, *, missing: bool = False) -> None:
    """Raise ValueError if `values [T, N, ...]` are NaN (unless `missing`) or infinite at a real point."""
    if not values.is_floating_point() or math.isfinite(float(values.detach().sum())):
        return  # one operation instead of five; large finite values may overflow, and are checked below
    real = values if mask is None else zero_padding(values, mask)
    wrong = torch.isinf(real) if missing else ~torch.isfinite(real)
    bad = wrong.flatten(2).any(2).nonzero()
    if len(bad):
        task, point = bad[0].tolist()
        raise ValueError(
            f"{name} has a NaN or infinite value at {len(bad)} of its real points, the first at task {task}, point "
            f"{point}; drop such points or set their mask to False"
        )


def check_layout(examples: Examples, name: str = "examples") -> None:
    """`check_examples` without looking at the values."""
    if not isinstance(examples, Examples):
        raise TypeError(
            f"{name} must be quickstudy.Examples(x, y, mask), not {type(examples).__name__}; "
            + _to_examples(examples, name)
        )
    x, y, mask = examples
    for part, tensor in (("x", x), ("y", y)):
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"{name}.{part} must be a torch.Tensor, not {type(tensor).__name__}; use torch.as_tensor(...)"
            )
    if x.dim() < 3:
        raise ValueError(
            f"{name}.x has shape {list(x.shape)}; expected [T, N, *dx] (tasks, points, features): {missing_axis(x, y)}"
        )
    if x.shape[0] == 0:
        raise ValueError(f"{name} holds zero tasks (shape {list(x.shape)}); give at least one task")
    _check_outcomes(x, y, name)
    _check_mask(x, mask, name)
    if len({t.device for t in (x, y, mask) if t is not None}) > 1:
        where = ", ".join(f"{k} on {t.device}" for k, t in (("x", x), ("y", y), ("mask", mask)) if t is not None)
        raise ValueError(f"{name} mixes devices ({where}); move all of it with {name}.to(device)")


def check_tasks(tasks: Tasks, learner: HasParameters | None = None, *, missing: bool = False) -> None:
    """Raise an error if `tasks` break the contract; see `check_examples`."""
    if not isinstance(tasks, Tasks):
        raise TypeError(
            f"expected quickstudy.Tasks(support, query, info), not {type(tasks).__name__}; {_to_tasks(tasks)}"
        )
    support, query, _ = tasks
    check_examples(support, "support", missing=missing)
    check_examples(query, "query", missing=missing)
    if support.num_tasks != query.num_tasks:
        raise ValueError(
            f"support holds {support.num_tasks} tasks and query {query.num_tasks} (their first axis); they must agree: "
            "give both for the same tasks"
        )
    if support.x.shape[2:] != query.x.shape[2:]:
        raise ValueError(
            f"support.x has inputs of shape {list(support.x.shape[2:])} and query.x of "
            f"{list(query.x.shape[2:])}; they must agree: give inputs with the same features in both"
        )
    if support.x.dtype != query.x.dtype:
        raise TypeError(
            f"support.x is {support.x.dtype} and query.x {query.x.dtype}; cast one of them, as "
            f"query.x.to({support.x.dtype})"
        )
    if support.y.dtype != query.y.dtype or support.y.shape[2:] != query.y.shape[2:]:
        raise ValueError(
            f"support.y is {support.y.dtype} of shape {list(support.y.shape)} and query.y {query.y.dtype} of shape "
            f"{list(query.y.shape)}; they must agree but for the number of points: give outputs of one type and shape"
        )
    if support.x.device != query.x.device:
        raise ValueError(
            f"support is on {support.x.device} and query on {query.x.device}; move both with tasks.to(device)"
        )
    if query.num_points == 0:
        raise ValueError("query holds no point, so there is nothing to predict; give at least one per task")
    if query.mask is not None and values_are_readable(query.x) and not bool(query.mask.any(1).all()):
        empty = int((~query.mask.any(1)).nonzero()[0])
        raise ValueError(f"task {empty} has no real query point (query.mask is False); give every task at least one")
    if missing and values_are_readable(query.x):
        _check_observed(query)
    if learner is not None:
        check_fits(learner, support)


def check_fits(learner: HasParameters, examples: Examples, name: str = "support") -> None:
    """Raise an error if `examples` and the parameters of `learner` differ in device or float type."""
    weights = [p for p in learner.parameters() if p.is_floating_point()]
    if not weights:
        return
    weight, types = weights[0], {p.dtype for p in weights}
    if examples.x.device != weight.device:
        raise ValueError(
            f"{name} is on {examples.x.device} and the learner on {weight.device}; "
            f"move the data with .to('{weight.device}') or the learner with .to('{examples.x.device}')"
        )
    for part, tensor in (("x", examples.x), ("y", examples.y)):
        if tensor.is_floating_point() and tensor.dtype not in types:
            raise TypeError(
                f"{name}.{part} is {tensor.dtype} and the learner's parameters are {weight.dtype}; "
                f"cast the data with .to(dtype={weight.dtype}) or the learner with .to({tensor.dtype})"
            )


def check_inputs(x: Any, like: Examples, name: str = "x") -> None:
    """Raise an error unless `x` is `[T, M, *dx]`, with the tasks, features, type and device of `like`."""
    check_query(x, like.num_tasks, like.x.shape[2:], like.x, name)


def check_query(x: Any, tasks: int, features: Iterable[int], like: Tensor, name: str = "x") -> None:
    """Raise an error unless `x` is `[tasks, M, *features]`, with the type and device of `like`."""
    if not isinstance(x, Tensor):
        cures = {Examples: "pass its inputs, its .x", Tasks: "pass inputs, such as its .query.x"}
        cure = cures.get(type(x), "use torch.as_tensor(...)")
        raise TypeError(f"{name} must be a torch.Tensor [T, M, *dx], not {type(x).__name__}; {cure}")
    own = list(features)
    if x.dim() != 2 + len(own) or len(x) != tasks or list(x.shape[2:]) != own:
        expected = ", ".join(map(str, [tasks, "M", *own]))
        raise ValueError(
            f"{name} has shape {list(x.shape)}; this predictor was adapted to {tasks} task{'s' * (tasks > 1)} and "
            f"expects [{expected}]{missing_task_axis(x, tasks, own, name)}"
        )
    if x.dtype != like.dtype or x.device != like.device:
        to = f"{name}.to({like.dtype})" if x.device == like.device else f"{name}.to('{like.device}', {like.dtype})"
        raise TypeError(
            f"{name} is {x.dtype} on {x.device}, and this predictor expects {like.dtype} on {like.device}; write {to}"
        )


def check_more(examples: Any, like: Examples) -> None:
    """Raise an error unless `examples` can be appended to a support set such as `like`."""
    check_examples(examples, "examples")
    check_inputs(examples.x, like, "examples.x")
    if examples.y.dtype != like.y.dtype or examples.y.shape[2:] != like.y.shape[2:]:
        raise ValueError(
            f"examples.y is {examples.y.dtype} with outputs of shape {list(examples.y.shape[2:])}; the support set has "
            f"{like.y.dtype} with {list(like.y.shape[2:])}: they must agree"
        )


def check_losses(losses: Any, num_points: int, *, masked: bool) -> None:
    """Raise an error unless a loss gave one value per point (or, unless `masked`, a single number)."""
    if not isinstance(losses, Tensor):
        cure = "leave out .item() and float()" if isinstance(losses, float | int) else "return the tensor alone"
        given = type(losses).__name__
        raise TypeError(f"the loss returned a {given}; expected a tensor [{num_points}], one value per point: {cure}")
    if losses.dim() == 0 and masked:
        raise ValueError(
            "the loss returned a single number for a task with masked points, or for several particles; return one "
            "value per point, [N] (for torch losses: reduction='none')"
        )
    if losses.dim() and losses.shape != (num_points,):
        too_many = "reduce all axes but the first, by losses.flatten(1).sum(1) or .mean(1)"
        cure = too_many if len(losses) == num_points else "keep the axis of points (for torch losses: reduction='none')"
        raise ValueError(
            f"the loss returned shape {list(losses.shape)}; expected [{num_points}], one value per point: {cure}"
        )
    if not losses.is_floating_point():
        raise TypeError(f"the loss returned {losses.dtype} values; expected real numbers that depend on the output")


def _to_examples(given: Any, name: str) -> str:
    """What to write to make `Examples` from `given`."""
    if isinstance(given, Tasks):
        return "pass its .support" if name == "support" else "pass its .support or .query"
    return f"build it from inputs and outputs, {name} = quickstudy.Examples(x, y)"


def _to_tasks(given: Any) -> str:
    """What to write to make `Tasks` from `given`."""
    if callable(getattr(given, "sample", None)):
        return "draw some from it with .sample(num_tasks, support=..., query=...)"
    return "build it from two Examples, quickstudy.Tasks(support, query), or draw it with a family's sample()"


def _check_outcomes(x: Tensor, y: Tensor, name: str) -> None:
    if y.is_floating_point():
        if y.dim() < 3:
            raise ValueError(
                f"{name}.y has shape {list(y.shape)}; expected [T, N, *dy] for real outputs, with [T, N] = "
                f"{list(x.shape[:2])} as in x: {missing_axis_of_y(x, y)}"
            )
        if x.is_floating_point() and x.dtype != y.dtype:
            raise TypeError(
                f"{name}.x is {x.dtype} and {name}.y is {y.dtype}; cast one of them, as {name}.x.to({y.dtype})"
            )
    elif y.dtype == torch.bool or y.is_complex():
        raise TypeError(
            f"{name}.y is {y.dtype}; expected real numbers [T, N, *dy], or integer class labels [T, N] or "
            "[T, N, *positions]: use y.long() or y.float()"
        )
    elif y.dim() < 2:
        also = "x.unsqueeze(0) and " if y.dim() and len(y) == len(x) > 1 else ""
        raise ValueError(
            f"{name}.y holds integers of shape {list(y.shape)}; class labels are [T, N], or [T, N, *positions] for "
            f"points with many: add the axis of tasks with {also}y.unsqueeze(0)"
        )
    elif y.dim() > 2 and y.shape[-1] == 1:
        raise ValueError(
            f"{name}.y holds integers of shape {list(y.shape)}; class labels are [T, N], or [T, N, *positions] for "
            "points with many: squeeze the last axis with y.squeeze(-1), or make real outputs with y.float()"
        )
    if x.shape[:2] != y.shape[:2]:
        raise ValueError(
            f"{name}.x has [T, N] = {list(x.shape[:2])} (tasks, points) and {name}.y {list(y.shape[:2])}; they must "
            f"agree: {swapped_axes(x, y) or 'give one output for every input'}"
        )


def _check_mask(x: Tensor, mask: Any, name: str) -> None:
    if mask is None:
        return
    if not isinstance(mask, Tensor):
        raise TypeError(
            f"{name}.mask must be a torch.Tensor or None, not {type(mask).__name__}; use torch.as_tensor(...)"
        )
    if mask.dtype != torch.bool or mask.shape != x.shape[:2]:
        right = f"torch.bool of shape {list(x.shape[:2])}, True for a real point"
        cure = ": use mask.bool()" if mask.shape == x.shape[:2] else ""
        raise ValueError(f"{name}.mask is {mask.dtype} of shape {list(mask.shape)}; expected {right}{cure}")


def _check_observed(query: Examples) -> None:
    """Raise ValueError for a task of which no output was observed at any query point."""
    observed = ~query.y.isnan().flatten(2).all(2) & query.real()
    if not bool(observed.any(1).all()):
        empty = int((~observed.any(1)).nonzero()[0])
        raise ValueError(
            f"all outputs of task {empty} are missing (NaN) at its query points, so there is nothing to predict; give "
            "every task a query point with an output"
        )


def _check_counted(examples: Examples, name: str) -> None:
    if examples.y.is_floating_point():
        return
    ignored = examples.y.long() == IGNORED
    empty = ignored.flatten(2).all(2) if ignored.dim() > 2 else ignored
    bad = (empty & examples.real()).nonzero()
    if len(bad):
        task, point = bad[0].tolist()
        raise ValueError(
            f"{name}.y labels nothing at {len(bad)} of its real points ({IGNORED} everywhere), the first at task "
            f"{task}, point {point}; drop such points or set their mask to False"
        )

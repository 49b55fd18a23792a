"""What the library refuses: each check answers bad input with one line that says what was given, what was expected
and what to do."""

import math
from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from typing import Any, Protocol

import torch
from torch import Tensor

from quickstudy.data import IGNORED, Examples, Tasks, zero_padding
from quickstudy.tracing import is_tracing


class HasParameters(Protocol):
    """A learner, or any other `nn.Module`."""

    def parameters(self) -> Iterator[Tensor]:
        """As of `nn.Module`."""


def check_examples(examples: Examples, name: str = "examples", learner: HasParameters | None = None) -> None:
    """Raise an error if `examples` break the contract: shapes, types, devices and finite values.

    With a `learner`, they must have the device and the float type of its parameters as well.
    """
    check_layout(examples, name)
    if values_are_readable(examples.x):
        _check_finite(examples, name)
        _check_counted(examples, name)
    if learner is not None:
        check_fits(learner, examples, name)


def check_layout(examples: Examples, name: str = "examples") -> None:
    """`check_examples` without a look at the values."""
    if not isinstance(examples, Examples):
        raise TypeError(
            f"{name} must be quickstudy.Examples(x, y, mask), not {type(examples).__name__}; "
            "build it from tensors, or pass the .support or .query of a Tasks"
        )
    x, y, mask = examples
    for part, tensor in (("x", x), ("y", y)):
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"{name}.{part} must be a torch.Tensor, not {type(tensor).__name__}; use torch.as_tensor(...)"
            )
    if x.dim() < 3:
        raise ValueError(
            f"{name}.x has shape {list(x.shape)}; expected [T, N, *dx] (tasks, points, features): {_missing_axis(x, y)}"
        )
    if x.shape[0] == 0:
        raise ValueError(f"{name} holds zero tasks (shape {list(x.shape)}); give at least one task")
    _check_labels(x, y, name)
    if mask is not None and not isinstance(mask, Tensor):
        raise TypeError(
            f"{name}.mask must be a torch.Tensor or None, not {type(mask).__name__}; use torch.as_tensor(...)"
        )
    if mask is not None and (mask.dtype != torch.bool or mask.shape != x.shape[:2]):
        raise ValueError(
            f"{name}.mask is {mask.dtype} of shape {list(mask.shape)}; expected torch.bool of shape "
            f"{list(x.shape[:2])}, True for a real point"
        )
    if len({t.device for t in (x, y, mask) if t is not None}) > 1:
        where = ", ".join(f"{k} on {t.device}" for k, t in (("x", x), ("y", y), ("mask", mask)) if t is not None)
        raise ValueError(f"{name} mixes devices ({where}); move all of it with {name}.to(device)")


def check_tasks(tasks: Tasks, learner: HasParameters | None = None) -> None:
    """Raise an error if `tasks` break the contract; see `check_examples`."""
    if not isinstance(tasks, Tasks):
        raise TypeError(
            f"expected quickstudy.Tasks(support, query, info), not {type(tasks).__name__}; "
            "a family's sample() makes one"
        )
    support, query, _ = tasks
    check_examples(support, "support")
    check_examples(query, "query")
    if support.num_tasks != query.num_tasks:
        raise ValueError(
            f"support holds {support.num_tasks} tasks and query {query.num_tasks}; they must agree: "
            "give both for the same tasks"
        )
    if support.x.shape[2:] != query.x.shape[2:]:
        raise ValueError(
            f"support.x has inputs of shape {list(support.x.shape[2:])} and query.x of "
            f"{list(query.x.shape[2:])}; they must agree: give inputs with the same features in both"
        )
    if support.x.dtype != query.x.dtype:
        raise TypeError(f"support.x is {support.x.dtype} and query.x {query.x.dtype}; cast one of them with .to(dtype)")
    if support.y.dtype != query.y.dtype or support.y.shape[2:] != query.y.shape[2:]:
        raise ValueError(
            f"support.y is {support.y.dtype} with features {list(support.y.shape[2:])}, query.y {query.y.dtype} with "
            f"{list(query.y.shape[2:])}; they must agree: give outputs of one type and with the same features"
        )
    if support.x.device != query.x.device:
        raise ValueError(
            f"support is on {support.x.device} and query on {query.x.device}; move both with tasks.to(device)"
        )
    if query.num_points == 0:
        raise ValueError("query holds no point, so there is nothing to be judged on; give at least one per task")
    if query.mask is not None and values_are_readable(query.x) and not bool(query.mask.any(1).all()):
        empty = int((~query.mask.any(1)).nonzero()[0])
        raise ValueError(f"task {empty} has no real query point; give every task at least one")
    if learner is not None:
        check_fits(learner, support)


def check_whole(name: str, value: Any, least: int = 1) -> int:
    """`value` as an int (numpy's become Python's); ValueError unless it is a whole number of at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r}; expected a whole number of at least {least}")
    return int(value)


def check_fits(learner: HasParameters, examples: Examples, name: str = "support") -> None:
    """Raise an error if `examples` and the parameters of `learner` differ in device or float type."""
    weights = [p for p in learner.parameters() if p.is_floating_point()]
    if not weights:
        return
    weight, types = weights[0], {p.dtype for p in weights}
    if examples.x.device != weight.device:
        raise ValueError(
            f"{name} is on {examples.x.device} and the learner on {weight.device}; move one with .to(device)"
        )
    for part, tensor in (("x", examples.x), ("y", examples.y)):
        if tensor.is_floating_point() and tensor.dtype not in types:
            raise TypeError(
                f"{name}.{part} is {tensor.dtype} and the learner's parameters are {weight.dtype}; "
                f"cast the data with .to(dtype={weight.dtype}) or the learner with .to({tensor.dtype})"
            )


def check_inputs(x: Any, like: Examples) -> None:
    """Raise one clear line unless `x` is `[T, M, *dx]`, with the tasks, features, type and device of `like`."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a torch.Tensor [T, M, *dx], not {type(x).__name__}; use torch.as_tensor(...)")
    tasks, features = like.num_tasks, list(like.x.shape[2:])
    if x.dim() != like.x.dim() or len(x) != tasks or list(x.shape[2:]) != features:
        expected = ", ".join(map(str, [tasks, "M", *features]))
        raise ValueError(
            f"x has shape {list(x.shape)}; this predictor was adapted to {tasks} tasks, expected [{expected}]"
        )
    if x.dtype != like.x.dtype or x.device != like.x.device:
        raise TypeError(
            f"x is {x.dtype} on {x.device} and the support set was {like.x.dtype} on {like.x.device}; "
            "move x with .to(device, dtype)"
        )


def check_more(examples: Any, like: Examples) -> None:
    """Raise one clear line unless `examples` can join a support set such as `like`."""
    check_examples(examples, "examples")
    check_inputs(examples.x, like)
    if examples.y.dtype != like.y.dtype or examples.y.shape[2:] != like.y.shape[2:]:
        raise ValueError(
            f"examples.y is {examples.y.dtype} with features {list(examples.y.shape[2:])}; the support set has "
            f"{like.y.dtype} with {list(like.y.shape[2:])}: they must agree"
        )


def describe(info: Mapping[str, Any]) -> str:
    """The names and shapes in an `info`, for error messages."""
    return ", ".join(f"{k} {list(v.shape)}" if isinstance(v, Tensor) else k for k, v in info.items()) or "nothing"


def values_are_readable(tensor: Tensor) -> bool:
    """False where a tensor has no values to look at: while torch compiles or transforms, and on the meta device."""
    if torch.compiler.is_compiling() or is_tracing() or tensor.is_meta:
        return False
    return not torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def _check_labels(x: Tensor, y: Tensor, name: str) -> None:
    if y.is_floating_point():
        if y.dim() < 3:
            raise ValueError(
                f"{name}.y has shape {list(y.shape)}; expected [T, N, *dy] for real outputs, with [T, N] = "
                f"{list(x.shape[:2])} as in x: {_missing_axis_of_y(x, y)}"
            )
        if x.is_floating_point() and x.dtype != y.dtype:
            raise TypeError(f"{name}.x is {x.dtype} and {name}.y is {y.dtype}; cast one of them with .to(dtype)")
    elif y.dtype == torch.bool or y.is_complex():
        raise TypeError(
            f"{name}.y is {y.dtype}; expected real numbers [T, N, *dy], or integer class labels [T, N] or "
            "[T, N, *positions]: use y.long() or y.float()"
        )
    elif y.dim() < 2:
        raise ValueError(
            f"{name}.y holds integers of shape {list(y.shape)}; class labels are [T, N], or [T, N, *positions] for "
            "points with many: add the axis of tasks with y.unsqueeze(0)"
        )
    elif y.dim() > 2 and y.shape[-1] == 1:
        raise ValueError(
            f"{name}.y holds integers of shape {list(y.shape)}; class labels are [T, N], or [T, N, *positions] for "
            "points with many: squeeze the last axis with y.squeeze(-1), or make real outputs with y.float()"
        )
    if x.shape[:2] != y.shape[:2]:
        raise ValueError(
            f"{name}.x has [T, N] = {list(x.shape[:2])} (tasks, points) and {name}.y {list(y.shape[:2])}; they must "
            "agree: give one output for every input"
        )


def _missing_axis(x: Tensor, y: Tensor) -> str:
    """How inputs with fewer than three axes become `[T, N, *dx]`."""
    if x.dim() < 2:
        return "for one task with one number a point write x.reshape(1, -1, 1)"
    several = "write x.unsqueeze(-1) if they are one number a point of several tasks, [T, N]"
    of_y = "" if y.dim() > 2 else ", and y.unsqueeze(0)"
    return f"write x.unsqueeze(0){of_y} if they are the points of one task, [N, dx]; {several}"


def _missing_axis_of_y(x: Tensor, y: Tensor) -> str:
    """The same of real outputs."""
    if y.shape == x.shape[:2]:
        return "write y.unsqueeze(-1) for one number a point"
    if x.shape[0] == 1 and y.dim() and len(y) == x.shape[1]:
        return "write y.unsqueeze(0) for the points of one task" if y.dim() == 2 else "write y.reshape(1, -1, 1)"
    return "write y.unsqueeze(0) for the points of one task, y.unsqueeze(-1) for one number a point"


def _check_finite(examples: Examples, name: str) -> None:
    for part, tensor in (("x", examples.x), ("y", examples.y)):
        if not tensor.is_floating_point() or math.isfinite(float(tensor.detach().sum())):
            continue  # one operation in place of five; large finite values may overflow, and are looked at below
        real = tensor if examples.mask is None else zero_padding(tensor, examples.mask)
        bad = (~torch.isfinite(real)).flatten(2).any(2).nonzero()
        if len(bad):
            task, point = bad[0].tolist()
            raise ValueError(
                f"{name}.{part} has a NaN or infinite value at {len(bad)} real points, the first at task {task}, "
                f"point {point}; drop such points or set their mask to False"
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
            f"{name}.y labels nothing at {len(bad)} real points ({IGNORED} everywhere), the first at task {task}, "
            f"point {point}; drop such points or set their mask to False"
        )


def check_losses(losses: Any, num_points: int, *, masked: bool) -> None:
    """Raise one clear line unless a loss gave one value per point (or, unless `masked`, a single number)."""
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


def check_number(name: str, value: Any) -> float:
    """`value`, or ValueError unless it is finite and at least 0."""
    if isinstance(value, bool) or not (isinstance(value, int | float) and 0 <= value < math.inf):
        raise ValueError(f"{name}={value!r}; expected a finite number of at least 0")
    return value


def check_unit(name: str, value: Any) -> float:
    """`value`, or ValueError unless it is at least 0 and below 1."""
    if check_number(name, value) >= 1:
        raise ValueError(f"{name}={value!r}; expected a number of at least 0 and below 1")
    return value


def check_positive(name: str, value: Any) -> int | float:
    """`value` as a Python number; ValueError unless it is a finite number above 0."""
    if not isinstance(value, Real) or isinstance(value, bool) or not (math.isfinite(value) and float(value) > 0):
        raise ValueError(f"{name}={value!r}; expected a positive number")
    return int(value) if isinstance(value, Integral) else float(value)

"""What every process refuses."""

from typing import Any

import torch
from torch import Tensor

from quickstudy.checks import check_examples, check_fits
from quickstudy.data import Examples
from quickstudy.learner import check_generator, check_steps


def check_sizes(**sizes: int) -> None:
    """Raise ValueError unless every size is a whole number of at least 1 (depths: 2)."""
    for name, value in sizes.items():
        least = 2 if name.endswith("depth") else 1
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{name}={value!r}; expected a whole number of at least {least}")


def check_floor(sigma_floor: float) -> None:
    """Raise ValueError unless the smallest standard deviation is a number of at least 0."""
    if not (isinstance(sigma_floor, int | float) and 0 <= sigma_floor < float("inf")):
        raise ValueError(f"sigma_floor={sigma_floor!r}; expected a standard deviation of at least 0, in units of y")


def known(process: Any, support: Examples, steps: int | None, generator: torch.Generator | None) -> Examples:
    """What a process encodes when told to adapt to `support`: all of it, or nothing for `steps=0`.

    Raises:
        ValueError, TypeError: for a support set, steps or a generator that are none.
    """
    check_support(process, support)
    check_generator(generator)
    if steps is not None and check_steps(steps) == 0:
        return Examples(support.x[:, :0], support.y[:, :0])
    return support.clean()


def check_support(process: Any, support: Examples, name: str = "support") -> None:
    """Raise one clear line unless `support` fits the process's sizes, type and device."""
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
    """Raise one clear line unless `x` is `[T, M, dx]`, of as many tasks, and of the process's type and device."""
    if not isinstance(x, Tensor):
        raise TypeError(
            f"x must be a torch.Tensor [T, M, {process.dx}], not {type(x).__name__}; use torch.as_tensor(...)"
        )
    if x.dim() != 3 or x.shape[0] != num_tasks or x.shape[2] != process.dx:
        raise ValueError(f"x has shape {list(x.shape)}; this predictor expects [{num_tasks}, M, {process.dx}]")
    weight = next(process.parameters())
    if x.dtype != weight.dtype or x.device != weight.device:
        raise TypeError(
            f"x is {x.dtype} on {x.device} and the process {weight.dtype} on {weight.device}; "
            "move x with .to(device, dtype)"
        )


def check_more(process: Any, examples: Examples, num_tasks: int) -> None:
    """Raise one clear line unless `examples` can join a support set of as many tasks."""
    check_support(process, examples, "examples")
    check_inputs(process, examples.x, num_tasks)

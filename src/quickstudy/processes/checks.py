"""What every process refuses, and a task's mean function as a module."""

from typing import Any, Protocol

from torch import Tensor, nn

from quickstudy.data import Examples, check_examples, check_fits
from quickstudy.learner import Predictor


class Process(Protocol):
    """The sizes that the checks read."""

    dx: int
    dy: int


class TaskModel(nn.Module):
    """One task's mean function `[M, dx] -> [M, dy]`."""

    def __init__(self, process: nn.Module, predictor: Predictor):
        super().__init__()
        self.process = process
        self._predictor = predictor

    def forward(self, x: Tensor) -> Tensor:
        """The mean at `x [M, dx]`."""
        return self._predictor(x.unsqueeze(0)).mean[0]


def check_sizes(**sizes: int) -> None:
    """Raise ValueError unless every size is a whole number of at least 1 (depths: 2)."""
    for name, value in sizes.items():
        least = 2 if name.endswith("depth") else 1
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{name}={value!r}; expected a whole number of at least {least}")


def check_floor(sigma_floor: float) -> None:
    """Raise ValueError unless the smallest standard deviation is a number of at least 0."""
    if not 0 <= sigma_floor < float("inf"):
        raise ValueError(f"sigma_floor={sigma_floor!r}; expected a standard deviation of at least 0, in units of y")


def check_support(process: Any, support: Examples) -> None:
    """Raise one clear line unless `support` fits the process's sizes, type and device."""
    check_examples(support, "support")
    if support.x.dim() != 3 or support.x.shape[2] != process.dx:
        raise ValueError(
            f"support.x has shape {list(support.x.shape)}; this process was built with dx={process.dx} "
            f"and expects [T, N, {process.dx}]"
        )
    if support.y.dim() != 3 or support.y.shape[2] != process.dy:
        raise ValueError(
            f"support.y is {support.y.dtype} of shape {list(support.y.shape)}; this process was built with "
            f"dy={process.dy} and expects floats [T, N, {process.dy}]"
        )
    check_fits(process, support)


def check_inputs(x: Tensor, num_tasks: int, dx: int) -> None:
    """Raise ValueError unless `x` is `[num_tasks, M, dx]`."""
    if x.dim() != 3 or x.shape[0] != num_tasks or x.shape[2] != dx:
        raise ValueError(f"x has shape {list(x.shape)}; this predictor expects [{num_tasks}, M, {dx}]")


def prior_support(support: Examples) -> Examples:
    """The same tasks with nothing seen of them."""
    return Examples(support.x[:, :0], support.y[:, :0])

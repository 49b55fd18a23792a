"""The parts of neural processes: a mean over encoded points, a decoder, and Gaussian outputs."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quickstudy.data import Examples, at_least_float32
from quickstudy.nets import MLP
from quickstudy.predictive.outcomes import LOG_2PI
from quickstudy.substitute import substituted


class State(NamedTuple):
    """The encoded points of `T` tasks: their sum and their number. The state of a union is the sum of the states.

    The sum is at least float32 and the number an integer, since half precision cannot add up many points: a bfloat16
    count stops at 256.
    """

    total: Tensor  # [T, width]
    seen: Tensor  # [T]

    def plus(self, other: "State") -> "State":
        """The state of the union."""
        return State(self.total + other.total, self.seen + other.seen)

    def mean(self, dtype: torch.dtype | None = None) -> Tensor:
        """The mean `[T, width]`, as `dtype` if given; zeros for a task without points."""
        return (self.total / self.seen.clamp_min(1).unsqueeze(-1)).to(dtype)


def dtype_of(module: nn.Module) -> torch.dtype:
    """The dtype of a module's parameters."""
    return next(module.parameters()).dtype


class PointEncoder(nn.Module):
    """Encodes each point by itself, and a set of points by the mean of their codes (Zaheer et al. 2017, Deep Sets).

    Args:
        inputs: number of features of a point, `dx + dy`.
        width: units of every hidden layer.
        depth: number of linear layers before the mean.
        code: number of features of an encoded point, and of the mean.
    """

    def __init__(self, inputs: int, width: int, depth: int, code: int):
        super().__init__()
        self.point = he_normal(MLP(inputs, [width] * (depth - 1), code, activation="gelu"))

    def encode(self, examples: Examples) -> State:
        """The state of a support set with `x [T, N, dx]` and `y [T, N, dy]`; `N` may be 0."""
        x, y, mask = examples
        codes = F.gelu(self.point(torch.cat([x, y], -1)))
        if mask is not None:
            codes = torch.where(mask.unsqueeze(-1), codes, codes.new_zeros(()))
        return State(codes.sum(1, dtype=at_least_float32(codes)), examples.sizes())


class Decoder(nn.Module):
    """Maps a task's representation and an input to the mean and the raw scale of the output.

    The first layer is split in two, so that the part which depends only on the task is computed once per task.

    Args:
        features: number of features of a task's representation.
        dx: number of features of an input.
        width: units of every hidden layer.
        depth: number of linear layers.
        outputs: number of outputs, `2 dy`.
    """

    def __init__(self, features: int, dx: int, width: int, depth: int, outputs: int):
        super().__init__()
        self.task = nn.Linear(features, width)
        self.input = nn.Linear(dx, width, bias=False)
        self.rest = MLP(width, [width] * (depth - 2), outputs, activation="gelu")
        he_normal(self)
        with torch.no_grad():  # predictions start near N(0, ln(2)^2) everywhere, so the first losses are small
            self.rest.layers[-1].weight.mul_(0.01)  # type: ignore[operator]

    def forward(self, representation: Tensor, x: Tensor) -> Tensor:
        """`representation [*S, T, features]`, `x [T, M, dx]` -> `[*S, T, M, outputs]`."""
        return self.rest(F.gelu(self.task(representation).unsqueeze(-2) + self.input(x)))

    def at_points(self, representation: Tensor, x: Tensor) -> Tensor:
        """`representation [*S, T, M, features]`, one for each point, `x [T, M, dx]` -> `[*S, T, M, outputs]`."""
        return self.rest(F.gelu(self.task(representation) + self.input(x)))

    def means(self, representation: Tensor, dy: int, *, graph: bool) -> Callable[[Tensor, Any], Tensor]:
        """The first `dy` outputs as a function of `x`, for fixed representations `[S, T, features]`.

        The part that depends on the representations is computed here, once, since planning evaluates the same functions
        hundreds of times. The function takes `x [T, M, dx]` and the indices along `S` to evaluate. Without `graph`,
        the decoder's parameters are constants.
        """

        def parameters(layer: Any, outputs: int | None = None) -> tuple[Tensor, Tensor]:
            weight, bias = layer.weight[:outputs], layer.bias[:outputs]
            return (weight, bias) if graph else (weight.detach(), bias.detach())

        task = F.linear(representation, *parameters(self.task)).unsqueeze(-2)
        first = self.input.weight if graph else self.input.weight.detach()
        *hidden, last = self.rest.layers
        layers = [*map(parameters, hidden), parameters(last, dy)]

        def evaluate(x: Tensor, members: Any) -> Tensor:
            of_task, values = task[members], F.linear(x, first)
            # computed in place for one function, since memory bandwidth limits planning
            values = values.unsqueeze(0).add_(of_task) if len(of_task) == 1 else of_task + values
            for weight, bias in layers:
                values = F.linear(F.gelu(values), weight, bias)
            return values

        return evaluate


def he_normal(module: nn.Module) -> nn.Module:
    """`module` with He-normal weights (He et al. 2015).

    Torch's default weights are smaller. The influence of the support set then fades over the eight layers to the
    output, and training stays on a plateau for tens of thousands of steps. (With GELU layers and gradients clipped at
    norm 1 it leaves the plateau even sooner.)
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return module


def mean_and_sd(output: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation `floor + softplus(raw)` from a decoder's output."""
    mean, raw = output.chunk(2, -1)
    return mean, floor + F.softplus(raw)


def gaussian_log_prob(y: Tensor, mean: Tensor, sd: Tensor, mask: Tensor | None) -> Tensor:
    """Log density of each point `[*S, T, M]`, summed over dy; 0 where masked (`y` must be finite there).

    The dtype is at least float32, since it will be summed over points.
    """
    points = -0.5 * ((y - mean) / sd).square() - sd.log() - 0.5 * LOG_2PI
    points = points.sum(-1, dtype=at_least_float32(points))
    return points if mask is None else torch.where(mask, points, points.new_zeros(()))


def run(module: nn.Module, *inputs: Tensor, graph: bool) -> Tensor:
    """`module(*inputs)`; without `graph`, the module's parameters are constants (the inputs are not)."""
    if graph:
        return module(*inputs)
    with constant(module):
        return module(*inputs)


def constant(module: nn.Module) -> AbstractContextManager[None]:
    """A context in which the parameters of `module` are constants: gradients do not reach them."""
    return substituted(module, {name: p.detach() for name, p in module.named_parameters()})


def requires_grad(*values: Any) -> bool:
    """Whether any of `values` is a tensor through which gradients are wanted."""
    return any(isinstance(value, Tensor) and value.requires_grad for value in values)


class TaskModel(nn.Module):
    """One task's mean function `[M, dx] -> [M, dy]`, with a copy of the process and the task's state.

    Args:
        process: the process, which is copied.
        predict: makes a predictor from a process, a state and the random tensors in `drawn`.
        state: the state of one task, a NamedTuple of tensors.
        drawn: the predictor's random tensors for one task, such as the noise of latents.
    """

    def __init__(self, process: nn.Module, predict: Callable[..., Any], state: Any, *drawn: Tensor):
        super().__init__()
        self.process = copy.deepcopy(process)
        self.predict, self.kind = predict, type(state)
        self.drawn = [f"drawn{i}" for i in range(len(drawn))]
        for name, tensor in (*zip(state._fields, state, strict=True), *zip(self.drawn, drawn, strict=True)):
            self.register_buffer(name, tensor.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """The mean at `x [M, dx]`."""
        state = self.kind(*(getattr(self, name) for name in self.kind._fields))
        drawn = (getattr(self, name) for name in self.drawn)
        return self.predict(self.process, state, *drawn, graph=True)(x.unsqueeze(0)).mean[0]

"""What neural processes are built from: a mean over encoded points, a decoder, and Gaussian outputs."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quickstudy.data import Examples, at_least_float32
from quickstudy.nets import MLP
from quickstudy.predictive.outcomes import LOG_2PI
from quickstudy.substitute import substituted


class State(NamedTuple):
    """What has been seen of `T` tasks: a sum over encoded points, and their number. States of parts add up.

    The sum is kept in at least float32 and the number as an integer: in half precision both would stop to grow, a
    count at 256 in bfloat16.
    """

    total: Tensor  # [T, width]
    seen: Tensor  # [T]

    def plus(self, other: "State") -> "State":
        """The state of the union."""
        return State(self.total + other.total, self.seen + other.seen)

    def task(self, i: int) -> "State":
        """Of task `i` alone."""
        return State(self.total[[i]], self.seen[[i]])

    def mean(self, dtype: torch.dtype | None = None) -> Tensor:
        """`[T, width]`, in the type of the network that reads it if one is given; zeros where nothing has been seen."""
        return (self.total / self.seen.clamp_min(1).unsqueeze(-1)).to(dtype)


def dtype_of(module: nn.Module) -> torch.dtype:
    """The type of its parameters."""
    return next(module.parameters()).dtype


class PointEncoder(nn.Module):
    """Encodes each point by itself and the set by the mean over its points (Zaheer et al. 2017, Deep Sets).

    Args:
        inputs: features of a point, `dx + dy`.
        width: of the hidden layers.
        depth: number of linear layers before the mean.
        code: features of a point's code, and so of the mean.
    """

    def __init__(self, inputs: int, width: int, depth: int, code: int):
        super().__init__()
        self.point = he_normal(MLP(inputs, [width] * (depth - 1), code, activation="gelu"))

    def encode(self, examples: Examples) -> State:
        """The state for a support set: `x [T, N, dx]`, `y [T, N, dy]`, `N` may be 0."""
        x, y, mask = examples
        codes = F.gelu(self.point(torch.cat([x, y], -1)))
        if mask is not None:
            codes = torch.where(mask.unsqueeze(-1), codes, codes.new_zeros(()))
        return State(codes.sum(1, dtype=at_least_float32(codes)), examples.sizes())


class Decoder(nn.Module):
    """Maps what is known of a task and an input to an output's mean and raw scale.

    The first layer is split in two, so that the part that only depends on the task is computed once per task.

    Args:
        features: of a task's representation.
        dx: features of an input.
        width: of the hidden layers.
        depth: number of linear layers.
        outputs: features of an output, `2 dy`.
    """

    def __init__(self, features: int, dx: int, width: int, depth: int, outputs: int):
        super().__init__()
        self.task = nn.Linear(features, width)
        self.input = nn.Linear(dx, width, bias=False)
        self.rest = MLP(width, [width] * (depth - 2), outputs, activation="gelu")
        he_normal(self)

    def forward(self, representation: Tensor, x: Tensor) -> Tensor:
        """`representation [*S, T, features]`, `x [T, M, dx]` -> `[*S, T, M, outputs]`."""
        return self.rest(F.gelu(self.task(representation).unsqueeze(-2) + self.input(x)))

    def means(self, representation: Tensor, dy: int, *, graph: bool) -> Callable[[Tensor, Any], Tensor]:
        """The first `dy` outputs as a function of `x`, for representations `[S, T, features]` that stay as they are.

        What depends on them is computed here, once; planning evaluates the same functions hundreds of times. The
        function takes `x [T, M, dx]` and the places of those in `S` that are asked for. Without `graph`, parameters
        count as constants.
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
            # one function: in place, since planning waits on memory
            values = values.unsqueeze(0).add_(of_task) if len(of_task) == 1 else of_task + values
            for weight, bias in layers:
                values = F.linear(F.gelu(values), weight, bias)
            return values

        return evaluate


def he_normal(module: nn.Module) -> nn.Module:
    """`module` with He-normal weights (He et al. 2015). Torch's smaller default lets the support set's signal fade
    over the eight layers to the output, and training then waits on a plateau for tens of thousands of steps. (GELU
    layers with gradients clipped at norm 1 leave it sooner still.)"""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return module


def mean_and_sd(output: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Mean, and standard deviation `floor + softplus(raw)`."""
    mean, raw = output.chunk(2, -1)
    return mean, floor + F.softplus(raw)


def gaussian_log_prob(y: Tensor, mean: Tensor, sd: Tensor, mask: Tensor | None) -> Tensor:
    """Log density of each point `[*S, T, M]`, summed over dy; 0 where masked (`y` is zero there).

    In at least float32, as sums over points are made of it.
    """
    points = -0.5 * ((y - mean) / sd).square() - sd.log() - 0.5 * LOG_2PI
    points = points.sum(-1, dtype=at_least_float32(points))
    return points if mask is None else torch.where(mask, points, points.new_zeros(()))


def run(module: nn.Module, *inputs: Tensor, graph: bool) -> Tensor:
    """`module(*inputs)`; without `graph`, its parameters count as constants (the inputs do not)."""
    if graph:
        return module(*inputs)
    with substituted(module, {k: p.detach() for k, p in module.named_parameters()}):
        return module(*inputs)


class TaskModel(nn.Module):
    """One task's mean function `[M, dx] -> [M, dy]`, with a copy of the process and what was seen of the task.

    Args:
        process: to be copied.
        predict: makes the predictor from a process, a state and whatever else was drawn.
        state: of one task.
        drawn: other tensors of the predictor, for one task.
    """

    total: Tensor
    seen: Tensor
    drawn: Tensor

    def __init__(self, process: nn.Module, predict: Callable[..., Any], state: State, *drawn: Tensor):
        super().__init__()
        self.process = copy.deepcopy(process)
        self.predict = predict
        self.num_drawn = len(drawn)
        for name, tensor in zip(("total", "seen", "drawn"), (*state, *drawn), strict=False):
            self.register_buffer(name, tensor.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """The mean at `x [M, dx]`."""
        drawn = [self.drawn] if self.num_drawn else []
        return self.predict(self.process, State(self.total, self.seen), *drawn, graph=True)(x.unsqueeze(0)).mean[0]

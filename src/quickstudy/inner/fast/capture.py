"""Catches the calls of linear and convolutional layers.

While the fast path runs, `torch.nn.functional.linear` and the convolutions check whether their weight is a stand-in of
the fast path. So a layer is caught wherever it is called, also inside attention. A stand-in takes the place of a weight
in the network, is recognised by identity, and raises if any other operation reads it.
"""

import functools
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from quickstudy.inner.fast import lowrank
from quickstudy.inner.transforms import Switch

LAYERS: dict[str, Callable[..., Tensor]] = {name: getattr(F, name) for name in ("linear", "conv1d", "conv2d", "conv3d")}


class Call(NamedTuple):
    """One call of a layer in a pass: names of weight and bias, shapes for one task, the weight's dtype, arguments."""

    kind: str
    weight: str
    bias: str | None
    weight_shape: torch.Size
    input_shape: torch.Size
    output_shape: torch.Size
    dtype: torch.dtype
    arguments: dict[str, Any]

    @property
    def rows(self) -> int:
        """Rows of the layer's input matrix: points times tokens."""
        return self.input_shape[:-1].numel()


class Differs(RuntimeError):
    """Raised if the network differs from the trial run, or reads a weight that should only be caught."""


class Unfit(RuntimeError):
    """Raised for an operation that cannot run for all tasks at once; the message names it."""


class StandIn(Tensor):
    """A tensor of NaN in place of a weight. It takes no memory, and raises when an operation reads it.

    Functions of torch.nn.functional that are written in Python, such as attention, get the plain NaN instead: if they
    read the values, their result is NaN, which shows it.
    """

    numbers: Tensor

    @staticmethod
    def of(parameter: Tensor) -> "StandIn":
        """A stand-in with the shape and type of a parameter."""
        numbers = torch.full((), float("nan"), dtype=parameter.dtype, device=parameter.device).expand(parameter.shape)
        made = numbers.as_subclass(StandIn)
        made.numbers = numbers
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types_: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _LOOKS:
            if func == _WANTS_GRAD:
                return True
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        if isinstance(func, types.FunctionType) and func.__module__ == "torch.nn.functional":
            given = [a.numbers if isinstance(a, StandIn) else a for a in args]
            return func(*given, **{k: a.numbers if isinstance(a, StandIn) else a for k, a in (kwargs or {}).items()})
        raise Differs(f"something reads a layer's weight besides the layer: {getattr(func, '__name__', func)}")


_WANTS_GRAD = Tensor.requires_grad.__get__  # type: ignore[attr-defined]
_LOOKS = frozenset(
    [getattr(Tensor, name).__get__ for name in "shape dtype device layout ndim is_leaf is_cuda is_sparse".split()]
    + [getattr(Tensor, name) for name in "size dim numel is_floating_point is_complex element_size __len__".split()]
    + [_WANTS_GRAD]
)


@dataclass
class Layer:
    """A caught layer during one pass.

    Args:
        name: of the weight.
        weight: the tensor shared by all tasks.
        scale, factors: one task's weight is `scale * weight` plus the low-rank product of `factors`.
    """

    name: str
    weight: Tensor
    scale: Any = 1.0
    factors: tuple[Tensor, Tensor] | None = None

    def __call__(self, kind: str, x: Tensor, bias: Tensor | None, arguments: dict[str, Any]) -> Tensor:
        weight = self.weight if isinstance(self.scale, float) and self.scale == 1.0 else self.weight * self.scale
        if kind != "linear":
            return LAYERS[kind](x, weight, bias, **arguments)
        return lowrank.apply(x, LAYERS["linear"](x, weight, bias), self.factors)


@dataclass
class Capture:
    """The caught layers of one pass, and their inputs.

    Args:
        layers: pairs of stand-in and layer.
        biases: triples of stand-in, name and bias.
        calls: the expected calls, if gradients are needed.
        probes: zeros added to the outputs, one for each call, at which the gradients of the outputs are taken.
    """

    layers: list[tuple[StandIn, Layer]]
    biases: list[tuple[StandIn, str, Tensor]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    probes: list[Tensor] | None = None
    inputs: list[Tensor] = field(default_factory=list)
    differentiable: bool = field(default_factory=torch.is_grad_enabled)

    def find(self, weight: Tensor) -> Layer | None:
        """The layer whose stand-in `weight` is."""
        for key, layer in self.layers:
            if weight is key or weight is key.numbers:
                return layer
        return None

    def call(self, layer: Layer, kind: str, x: Tensor, bias: Tensor | None, arguments: dict[str, Any]) -> Tensor:
        """The layer's output; if gradients are needed, its input is kept and a probe is added."""
        if self.differentiable != torch.is_grad_enabled():
            raise Differs(f"{layer.name} is called where gradients are switched off")
        known = next(((name, value) for key, name, value in self.biases if bias is key or bias is key.numbers), None)
        name, bias = (None, bias) if known is None else known
        out = layer(kind, x, bias, arguments)
        if self.probes is None:
            return out
        place = len(self.inputs)
        expected = self.calls[place] if place < len(self.calls) else None
        stands_in = expected is not None and any(of == expected.bias for _, of, _ in self.biases)
        same = expected is not None and (
            (expected.weight, expected.kind, expected.output_shape, expected.dtype)
            == (layer.name, kind, out.shape, layer.weight.dtype)
            and expected.arguments == arguments
            and (expected.bias if stands_in else None) == name
        )
        if not same:
            raise Differs("the network calls its layers in another order, or with other shapes or arguments")
        self.inputs.append(x)
        return out + self.probes[place]

    def finished(self) -> list[Tensor]:
        """The inputs of all expected calls."""
        if self.probes is not None and len(self.inputs) != len(self.calls):
            raise Differs("the network calls fewer layers than in the trial run")
        return self.inputs


class Recorder(Capture):
    """Records every call of a layer without changing it."""

    def __init__(self, names: list[tuple[Tensor, str]]):
        super().__init__([])
        self.names = names

    def find(self, weight: Tensor) -> Layer | None:
        """The layer of a parameter that is recorded; None for others."""
        name = next((name for key, name in self.names if key is weight), None)
        return None if name is None else Layer(name, weight)

    def call(self, layer: Layer, kind: str, x: Tensor, bias: Tensor | None, arguments: dict[str, Any]) -> Tensor:
        """The layer's output, unchanged."""
        out = LAYERS[kind](x, layer.weight, bias, **arguments)
        name = next((name for key, name in self.names if key is bias), None)
        shapes = layer.weight.shape, x.shape, out.shape
        self.calls.append(Call(kind, layer.name, name, *shapes, layer.weight.dtype, arguments))
        return out


class _Stack(threading.local):
    def __init__(self) -> None:
        self.captures: list[Capture] = []


_active = _Stack()


@contextmanager
def active(capture: Capture) -> Iterator[None]:
    """A context in which `capture` handles the layer calls of this thread."""
    _active.captures.append(capture)
    try:
        yield
    finally:
        _active.captures.pop()


def _catch() -> Callable[[], None]:
    before = {name: getattr(F, name) for name in _CAUGHT}
    for name, function in _CAUGHT.items():
        setattr(F, name, function)

    def off() -> None:
        for name, function in before.items():
            setattr(F, name, function)

    return off


_CATCHING = Switch(_catch)


def catching() -> Any:
    """A context in which the layers of `torch.nn.functional` check for stand-ins."""
    return _CATCHING.held()


def weight_gradient(call: Call, inputs: Tensor, upstream: Tensor) -> Tensor:
    """The gradient of a convolution with respect to each task's weight, `[T, *weight]`.

    Args:
        call: of the convolution.
        inputs: `[T, N, in, *size]`.
        upstream: gradients at the outputs, `[T, N, out, *size]`.
    """
    spatial = len(call.weight_shape) - 2

    def each(value: Any) -> list[int]:
        return [value] * spatial if isinstance(value, int) else list(value)

    options = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1} | call.arguments
    stride, padding, dilation = each(options["stride"]), each(options["padding"]), each(options["dilation"])
    shape = inputs.new_empty(1).expand(call.weight_shape)
    return torch.stack(
        [
            torch.ops.aten.convolution_backward(
                d,
                x,
                shape,
                None,
                stride,
                padding,
                dilation,
                False,
                [0] * spatial,
                options["groups"],
                [False, True, False],
            )[1]
            for d, x in zip(upstream, inputs, strict=True)
        ]
    )


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rows = input.dim() > 1 and weight.dim() == 2  # a vector has no rows, and is not caught
    layer = _active.captures[-1].find(weight) if _active.captures and rows else None
    if layer is None:
        return LAYERS["linear"](input, weight, bias)
    return _active.captures[-1].call(layer, "linear", input, bias, {})


def _convolution(
    kind: str, input: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **named: Any
) -> Tensor:
    arguments = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1} | named
    arguments |= zip(("stride", "padding", "dilation", "groups"), rest, strict=False)
    padding = arguments["padding"]
    layer = _active.captures[-1].find(weight) if _active.captures and not isinstance(padding, str) else None
    if layer is None:
        return LAYERS[kind](input, weight, bias, **arguments)
    return _active.captures[-1].call(layer, kind, input, bias, arguments)


def _embedding(input: Tensor, weight: Tensor, *rest: Any, **named: Any) -> Tensor:
    """An embedding with detached padding rows: torch's batching rule respects padding_idx in the first task only."""
    if not _active.captures or isinstance(_active.captures[-1], Recorder):
        return _EMBEDDING(input, weight, *rest, **named)
    given = named | dict(zip(_OF_EMBEDDING, rest, strict=False))
    padding_idx, by_frequency = given.get("padding_idx"), given.get("scale_grad_by_freq", False)
    if given.get("max_norm") is not None:
        raise Unfit("an embedding with max_norm= writes into its weight, and must run for one task at a time")
    if torch._C._functorch.peek_interpreter_stack() is None:  # without sparse=, as sparse gradients have no derivative
        return _EMBEDDING(input, weight, padding_idx, scale_grad_by_freq=by_frequency)
    if by_frequency:
        raise Unfit("an embedding with scale_grad_by_freq= must run for one task at a time")
    out: Tensor = _EMBEDDING(input, weight)
    if padding_idx is None:
        return out
    padding_idx = padding_idx % weight.shape[0]
    return torch.where((input == padding_idx).unsqueeze(-1), out.detach(), out)


def _embedding_bag(*arguments: Any, **options: Any) -> Tensor:
    if _active.captures and torch._C._functorch.peek_interpreter_stack() is not None:
        raise Unfit("torch.nn.functional.embedding_bag must run for one task at a time")
    return _EMBEDDING_BAG(*arguments, **options)


_OF_EMBEDDING = ("padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse")
_EMBEDDING, _EMBEDDING_BAG = F.embedding, F.embedding_bag
_CAUGHT: dict[str, Callable[..., Tensor]] = {
    "linear": _linear,
    **{kind: functools.partial(_convolution, kind) for kind in LAYERS if kind != "linear"},
    "embedding": _embedding,
    "embedding_bag": _embedding_bag,
}

"""Linear and convolutional layers caught in the act.

While the engine runs, `torch.nn.functional.linear` and its convolutions ask whether their weight is one of ours; that
catches a layer wherever it is called, inside attention too. A weight of ours goes into the network as a stand-in full
of NaN, known by identity: whatever else reads it makes its result NaN instead of silently wrong.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from quickstudy.inner.fast import lowrank

LAYERS: dict[str, Callable[..., Tensor]] = {name: getattr(F, name) for name in ("linear", "conv1d", "conv2d", "conv3d")}


class Call(NamedTuple):
    """One call of a layer in a pass: what it was called with, what came out (for one task), and the weight's dtype."""

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
        """Rows of the layer's input matrix: points, times tokens."""
        return self.input_shape[:-1].numel()


@dataclass
class Layer:
    """What stands behind a caught weight for the time of a pass.

    Args:
        name: of the parameter.
        weight: shared by all tasks, as it is.
        scale, factors: of its low-rank part.
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
    """The caught layers of one pass, and what they saw.

    Args:
        layers: stand-in and layer.
        biases: stand-in and bias.
        probes: zeros to be added to the outputs, call by call, so that the gradient at an output can be asked for.
    """

    layers: list[tuple[Tensor, Layer]]
    biases: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    probes: list[Tensor] | None = None
    inputs: list[Tensor] = field(default_factory=list)

    def find(self, weight: Tensor) -> Layer | None:
        """The layer whose stand-in `weight` is."""
        for key, layer in self.layers:
            if weight is key:
                return layer
        return None

    def call(self, layer: Layer, kind: str, x: Tensor, bias: Tensor | None, arguments: dict[str, Any]) -> Tensor:
        """The layer's output; where gradients are wanted, its input is kept and a probe added."""
        bias = next((value for key, value in self.biases if key is bias), bias)
        out = layer(kind, x, bias, arguments)
        if self.probes is None:
            return out
        if len(self.inputs) == len(self.probes):
            raise RuntimeError("the network called more layers than when it was tried; use engine='loop' for it")
        probe = self.probes[len(self.inputs)]
        if probe.shape != out.shape:
            raise RuntimeError("the network's layers change shape from call to call; use engine='loop' for it")
        self.inputs.append(x)
        return out + probe


class Recorder(Capture):
    """Notes every call of a layer and leaves it alone."""

    def __init__(self, names: list[tuple[Tensor, str]]):
        super().__init__([])
        self.names, self.calls = names, []  # type: ignore[var-annotated]

    def find(self, weight: Tensor) -> Layer | None:
        """The parameter, if it is one that was asked about."""
        name = next((name for key, name in self.names if key is weight), None)
        return None if name is None else Layer(name, weight)

    def call(self, layer: Layer, kind: str, x: Tensor, bias: Tensor | None, arguments: dict[str, Any]) -> Tensor:
        """The layer's own output."""
        out = LAYERS[kind](x, layer.weight, bias, **arguments)
        name = next((name for key, name in self.names if key is bias), None)
        shapes = layer.weight.shape, x.shape, out.shape
        self.calls.append(Call(kind, layer.name, name, *shapes, layer.weight.dtype, arguments))
        return out


_active: list[Capture] = []
_lock, _depth = threading.RLock(), [0]


@contextmanager
def active(capture: Capture) -> Iterator[None]:
    """Layers called inside are looked up in `capture`."""
    _active.append(capture)
    try:
        yield
    finally:
        _active.pop()


@contextmanager
def catching() -> Iterator[None]:
    """`torch.nn.functional`'s layers look up their weights for as long as this lasts (in any thread)."""
    with _lock:
        _depth[0] += 1
        if _depth[0] == 1:
            for name, function in _CAUGHT.items():
                setattr(F, name, function)
    try:
        yield
    finally:
        with _lock:
            _depth[0] -= 1
            if _depth[0] == 0:
                for name, function in LAYERS.items():
                    setattr(F, name, function)


def weight_gradient(call: Call, inputs: Tensor, upstream: Tensor) -> Tensor:
    """The convolution's gradient with respect to each task's weight, `[T, *weight]`.

    Args:
        inputs: `[T, N, in, *size]`.
        upstream: gradients at its outputs, `[T, N, out, *size]`.
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


def _caught(kind: str) -> Callable[..., Tensor]:
    plain = LAYERS[kind]

    if kind == "linear":

        def function(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
            rows = input.dim() > 1 and weight.dim() == 2  # a vector has none, and is left alone
            layer = _active[-1].find(weight) if _active and rows else None
            if layer is None:
                return plain(input, weight, bias)
            return _active[-1].call(layer, "linear", input, bias, {})

        return function

    def convolution(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        arguments = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        layer = _active[-1].find(weight) if _active and not isinstance(padding, str) else None
        if layer is None:
            return plain(input, weight, bias, **arguments)
        return _active[-1].call(layer, kind, input, bias, arguments)

    return convolution


_CAUGHT = {kind: _caught(kind) for kind in LAYERS}

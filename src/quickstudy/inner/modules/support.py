"""Layers that need a task's support set again for its query points."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from quickstudy.data import Examples
from quickstudy.inner.modules.tree import modules_of
from quickstudy.nets.clock import playing


def needs_support(network: nn.Module) -> bool:
    """Whether a layer uses the support set for query points, as `nets.TaskNorm` does."""
    return any(getattr(type(module), "uses_support", False) for _, module in modules_of(network))


def supported(
    network: nn.Module, function: Callable[..., Any], data: Any, support: Examples | None
) -> tuple[Callable[..., Any], Any]:
    """`(function, data)`, preceded by a pass over the support points if the network's layers need one."""
    if support is None or not needs_support(network):
        return function, data

    def after_support(model: Callable[..., Any], given: Any, outer: Any) -> Any:
        with playing("support"):
            model(given[0])
        with playing("query"):
            return function(model, given[1], outer)

    after_support.wraps = getattr(function, "wraps", function)  # type: ignore[attr-defined]
    return after_support, (support.x, data)


class FilledIn(nn.Module):
    """A network with its extra inputs filled in.

    Args:
        network: `(x, name=tensor, ...) -> output`.
        inputs: the extra inputs by name; they become parameters.
    """

    def __init__(self, network: nn.Module, inputs: dict[str, nn.Parameter]):
        super().__init__()
        self.network, self.inputs = network, nn.ParameterDict(inputs)

    def forward(self, x: Tensor) -> Any:
        """The output at `x [M, *dx]`."""
        return self.network(x, **self.inputs)


class WithSupport(nn.Module):
    """A network that runs on its task's support points before every query.

    Args:
        network: `[M, *dx] -> [M, dy]`.
        support: the inputs `[N, *dx]` of the support set; None if there is none.
    """

    support: Tensor | None

    def __init__(self, network: nn.Module, support: Tensor | None):
        super().__init__()
        self.network = network
        self.register_buffer("support", support)

    def forward(self, x: Tensor) -> Any:
        """The output at `x [M, *dx]`."""
        if self.support is None:
            return self.network(x)
        with playing("support"):
            self.network(self.support)
        with playing("query"):
            return self.network(x)

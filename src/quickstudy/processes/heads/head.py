"""The interface of heads."""

from typing import Any, ClassVar, Protocol

from torch import Tensor

from quickstudy.learner import Predictive


class Head(Protocol):
    """Turns the outputs of a network into a belief."""

    joint: ClassVar[bool]
    """Whether the points of a task depend on each other; training then maximises their joint density."""

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""

    def size(self, dy: int) -> int:
        """The number of outputs of the network for each point with `dy` outcomes."""

    def __call__(self, output: Tensor, dy: int) -> Predictive:
        """The belief that `output [T, M, size(dy)]` parametrises."""

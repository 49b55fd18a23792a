"""The interface of heads: the belief that they make, and how outcomes enter the encoder of a process."""

from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from quickstudy.checks import shown
from quickstudy.data import Examples, zero_padding
from quickstudy.learner import Predictive
from quickstudy.processes.heads.gaussian import GaussianHead

EXAMPLE = "quickstudy.heads.GaussianHead(0.001)"


class Head(Protocol):
    """Turns the outputs of a network into a belief.

    A head for outcomes that are not real numbers also has members of `Outcomes`.
    """

    @property
    def joint(self) -> bool:
        """Whether the points of a task depend on each other; training then maximises their joint density."""

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""

    def size(self, dy: int) -> int:
        """The number of outputs of the network for each point with `dy` outcomes."""

    def __call__(self, output: Tensor, dy: int) -> Predictive:
        """The belief that `output [T, M, size(dy)]` parametrises."""


class Outcomes(Protocol):
    """What a head says about its outcomes. A head may leave out any of these members, and then has the default."""

    labels: ClassVar[bool]
    """Whether `y` holds integer labels `[T, N]`; by default it holds floats `[T, N, dy]`."""
    missing: ClassVar[bool]
    """Whether NaN in `y` means that an output was not observed; by default it is an error."""
    marginal: ClassVar[bool]
    """Whether the belief's `log_prob` takes a mask `[T, M, dy]`, and marginalises outputs where it is False."""
    expects: ClassVar[str]
    """In words, the values that `possible` allows."""

    def encode(self, y: Tensor) -> Tensor:
        """The outcomes as the encoder takes them, `[T, N, encoded_size(dy)]`; by default `y` itself."""

    def encoded_size(self, dy: int) -> int:
        """The number of features of an encoded outcome; a head that has `encode` has this method, too."""

    def possible(self, y: Tensor) -> Tensor:
        """Whether each value of `y` is a possible outcome, bool, shaped as `y`; by default all are."""


def chosen(head: Any, floor: float = 1e-3) -> Any:
    """`head`, or `GaussianHead(floor)` for None. Raises TypeError unless it is an instance of a head."""
    if head is None:
        return GaussianHead(floor)
    return check_head(head)


def check_head(head: Any) -> Any:
    """`head`. Raises TypeError unless it has the members of `Head` and is an instance."""
    if isinstance(head, type):
        raise TypeError(f"head={shown(head)}; expected an instance such as {EXAMPLE}: call the class")
    absent = [name for name in ("joint", "config", "size") if not hasattr(head, name)]
    if absent or not callable(head):
        fault = f"has no {', '.join(absent)}" if absent else "cannot be called"
        raise TypeError(f"head={shown(head)} {fault}; expected an instance of a head such as {EXAMPLE}")
    return head


def takes_labels(head: Any) -> bool:
    """Whether outcomes are integer labels `[T, N]`."""
    return getattr(head, "labels", False)


def takes_missing(head: Any) -> bool:
    """Whether NaN in an outcome means that an output was not observed."""
    return getattr(head, "missing", False)


def encoded_size(head: Any, dy: int) -> int:
    """The number of features of an encoded outcome."""
    return int(head.encoded_size(dy)) if hasattr(head, "encode") else dy


def encoded(head: Any, y: Tensor) -> Tensor:
    """The outcomes as the encoder takes them."""
    found: Tensor = head.encode(y) if hasattr(head, "encode") else y
    return found


def possible(head: Any, y: Tensor) -> Tensor:
    """Whether each value of `y` is a possible outcome."""
    return head.possible(y) if hasattr(head, "possible") else torch.ones_like(y, dtype=torch.bool)


def asked(head: Any, points: Examples) -> Examples:
    """Query points with zeros in the padding; points of which no output was observed count as padding."""
    if not takes_missing(head):
        return points.clean()
    clean = points.clean()
    return clean._replace(mask=clean.real() & ~clean.y.isnan().all(-1)).clean()


def entering(head: Any, points: Examples) -> Examples:
    """Points as the encoder takes them: outcomes encoded, zeros in the padding; see `asked`."""
    points = asked(head, points)
    if not hasattr(head, "encode"):
        return points
    y = encoded(head, points.y).to(points.x.dtype)
    return points._replace(y=y if points.mask is None else zero_padding(y, points.mask))

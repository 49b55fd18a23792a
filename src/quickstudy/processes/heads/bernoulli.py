"""Binary outputs at each point by itself."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

from torch import Tensor

from quickstudy import predictive


@final
@dataclass(frozen=True)
class BernoulliHead:
    """p(y = 1) = sigmoid(l), with the logits l the outputs of the network; `y` holds floats 0 and 1, `[T, N, dy]`.

    The outputs of a point are independent given the outputs of the network. Any other value of `y` raises a ValueError.

    >>> import torch
    >>> BernoulliHead()(torch.zeros(1, 1, 2), 2).mean
    tensor([[[0.5000, 0.5000]]])
    """

    joint: ClassVar[bool] = False
    marginal: ClassVar[bool] = True
    expects: ClassVar[str] = "0 or 1"

    def config(self) -> dict[str, Any]:
        """Constructor arguments: none."""
        return {}

    def size(self, dy: int) -> int:
        """The network has a logit for each outcome."""
        return dy

    def possible(self, y: Tensor) -> Tensor:
        """Whether each value is 0 or 1."""
        return (y == 0) | (y == 1)

    def __call__(self, output: Tensor, dy: int) -> predictive.Bernoulli:
        """The belief for `output [T, M, dy]`."""
        return predictive.Bernoulli(output)

"""A function of your own as a basis."""

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_whole, shown


@final
class Function(nn.Module):
    """The outputs of `function`, which maps inputs `[*points, dx]` in float64 to features `[*points, features]`.

    A learner with such a basis is saved without the function's code: build it again, and give it to `qs.load` as
    `learner=`.

    Args:
        function: sees the inputs as they are, in their own units.
        features: number of its outputs.
        dx: number of inputs.

    >>> def wave(x):
    ...     return torch.cat([torch.ones_like(x), x.sin()], -1)
    >>> Function(wave, 2)(torch.zeros(3, 1).double()).shape
    torch.Size([3, 2])
    """

    def __init__(self, function: Callable[[Tensor], Tensor], features: int, *, dx: int = 1):
        super().__init__()
        if not callable(function):
            raise TypeError(f"function is {shown(function)}; expected a function of x [*points, dx]")
        self.function, self.dx = function, check_whole("dx", dx)
        self.features = check_whole("features", features)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"function": self.function, "features": self.features, "dx": self.dx}

    @property
    def terms(self) -> tuple[str, ...]:
        """Numbered names."""
        return tuple(f"feature{i}" for i in range(self.features))

    def forward(self, x: Tensor) -> Tensor:
        """The features at `x [*points, dx]`. Raises ValueError where they have another shape than was said."""
        found = self.function(x)
        wanted = [*x.shape[:-1], self.features]
        if not isinstance(found, Tensor) or list(found.shape) != wanted:
            raise ValueError(
                f"the function of a basis returned {shown(found)} for x of shape {list(x.shape)}; expected a tensor of "
                f"shape {wanted}: let it work on the last axis, and give the number of its outputs as features="
            )
        return found.double()

    def place(self, x: Tensor) -> None:
        """Nothing depends on the data."""

    def to_terms(self) -> Tensor:
        """The identity: the terms are the features themselves."""
        return torch.eye(self.features, dtype=torch.float64)

"""Natural cubic splines."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_whole
from quickstudy.metric.bases.basis import Standardised, names_of


@final
class NaturalSpline(nn.Module):
    """Natural cubic splines of each chosen input: smooth between the outermost knots, and lines beyond them.

    With knots a_1 < ... < a_K and d_k(u) = ((u - a_k)_+^3 - (u - a_K)_+^3) / (a_K - a_k), the features of an input are
    u and d_k - d_{K-1} for k = 1, ..., K - 2 (Hastie, Tibshirani and Friedman 2009, eq. 5.4 and 5.5), and a constant is
    shared by all inputs. The knots are quantiles of the different values of the input in the data.

    Args:
        knots: K, at least 3; each input has K - 1 features.
        dx: number of inputs.
        inputs: places of the inputs to use; None means all.

    >>> NaturalSpline(4)(torch.linspace(-1, 1, 5).double().unsqueeze(1)).shape
    torch.Size([5, 4])
    """

    places: Tensor

    def __init__(self, knots: int = 4, *, dx: int = 1, inputs: Sequence[int] | None = None):
        super().__init__()
        self.knots, self.dx = check_whole("knots", knots, 3), check_whole("dx", dx)
        self.scale = Standardised(self.dx, inputs)
        count = len(self.scale.inputs)
        self.features = 1 + (self.knots - 1) * count
        self.register_buffer("places", torch.linspace(-2, 2, self.knots).repeat(count, 1))

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"knots": self.knots, "dx": self.dx, "inputs": self.scale.inputs}

    @property
    def terms(self) -> tuple[str, ...]:
        """ "1", then the features of the first input, of the second, and so on."""
        names = names_of(self.dx, self.scale.inputs)
        return ("1", *(f"spline{k}({name})" for name in names for k in range(1, self.knots)))

    def forward(self, x: Tensor) -> Tensor:
        """The features at `x [*points, dx]`."""
        u = self.scale(x)
        parts = [torch.ones_like(u[..., :1])]
        for i, places in enumerate(self.places.double()):
            own = u[..., i, None]
            cubes = (own - places).clamp_min(0) ** 3
            gaps = places[-1] - places[:-1]
            d = (cubes[..., :-1] - cubes[..., -1:]) / torch.where(gaps > 0, gaps, 1.0)
            parts += [own, d[..., :-1] - d[..., -1:]]
        return torch.cat(parts, -1)

    def place(self, x: Tensor) -> None:
        """Standardise the inputs, and put the knots at quantiles of their different values in the rows `x`."""
        self.scale.place(x)
        shares = torch.linspace(0, 1, self.knots, dtype=torch.float64, device=x.device)
        for i, column in enumerate(self.scale(x).T):
            values = column.unique()
            place = shares * (len(values) - 1)
            low, high = values[place.floor().long()], values[place.ceil().long()]
            self.places[i] = low + (high - low) * place.frac()

    def to_terms(self) -> Tensor:
        """The identity: the terms are the features themselves."""
        return torch.eye(self.features, dtype=torch.float64)

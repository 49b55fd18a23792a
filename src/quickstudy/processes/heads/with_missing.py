"""Outcomes of which some outputs were not observed at some points."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from quickstudy import predictive
from quickstudy.processes.heads.head import Head, check_head, encoded, encoded_size, possible


@final
@dataclass(frozen=True)
class WithMissing:
    """The belief of another head, for data in which NaN in `y` at a real point means an output that was not observed.

    The encoder takes the values, with 0 in the place of missing ones, and for each output whether it was observed. The
    loss and `log_prob` are those of the observed outputs, with the others marginalised: log p(y_observed). A point at
    which no output was observed counts as padding: in a support set it has no effect, and as a query point it does not
    count in the number by which the loss is divided. Predictions and draws are of all outputs.

    With `predictor.autoregressive`, a factor is the density of a point's observed outputs, and later points are
    predicted from these. NaN in `x`, and infinite values, remain errors.

    Args:
        head: a head for several outputs, such as `GaussianHead()`. Its belief marginalises outputs, as those of all
            heads here do but `CategoricalHead`: for missing labels use the mask.

    >>> import quickstudy as qs
    >>> process = qs.CNP(dy=2, head=qs.heads.WithMissing(qs.heads.GaussianHead()))
    >>> y = torch.tensor([[[0.5, torch.nan], [torch.nan, 1.0]]])
    >>> process.adapt(qs.Examples(torch.randn(1, 2, 1), y))(torch.randn(1, 2, 1)).log_prob(y).isfinite()
    tensor([[True, True]])
    """

    head: Head
    missing: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_head(self.head)
        if not getattr(self.head, "marginal", False):
            raise ValueError(
                f"the belief of head={self.head!r} does not marginalise missing outputs; use another head, or set the "
                "mask of such points to False (a head of your own whose log_prob takes a mask [T, M, dy] says so by "
                "marginal = True)"
            )

    @property
    def joint(self) -> bool:
        """As that of the head."""
        return self.head.joint

    @property
    def expects(self) -> str:
        """The possible outcomes, in words."""
        return f"{getattr(self.head, 'expects', 'real numbers')}, or NaN for a missing output"

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"head": self.head}

    def size(self, dy: int) -> int:
        """As that of the head."""
        return self.head.size(dy)

    def encoded_size(self, dy: int) -> int:
        """The features of the encoded outcome, and one more for each output."""
        return encoded_size(self.head, dy) + dy

    def encode(self, y: Tensor) -> Tensor:
        """The encoded outcomes, with 0 for missing outputs, then whether each output was observed."""
        observed = ~y.isnan()
        values = encoded(self.head, torch.where(observed, y, torch.zeros_like(y)))
        return torch.cat([values, observed.to(values.dtype)], -1)

    def possible(self, y: Tensor) -> Tensor:
        """Whether each value is a possible outcome of the head, or missing."""
        return possible(self.head, y) | y.isnan()

    def __call__(self, output: Tensor, dy: int) -> predictive.PartlyObserved:
        """The belief for `output [T, M, size(dy)]`."""
        return predictive.PartlyObserved(self.head(output, dy))

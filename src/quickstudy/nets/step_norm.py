"""Batch normalisation with statistics and scales of their own for every inner step."""

from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quickstudy.checks import check_whole
from quickstudy.nets.clock import inner_step
from quickstudy.nets.moments import check_channels


@final
class StepNorm(nn.Module):
    """Batch normalisation that knows which inner step it is (Antoniou et al. 2019, arXiv 1810.09502, section 4).

    Weights that have moved see other activations, so the running statistics, the weight and the bias are those of the
    step: row k of each for the weights after k inner steps, up to `steps`, whose row also serves later ones. Outside of
    inner loops it is the row of `steps`.

    Args:
        features: channels, the second axis of the input `[N, features, ...]`.
        steps: inner steps that are told apart.
        momentum: of the running statistics.
        eps: added to the variance.

    >>> norm = StepNorm(8, steps=5)
    >>> norm(torch.randn(3, 8)).shape, norm.weight.shape
    (torch.Size([3, 8]), torch.Size([6, 8]))
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, *, steps: int, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__()
        rows = check_whole("steps", steps, 0) + 1, check_whole("features", features, 1)
        self.features, self.steps, self.momentum, self.eps = features, steps, momentum, eps
        self.weight, self.bias = nn.Parameter(torch.ones(rows)), nn.Parameter(torch.zeros(rows))
        self.register_buffer("running_mean", torch.zeros(rows))
        self.register_buffer("running_var", torch.ones(rows))
        self.settled = steps  # where there is no inner loop
        self.track_running_stats = True  # as in torch's BatchNorm: whether training mode writes them

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"features": self.features, "steps": self.steps, "momentum": self.momentum, "eps": self.eps}

    def forward(self, x: Tensor) -> Tensor:
        """`x [N, features, ...]`, normalised by its own statistics in training mode, by running ones in eval mode."""
        check_channels(x, self.features)
        now = inner_step()
        k = min(self.settled if now is None else now, self.steps)
        # rows of their own: vmap's batch normalisation would write into a copy of a view
        mean, variance = (
            b[k].clone(memory_format=torch.contiguous_format) for b in (self.running_mean, self.running_var)
        )
        out = F.batch_norm(x, mean, variance, self.weight[k], self.bias[k], self.training, self.momentum, self.eps)
        if self.training and self.track_running_stats:
            with torch.no_grad():
                self.running_mean[k].copy_(mean)
                self.running_var[k].copy_(variance)
        return out

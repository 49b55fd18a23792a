"""Batch normalisation with separate statistics, weights and biases for every inner step."""

from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quickstudy.checks import check_whole
from quickstudy.nets.clock import inner_step
from quickstudy.nets.moments import check_channels


@final
class StepNorm(nn.Module):
    """Batch normalisation for each inner step separately (Antoniou et al. 2019, arXiv 1810.09502, section 4).

    Adapted weights give other activations, so every step has its own running statistics, weight and bias: row k is for
    the network after k inner steps. The last row, k = `steps`, is also used for later steps and outside inner loops.

    Args:
        features: number of channels, the second axis of the input `[N, features, ...]`.
        steps: number of inner steps with a row of their own.
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
        self.settled = steps  # the row outside inner loops
        self.track_running_stats = True  # whether training mode updates them, as in torch's BatchNorm

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"features": self.features, "steps": self.steps, "momentum": self.momentum, "eps": self.eps}

    def forward(self, x: Tensor) -> Tensor:
        """`x [N, features, ...]`, normalised by batch statistics in training mode, by running ones in eval mode."""
        check_channels(x, self.features)
        now = inner_step()
        k = min(self.settled if now is None else now, self.steps)
        # clones, since batch normalisation under vmap would write into a copy of a view
        mean, variance = (
            b[k].clone(memory_format=torch.contiguous_format) for b in (self.running_mean, self.running_var)
        )
        out = F.batch_norm(x, mean, variance, self.weight[k], self.bias[k], self.training, self.momentum, self.eps)
        if self.training and self.track_running_stats:
            with torch.no_grad():
                self.running_mean[k].copy_(mean)
                self.running_var[k].copy_(variance)
        return out

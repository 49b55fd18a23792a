"""A mixture of normal distributions at each point by itself."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from quickstudy import predictive
from quickstudy.checks import check_number, check_whole
from quickstudy.data import at_least_float32
from quickstudy.processes.heads.deviation import deviation


@final
@dataclass(frozen=True)
class MixtureHead:
    """y ~ sum_k w_k N(m_k + c_k, (floor + softplus(s_k))^2), with log w, m and s the outputs of the network.

    The constants c_k are the quantiles (k + 1/2) / K of a standard normal distribution. They make the components differ
    at the start of training, as the outputs of the network are near zero then.

    Args:
        components: number K of components. Hassan et al. 2026 (arXiv 2510.09477) use 20.
        floor: the smallest standard deviation of a component, in units of y; see `GaussianHead`.

    >>> import torch
    >>> MixtureHead(3)(torch.zeros(1, 1, 9), 1).means.flatten()
    tensor([-0.9674,  0.0000,  0.9674])
    """

    components: int = 20
    floor: float = 1e-3
    joint: ClassVar[bool] = False
    marginal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_whole("components", self.components)
        check_number("floor", self.floor)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"components": self.components, "floor": self.floor}

    def size(self, dy: int) -> int:
        """The network has, for each component, its weight and two outputs for each outcome."""
        return self.components * (1 + 2 * dy)

    def __call__(self, output: Tensor, dy: int) -> predictive.PointMixture:
        """The belief for `output [T, M, K (1 + 2 dy)]`."""
        output = output.unflatten(-1, (self.components, 1 + 2 * dy))
        logits, means, raw = output[..., 0], output[..., 1 : 1 + dy], output[..., 1 + dy :]
        steps = torch.arange(self.components, dtype=at_least_float32(output), device=output.device)
        centres = torch.special.ndtri((steps + 0.5) / self.components).to(output.dtype).unsqueeze(-1)
        return predictive.PointMixture(logits, means + centres, deviation(raw, self.floor).square())

"""Standard deviations from the outputs of a network."""

import torch
from torch import Tensor
from torch.nn import functional as F


def deviation(raw: Tensor, floor: float, dtype: torch.dtype | None = None) -> Tensor:
    """floor + softplus(raw), and at least `least(dtype)`; by default the dtype is that of `raw`.

    >>> bool(deviation(torch.tensor(-200.0), 0.0).square() > 0)
    True
    """
    return (floor + F.softplus(raw)).clamp_min(least(raw.dtype if dtype is None else dtype))


def least(dtype: torch.dtype) -> float:
    """The smallest standard deviation in a dtype: 3e-10 in float32 and bfloat16, 1e-3 in float16, 1e-77 in float64.

    Its fourth power, by which the gradient of a log density divides, is not 0 in the wider types.
    """
    return min(float(torch.finfo(dtype).tiny) ** 0.25, 1e-3)

"""neuralprocesses 0.2.7 (Bruinsma et al. 2023, arXiv 2303.14468): its convolutional process on PyTorch."""

from collections.abc import Callable

import lab.torch  # noqa: F401, its backend
import neuralprocesses.torch as nps
import torch
from torch import Tensor, nn

import quickstudy as qs


def conv_cnp(points_per_unit: float, channels: int, levels: int, kernel: int) -> nn.Module:
    """A ConvCNP whose U-Net has the given channels, levels and kernel; the grid's margin is 0.1, as in `qs.ConvCNP`."""
    return nps.construct_convgnp(
        dim_x=1,
        dim_y=1,
        likelihood="het",
        points_per_unit=points_per_unit,
        margin=0.1,
        unet_channels=(channels,) * levels,
        unet_kernels=kernel,
    )


def training_step(process: nn.Module, tasks: qs.Tasks) -> Callable[[], Tensor]:
    """The loss and its gradient. The package wants features before points."""
    parts = [part.transpose(1, 2).contiguous() for part in (*tasks.support[:2], *tasks.query[:2])]
    nps.loglik(process, *parts, normalise=True)  # its parameters are made at the first call

    def step() -> Tensor:
        process.zero_grad()
        loss = -nps.loglik(process, *parts, normalise=True).mean()
        loss.backward()
        return loss

    return step


def prediction(process: nn.Module, tasks: qs.Tasks) -> Callable[[], Tensor]:
    """The mean at the query points."""
    support_x, support_y, x = (p.transpose(1, 2).contiguous() for p in (*tasks.support[:2], tasks.query.x))

    def step() -> Tensor:
        with torch.no_grad():
            mean: Tensor = process(support_x, support_y, x).mean
        return mean

    return step

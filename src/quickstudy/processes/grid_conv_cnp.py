"""Convolutional Conditional Neural Process on a grid (Gordon et al. 2020, arXiv 1910.13556, section 4)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quickstudy.checks import check_whole
from quickstudy.data import Examples, Tasks, at_least_float32
from quickstudy.likelihoods import negative_log_likelihood
from quickstudy.processes.conditional import Conditional, prepared
from quickstudy.processes.heads.head import Head, chosen, encoded_size
from quickstudy.processes.parts.blocks import dtype_of, he_normal
from quickstudy.processes.parts.gridded import check_axes, check_kernel
from quickstudy.processes.parts.sizes import TRAINING_DEFAULTS
from quickstudy.tasks.sampling import as_domain
from quickstudy.tracing import values_are_readable

CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class GridState(NamedTuple):
    """In every cell: the number of support points of `T` tasks, and the sums of their outputs."""

    sums: Tensor  # [T, 1 + features of y, *cells]
    seen: Tensor  # [T]


@final
class GridConvCNP(Conditional):
    """A `ConvCNP` for points that lie on the cells of a grid, such as the pixels of images that are to be completed.

    With the number of points c and the sums of outputs s in every cell, and * a convolution with positive weights w
    that sum to 1 (for each channel),

    density = w * c,  signal = (w * s) / (w * c);  outputs = CNN(density, signal)

    in every cell; the CNN consists of residual blocks, each with two convolutions. (The paper separates each by depth;
    on a CPU that learned less in the same time.) An image whose content moves by whole cells has its prediction moved
    with it, except near the edges. `append` adds the new points only.

    Args:
        cells: number of cells along each axis, for 1 to 3 axes: `(height, width)` of an image.
        dy: number of features of an output, such as the channels of an image.
        domain: x at the first and at the last cell of every axis; cells are evenly spaced between them. The default is
            that of `qs.tasks.Images`; x of cell i of L is -1 + 2 i / (L - 1).
        channels: channels of the CNN.
        blocks: number of residual blocks.
        kernel: number of cells that a convolution of a block covers along each axis; odd.
        first_kernel: number of cells that the first convolution, with positive weights, covers along each axis; odd.
        head: the kind of belief at a point; by default `qs.heads.GaussianHead(1e-3)`.

    Raises:
        ValueError: when it is called with points that are not on the grid. (Query points at exactly 0 may be padding,
            and are allowed on every grid.)

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.Images(torch.randint(0, 256, (20, 12, 12))).sample(4, support=30, query=5)
    >>> process = qs.GridConvCNP((12, 12), channels=16, blocks=2)
    >>> process.adapt(tasks.support)(tasks.query.x).log_prob(tasks.query.y).shape
    torch.Size([4, 5])
    """

    equivariant = True
    training_defaults: ClassVar[Mapping[str, Any]] = TRAINING_DEFAULTS

    def __init__(
        self,
        cells: Sequence[int] = (28, 28),
        dy: int = 1,
        *,
        domain: tuple[float, float] = (-1.0, 1.0),
        channels: int = 64,
        blocks: int = 6,
        kernel: int = 3,
        first_kernel: int = 9,
        head: Head | None = None,
    ):
        super().__init__()
        self.cells = tuple(check_whole("cells", side, 2) for side in cells)
        self.dx, self.dy = check_axes(len(self.cells)), check_whole("dy", dy)
        self.domain = as_domain("domain", domain)
        kernels = {"kernel": check_kernel("kernel", kernel), "first_kernel": check_kernel("first_kernel", first_kernel)}
        self.sizes = {"channels": check_whole("channels", channels), "blocks": check_whole("blocks", blocks), **kernels}
        self.head, self._head = chosen(head), head
        self.log_weight = nn.Parameter(_bumps(channels, self.dx, first_kernel))
        layer = LAYERS[self.dx - 1]
        self.mix = layer((1 + encoded_size(self.head, dy)) * channels, channels, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                layer(channels, channels, kernel, padding=kernel // 2),
                nn.ReLU(),
                layer(channels, channels, kernel, padding=kernel // 2),
            )
            for _ in range(blocks)
        )
        last = nn.Linear(channels, self.head.size(dy))
        self.out = nn.Sequential(nn.ReLU(), nn.Linear(channels, channels), nn.ReLU(), last)
        he_normal(self)
        with torch.no_grad():  # so that the network's first outputs are near zero everywhere
            last.weight.mul_(0.002)
            last.bias.zero_()

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"cells": self.cells, "dy": self.dy, "domain": self.domain, **self.sizes, "head": self._head}

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        support, query = prepared(self, tasks)
        belief = self.head(self.outputs(self.encoded(support), query.x), self.dy)
        return negative_log_likelihood(belief, query, joint=self.head.joint)

    def encoded(self, support: Examples) -> GridState:
        """`encode` without the checks, of points as `entering` returns them."""
        index, off = self._places(support.x, support.real())
        y = torch.where(off.unsqueeze(-1), torch.nan, support.y)
        values = torch.where(support.real().unsqueeze(-1), torch.cat([torch.ones_like(y[..., :1]), y], -1), 0).mT
        empty = values.new_zeros(*values.shape[:2], math.prod(self.cells), dtype=at_least_float32(values))
        sums = empty.scatter_add(2, index.unsqueeze(1).expand(values.shape), values.to(empty))
        return GridState(sums.unflatten(2, self.cells), support.sizes())

    def extended(self, state: GridState, examples: Examples) -> GridState:
        """`append` without the checks, of points as `entering` returns them."""
        more = self.encoded(examples)
        return GridState(state.sums + more.sums, state.seen + more.seen)

    def outputs(self, state: GridState, x: Tensor) -> Tensor:
        """The head's parameters at `x [T, M, dx]`."""
        index, off = self._places(x, (x != 0).any(-1))
        features = self.convolved(state.sums.to(dtype_of(self))).flatten(2)
        found = features.gather(2, index.unsqueeze(1).expand(-1, features.shape[1], -1)).mT
        return self.out(torch.where(off.unsqueeze(-1), torch.nan, found))

    def weight(self) -> Tensor:
        """The weights of the first convolution, `[channels, 1, *first_kernel]`."""
        return self.log_weight.flatten(1).softmax(1).view_as(self.log_weight)

    def convolved(self, sums: Tensor) -> Tensor:
        """Features of every cell, `[T, channels, *cells]`, for numbers of points and sums of outputs."""
        convolve, weight = CONVOLUTIONS[self.dx - 1], self.weight()
        each = convolve(sums.flatten(0, 1).unsqueeze(1), weight, padding=self.sizes["first_kernel"] // 2)
        each = each.unflatten(0, sums.shape[:2])  # [T, 1 + features of y, channels, *cells]
        density, smoothed = each[:, :1], each[:, 1:]
        features = self.mix(torch.cat([density, smoothed / (density + 1e-6)], 1).flatten(1, 2))
        for block in self.blocks:
            features = features + block(features)
        return features

    def _places(self, x: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """The index of the cell of each point, `[T, N]`, and which real points are not on the grid.

        Raises ValueError if there are such points and the values of `x` can be read.
        """
        low, high = self.domain
        last = x.new_tensor([side - 1 for side in self.cells])
        step = (high - low) / last
        place = (x - low) / step
        near = place.nan_to_num().round().clamp_min(0).minimum(last)
        rounding = 1e-3 + torch.finfo(x.dtype).eps * max(abs(low), abs(high)) / step
        off = ~((place - near).abs() <= rounding).all(-1) & real
        if values_are_readable(x) and bool(off.any()):
            t, n = off.nonzero()[0].tolist()
            steps = [round(s, 6) for s in step.tolist()]
            raise ValueError(
                f"x of task {t}, point {n} is {x[t, n].tolist()}, which is not on the grid of {list(self.cells)} cells "
                f"from {low:g} to {high:g} along each axis; expected steps of {steps} from {low:g}: build the process "
                "with the cells= and the domain= of your images, or take ConvCNP, for points anywhere"
            )
        index = torch.zeros_like(near[..., 0], dtype=torch.long)
        for axis, side in enumerate(self.cells):
            index = index * side + near[..., axis].long()
        return index, off


def _bumps(channels: int, dims: int, kernel: int) -> Tensor:
    """Logarithms of weights `[channels, 1, *kernel]`: Gaussians of half a cell to a third of the kernel."""
    widths = torch.linspace(0.5, max(kernel / 3, 0.5), channels)
    places = torch.arange(kernel, dtype=widths.dtype) - kernel // 2
    squares = torch.zeros(())
    for _ in range(dims):
        squares = squares.unsqueeze(-1) + places.square()
    return (-squares / (2 * widths.view(-1, 1, *[1] * dims).square())).clamp_min(-40)  # no subnormal weights

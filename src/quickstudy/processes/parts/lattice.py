"""A regular grid over a part of the input space, and convolutions between its cells and points anywhere."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quickstudy.checks import values_are_readable
from quickstudy.data import Examples


class Window(NamedTuple):
    """A box of cells of the lattice of all multiples of `spacing`: along each axis, the cells `low <= i < high`."""

    low: tuple[int, ...]
    high: tuple[int, ...]
    spacing: float

    def axes(self, like: Tensor) -> list[Tensor]:
        """The coordinates of the cells along each axis."""
        pairs = zip(self.low, self.high, strict=True)
        return [self.spacing * torch.arange(a, b, dtype=like.dtype, device=like.device) for a, b in pairs]


class Lattice:
    """Chooses the window that covers a domain and, if there are points outside, those as well.

    Args:
        dx: number of features of an input.
        domain: the interval of every feature of x.
        density: cells per unit of x.
        margin: length that is added to the window on each side, in units of x.
        multiple: the number of cells along an axis is a multiple of it.
    """

    def __init__(self, dx: int, domain: tuple[float, float], *, density: float, margin: float, multiple: int):
        self.dx, self.domain, self.spacing = dx, domain, 1 / density
        self._margin, self._multiple = margin, multiple
        self.usual = self._around([domain] * dx)

    def window(self, *inputs: tuple[Tensor, Tensor | None]) -> Window:
        """The window for several sets of inputs `x [T, N, dx]`, each with its mask.

        The values of `x` cannot be read inside transforms of `torch.func` and compiled graphs. There the window is that
        of the domain; see `inside`.
        """
        low, high = [self.domain[0]] * self.dx, [self.domain[1]] * self.dx
        for x, real in inputs:
            if not x.numel() or not values_are_readable(x):
                continue
            points = x.detach() if real is None else torch.where(real.unsqueeze(-1), x.detach(), self.domain[0])
            least, most = torch.aminmax(points.flatten(0, 1).T.contiguous(), dim=1)
            low = [min(a, b) for a, b in zip(low, least.tolist(), strict=True)]
            high = [max(a, b) for a, b in zip(high, most.tolist(), strict=True)]
        bounds = list(zip(low, high, strict=True))
        return self.usual if bounds == [self.domain] * self.dx else self._around(bounds)

    def inside(self, x: Tensor, window: Window) -> Tensor:
        """`x`, with NaN in place of points outside the window, so that results with such points are NaN, too."""
        if values_are_readable(x):
            return x
        low, high = (window.spacing * x.new_tensor(side) for side in (window.low, window.high))
        return torch.where((x >= low) & (x <= high), x, torch.nan)

    def _around(self, bounds: list[tuple[float, float]]) -> Window:
        sides = []
        for low, high in bounds:
            if not (math.isfinite(low) and math.isfinite(high)):
                raise ValueError(f"x reaches from {low} to {high}; expected finite inputs")
            first = math.floor((low - self._margin) / self.spacing / self._multiple) * self._multiple
            last = math.ceil((high + self._margin) / self.spacing / self._multiple) * self._multiple
            sides.append((first, max(last, first + self._multiple)))
        cells = math.prod(b - a for a, b in sides)
        if cells > LARGEST:
            raise ValueError(
                f"inputs from {[low for low, _ in bounds]} to {[high for _, high in bounds]} need a grid of {cells:,} "
                f"cells with spacing {self.spacing:g}; rescale x, or build the process with fewer points per unit"
            )
        return Window(tuple(a for a, _ in sides), tuple(b for _, b in sides), self.spacing)


LARGEST = 2**21  # largest number of cells of a grid; with 64 channels a cell takes 1.6 kB in a U-Net


class SetConv(nn.Module):
    """A convolution with a Gaussian of learned width, from points to the cells of a grid or from cells to points.

    Args:
        spacing: spacing of the grid; the initial width is twice that.
    """

    def __init__(self, spacing: float):
        super().__init__()
        self.log_width = nn.Parameter(torch.tensor(math.log(2 * spacing)))

    def onto(self, points: Examples, window: Window) -> Tensor:
        """The density of the points, and the sums of their outputs, at every cell: `[T, 1 + dy, *cells]`.

        Both are sums over points, so those of a union are the sums of those of its parts.
        """
        ones = torch.ones_like(points.y[..., :1])
        values = torch.cat([ones, points.y], -1)
        if points.mask is not None:
            values = torch.where(points.mask.unsqueeze(-1), values, values.new_zeros(()))
        first, *rest = self._weights(points.x, window)
        if not rest:
            return torch.einsum("tng,tnc->tcg", first, values)
        if len(rest) == 1:
            return torch.einsum("tngc,tnh->tcgh", first.unsqueeze(-1) * values.unsqueeze(2), rest[0])
        plane = first.unsqueeze(-1) * rest[0].unsqueeze(2)  # [T, N, g, h]
        return torch.einsum("tngh,tnk,tnc->tcghk", plane, rest[1], values)

    def off(self, grid: Tensor, x: Tensor, window: Window) -> Tensor:
        """The values `[T, M, channels]` of `grid [T, channels, *cells]` at `x [T, M, dx]`."""
        first, *rest = self._weights(x, window)
        if not rest:
            return torch.einsum("tmg,tcg->tmc", first, grid)
        found = torch.einsum("tmg,tcg...->tmc...", first, grid)
        for weights in rest:
            found = torch.einsum("tmg,tmcg...->tmc...", weights, found)
        return found

    def _weights(self, x: Tensor, window: Window) -> list[Tensor]:
        """exp(-(x - cell)^2 / (2 width^2)) for each axis, `[T, N, cells]`; 0 where it is less than 1e-20.

        (Without the zeros, most of the weights are subnormal numbers, with which processors compute many times slower.)
        """
        scale = (-(0.5**0.5) / self.log_width.exp()).to(x)
        exponents = [-((x[..., i, None] - cells) * scale).square() for i, cells in enumerate(window.axes(x))]
        return [F.threshold(e.clamp_min(-50).exp(), 1e-20, 0.0) for e in exponents]


class UNet(nn.Module):
    """Convolutions on coarser and coarser grids, and back (Ronneberger et al. 2015), in 1 to 3 dimensions.

    Args:
        dims: number of axes of the grid.
        inputs: number of channels of the input.
        channels: number of channels of every hidden grid; the output has twice as many.
        levels: how often the number of cells is halved; it must be a multiple of `2 ** levels`.
        kernel: number of cells that a convolution covers along each axis; odd.
    """

    def __init__(self, dims: int, inputs: int, channels: int, levels: int, kernel: int):
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
        around: dict[str, Any] = {"kernel_size": kernel, "padding": kernel // 2}
        self.first = conv(inputs, channels, **around)
        self.down = nn.ModuleList(conv(channels, channels, stride=2, **around) for _ in range(levels))
        self.up = nn.ModuleList(conv((1 + (i > 0)) * channels, channels, **around) for i in range(levels))
        self.outputs = 2 * channels

    def forward(self, grid: Tensor) -> Tensor:
        """`[T, inputs, *cells]` -> `[T, 2 channels, *cells]`."""
        found = [F.relu(self.first(grid))]
        for conv in self.down:
            found.append(F.relu(conv(found[-1])))
        up = found.pop()
        for conv in self.up:
            up = F.interpolate(F.relu(conv(up)), scale_factor=2.0, mode="nearest")
            up = torch.cat([up, found.pop()], 1)
        return up

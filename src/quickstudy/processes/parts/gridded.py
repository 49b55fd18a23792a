"""What convolutional processes do alike: their sizes, their state, and the support points on the grid."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.chance import keyed, normals
from quickstudy.checks import check_number, check_positive, check_whole
from quickstudy.data import Examples
from quickstudy.processes.parts.lattice import Lattice, SetConv, Window
from quickstudy.tasks.sampling import as_domain


class GridSizes(NamedTuple):
    """The constructor arguments that convolutional processes share; see `ConvCNP`."""

    domain: tuple[float, float]
    points_per_unit: float
    margin: float
    channels: int
    levels: int
    kernel: int

    def lattice(self, dx: int) -> Lattice:
        """The lattice of cells for `dx` features of an input."""
        return Lattice(dx, self.domain, density=self.points_per_unit, margin=self.margin, multiple=2**self.levels)


def check_grid(dx: int, *, kernel: int, **sizes: Any) -> GridSizes:
    """Return the sizes as a record; raise ValueError if one is bad, or `dx` is not 1 to 3."""
    check_axes(dx)
    check_kernel("kernel", kernel)
    return GridSizes(
        as_domain("domain", sizes["domain"]),
        check_positive("points_per_unit", sizes["points_per_unit"]),
        check_number("margin", sizes["margin"]),
        check_whole("channels", sizes["channels"]),
        check_whole("levels", sizes["levels"]),
        kernel,
    )


def check_axes(dx: int) -> int:
    """Return `dx`; raise ValueError unless a grid can have as many axes."""
    if check_whole("dx", dx) > 3:
        raise ValueError(f"dx={dx}; a grid has 1 to 3 axes: use TNP or AttentiveCNP for more features")
    return dx


def check_kernel(name: str, size: int) -> int:
    """Return the size of a kernel; raise ValueError unless it is odd."""
    if check_whole(name, size) % 2 == 0:
        raise ValueError(f"{name}={size}; expected an odd number of cells")
    return size


class ConvState(NamedTuple):
    """The support points of `T` tasks, and their density and sums of outputs on the grid."""

    grid: Tensor  # [T, 1 + features of y, *cells]
    x: Tensor  # [T, N, dx]
    y: Tensor  # [T, N, features of y]
    real: Tensor  # [T, N]
    seen: Tensor  # [T]

    def points(self) -> Examples:
        """The support points."""
        return Examples(self.x, self.y, self.real)


def onto(lattice: Lattice, into: SetConv, points: Examples, window: Window) -> Tensor:
    """The density of the points and the sums of their outputs, `[T, 1 + dy, *cells]`, by the convolution `into`."""
    return into.onto(points._replace(x=lattice.inside(points.x, window)), window)


def encoded(lattice: Lattice, into: SetConv, support: Examples) -> ConvState:
    """The state of a support set whose padding holds zeros."""
    grid = onto(lattice, into, support, lattice.usual)
    return ConvState(grid, support.x, support.y, support.real(), support.sizes())


def extended(lattice: Lattice, into: SetConv, state: ConvState, examples: Examples) -> ConvState:
    """The state after more points, whose padding holds zeros."""
    union = state.points().append(examples)
    grid = state.grid + onto(lattice, into, examples, lattice.usual)
    return ConvState(grid, union.x, union.y, union.real(), state.seen + examples.sizes())


def on_window(lattice: Lattice, into: SetConv, state: ConvState, window: Window) -> Tensor:
    """The support points of a state on the cells of a window."""
    return state.grid if window == lattice.usual else onto(lattice, into, state.points(), window)


def normalised(grid: Tensor) -> Tensor:
    """The density, and the weighted mean of the outputs, for the density and sums on the grid."""
    density, sums = grid[:, :1], grid[:, 1:]
    return torch.cat([density, sums / (density + 1e-4)], 1)


def cell_noise(keys: Tensor, channels: int, window: Window, like: Tensor) -> Tensor:
    """Standard normal noise `[S, T, channels, *cells]` for keys `[S, T]`; a cell has the same in every window."""
    bits = keyed(keys[..., None], torch.arange(channels, device=keys.device))
    for low, high in zip(window.low, window.high, strict=True):
        bits = keyed(bits[..., None], torch.arange(low, high, device=keys.device))
    return normals(bits, like.dtype)

"""Convolutional Conditional Neural Process (Gordon et al. 2020, arXiv 1910.13556)."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.likelihoods import negative_log_likelihood
from quickstudy.processes.conditional import Conditional, prepared
from quickstudy.processes.heads.head import Head, chosen, encoded_size
from quickstudy.processes.parts import gridded
from quickstudy.processes.parts.gridded import ConvState, check_grid, normalised
from quickstudy.processes.parts.lattice import SetConv, UNet, Window
from quickstudy.processes.parts.sizes import TRAINING_DEFAULTS


@final
class ConvCNP(Conditional):
    """A conditional process that maps the support points onto a grid by a convolution, and the grid through a U-Net.

    If all points are moved, the prediction moves with them (translation equivariance), up to the spacing of the grid.
    So what was learned in one place holds in others, also outside the domain. The grid covers the domain, and is larger
    where points lie outside; predictions near its edge then change a little, also those of the other tasks of a batch.

    Args:
        dx: number of features of an input, 1 to 3.
        dy: number of features of an output.
        domain: the interval of every feature of x for which the grid is made.
        points_per_unit: cells of the grid per unit of x. The shortest wavelength of the functions should span several.
        margin: length that is added to the grid on each side, in units of x.
        channels: channels of the U-Net.
        levels: how often the U-Net halves the number of cells.
        kernel: number of cells that a convolution covers; odd.
        head: the kind of belief at a point; by default `qs.heads.GaussianHead(1e-3)`. With
            `qs.heads.LowRankHead()` this is a convolutional Gaussian neural process.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.GaussianProcess().sample(4, support=8, query=5)
    >>> process = qs.ConvCNP(domain=(-2, 2), points_per_unit=32)
    >>> process.adapt(tasks.support)(tasks.query.x).log_prob(tasks.query.y).shape
    torch.Size([4, 5])
    """

    equivariant = True
    training_defaults: ClassVar[Mapping[str, Any]] = TRAINING_DEFAULTS

    def __init__(
        self,
        dx: int = 1,
        dy: int = 1,
        *,
        domain: tuple[float, float] = (-2.0, 2.0),
        points_per_unit: float = 64.0,
        margin: float = 0.1,
        channels: int = 64,
        levels: int = 6,
        kernel: int = 5,
        head: Head | None = None,
    ):
        super().__init__()
        sizes = {"domain": domain, "points_per_unit": points_per_unit, "margin": margin, "channels": channels}
        self.sizes = check_grid(dx, **sizes, levels=levels, kernel=kernel)
        self.dx, self.dy = dx, check_whole("dy", dy)
        self.head, self._head = chosen(head), head
        self.lattice = self.sizes.lattice(dx)
        self.into, self.back = SetConv(self.lattice.spacing), SetConv(self.lattice.spacing)
        self.unet = UNet(dx, 1 + encoded_size(self.head, dy), channels, levels, kernel)
        last = nn.Linear(channels, self.head.size(dy))
        self.out = nn.Sequential(nn.Linear(self.unet.outputs, channels), nn.ReLU(), last)
        with torch.no_grad():  # so that the network's first outputs are near zero everywhere
            last.weight.mul_(0.01)
            last.bias.zero_()

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"dx": self.dx, "dy": self.dy, **self.sizes._asdict(), "head": self._head}

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        support, query = prepared(self, tasks)
        window = self.lattice.window((support.x, support.mask), (query.x, query.mask))
        outputs = self._at(gridded.onto(self.lattice, self.into, support, window), query.x, window)
        return negative_log_likelihood(self.head(outputs, self.dy), query, joint=self.head.joint)

    def encoded(self, support: Examples) -> ConvState:
        """`encode` without the checks, of points as `entering` returns them."""
        return gridded.encoded(self.lattice, self.into, support)

    def extended(self, state: ConvState, examples: Examples) -> ConvState:
        """`append` without the checks, of points as `entering` returns them."""
        return gridded.extended(self.lattice, self.into, state, examples)

    def outputs(self, state: ConvState, x: Tensor) -> Tensor:
        """The head's parameters at `x [T, M, dx]`."""
        window = self.lattice.window((state.x, state.real), (x, None))
        return self._at(gridded.on_window(self.lattice, self.into, state, window), x, window)

    def _at(self, grid: Tensor, x: Tensor, window: Window) -> Tensor:
        """The outputs at `x` for the density and sums on the grid."""
        features = self.unet(normalised(grid))
        return self.out(self.back.off(features, self.lattice.inside(x, window), window))

"""Convolutional Neural Process (Foong et al. 2020, arXiv 2007.01332)."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, final

import torch
from torch import Tensor, nn

from quickstudy import chance
from quickstudy.checks import check_number, check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.processes.conditional import prepared
from quickstudy.processes.heads.head import Head, chosen, encoded_size, entering
from quickstudy.processes.latent import Latent, member_density
from quickstudy.processes.parts import gridded
from quickstudy.processes.parts.gridded import ConvState, cell_noise, check_grid, normalised
from quickstudy.processes.parts.latents import LatentBelief, Objective, bound, check_latent, latent_belief
from quickstudy.processes.parts.lattice import SetConv, UNet, Window
from quickstudy.processes.parts.sizes import TRAINING_DEFAULTS


class ConvMembers(NamedTuple):
    """The keys of the noise of drawn latent functions, and what the decoder computed for them on the grid."""

    keys: Tensor  # [S, T]
    features: Tensor  # [S, T, 2 channels, *cells], on the window of the support set


@final
class ConvNP(Latent):
    """A `ConvCNP` with a latent function: normal variables in the cells of the grid, decoded by a second U-Net.

    y | x, z ~ N(mu(z, x), sigma(z, x)^2),  z ~ q(z | support) = prod_c N(m_c, v_c), over cells and channels c
    (section 3). The second U-Net makes the function values at different points depend on each other. Objectives are
    those of `NeuralProcess`; the paper recommends "ml" (section 4).

    The noise of z belongs to cells: where the grid is larger, since points lie outside the domain, a drawn function has
    the same noise in the same cells. Only values near the edge of the smaller grid change, as those of `ConvCNP` do.

    Args:
        dx: number of features of an input, 1 to 3.
        dy: number of features of an output.
        domain, points_per_unit, margin: the grid; see `ConvCNP`.
        channels: channels of both U-Nets.
        latent: number of latent variables of a cell.
        levels: how often the U-Nets halve the number of cells.
        kernel: number of cells that a convolution covers; odd.
        objective: "ml", "elbo" or "iwae".
        train_samples: latents drawn per task in training; by default 16 for "ml", 1 for "elbo" and 4 for "iwae".
        samples: latents drawn per task for a prediction. Time and memory are proportional to it.
        sigma_floor: the smallest standard deviation that the process can predict, in units of y; see `CNP`.
        head: the kind of belief of a member at a point, such as `qs.heads.BernoulliHead()`; by default
            `qs.heads.GaussianHead(sigma_floor)`.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.GaussianProcess().sample(4, support=8, query=5)
    >>> process = qs.ConvNP(domain=(-2, 2), points_per_unit=16, channels=8, levels=3)
    >>> process.adapt(tasks.support).functions(3)(tasks.query.x).shape
    torch.Size([3, 4, 5, 1])
    """

    equivariant = True
    training_defaults: ClassVar[Mapping[str, Any]] = TRAINING_DEFAULTS

    def __init__(
        self,
        dx: int = 1,
        dy: int = 1,
        *,
        domain: tuple[float, float] = (-2.0, 2.0),
        points_per_unit: float = 32.0,
        margin: float = 0.1,
        channels: int = 32,
        latent: int = 16,
        levels: int = 5,
        kernel: int = 5,
        objective: Objective = "ml",
        train_samples: int | None = None,
        samples: int = 16,
        sigma_floor: float = 1e-3,
        head: Head | None = None,
    ):
        super().__init__()
        sizes = {"domain": domain, "points_per_unit": points_per_unit, "margin": margin, "channels": channels}
        self.sizes = check_grid(dx, **sizes, levels=levels, kernel=kernel)
        self.dx, self.dy = dx, check_whole("dy", dy)
        self.objective, self._train_samples = objective, train_samples
        self.latent, self.samples, self.train_samples = check_latent(objective, train_samples, latent, samples)
        self.sigma_floor = check_number("sigma_floor", sigma_floor)
        self.head, self._head = chosen(head, sigma_floor), head
        self.lattice = self.sizes.lattice(dx)
        self.into, self.back = SetConv(self.lattice.spacing), SetConv(self.lattice.spacing)
        self.encoder = UNet(dx, 1 + encoded_size(self.head, self.dy), channels, levels, kernel)
        self.latent_head = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dx - 1](self.encoder.outputs, 2 * latent, 1)
        self.decoder = UNet(dx, latent, channels, levels, kernel)
        last = nn.Linear(channels, self.head.size(self.dy))
        self.out = nn.Sequential(nn.Linear(self.decoder.outputs, channels), nn.ReLU(), last)
        with torch.no_grad():  # so that the network's first outputs are near zero everywhere
            last.weight.mul_(0.01)
            last.bias.zero_()

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        drawn = {"objective": self.objective, "train_samples": self._train_samples, "samples": self.samples}
        own = {"latent": self.latent, **drawn, "sigma_floor": self.sigma_floor, "head": self._head}
        return {"dx": self.dx, "dy": self.dy, **self.sizes._asdict(), **own}

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        support, query = prepared(self, tasks)
        window = self.lattice.window((support.x, support.mask), (query.x, query.mask))
        grid = gridded.onto(self.lattice, self.into, support, window)

        def posterior() -> LatentBelief:
            known = entering(self.head, tasks.query)
            return self._belief(grid + gridded.onto(self.lattice, self.into, known, window))

        def log_prob(z: Tensor) -> Tensor:
            return member_density(self, self._decoded(self._features(z), query.x, window), query)

        found = bound(self.objective, self.train_samples, self._belief(grid), posterior, log_prob)
        return -(found / query.sizes().clamp_min(1)).mean()

    def encoded(self, support: Examples) -> ConvState:
        """`encode` without the checks, of points as `entering` returns them."""
        return gridded.encoded(self.lattice, self.into, support)

    def extended(self, state: ConvState, examples: Examples) -> ConvState:
        """`append` without the checks, of points as `entering` returns them."""
        return gridded.extended(self.lattice, self.into, state, examples)

    def noise(self, n: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Random keys `[n, T]` of the noise of `n` latent functions of `T = len(like)` tasks."""
        return chance.new_keys((n, len(like)), like.device, generator)

    def members(self, state: ConvState, noise: Tensor) -> ConvMembers:
        """Latent functions for keys `[S, T]`, decoded on the window of the support set."""
        return ConvMembers(noise, self._drawn(state, noise, self.lattice.window((state.x, state.real))))

    def member_outputs(self, state: ConvState, members: ConvMembers, x: Tensor) -> Tensor:
        """The head's parameters `[S, T, M, size]` at `x [T, M, dx]` for the latent functions."""
        own = self.lattice.window((state.x, state.real))
        window = self.lattice.window((state.x, state.real), (x, None))
        features = members.features if window == own else self._drawn(state, members.keys, window)
        return self._decoded(features, x, window)

    def _drawn(self, state: ConvState, keys: Tensor, window: Window) -> Tensor:
        belief = self._belief(gridded.on_window(self.lattice, self.into, state, window))
        return self._features(belief.of(cell_noise(keys, self.latent, window, belief.mean)))

    def _belief(self, grid: Tensor) -> LatentBelief:
        """q(z | points) for the density and sums of points on the grid."""
        return latent_belief(self.latent_head(self.encoder(normalised(grid))))

    def _features(self, z: Tensor) -> Tensor:
        """What the second U-Net makes of latents `[S, T, latent, *cells]`: `[S, T, 2 channels, *cells]`."""
        return self.decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2])

    def _decoded(self, features: Tensor, x: Tensor, window: Window) -> Tensor:
        """The head's parameters `[S, T, M, size]` at `x [T, M, dx]`."""
        side_by_side = features.movedim(0, 1).flatten(1, 2)
        found = self.back.off(side_by_side, self.lattice.inside(x, window), window)
        return self.out(found.unflatten(-1, (len(features), -1)).movedim(2, 0))

"""A Gaussian process whose mean is a network that all groups share (Fortuin et al. 2019, arXiv 1901.08098)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_choice, check_network, check_positive, check_whole
from quickstudy.data import Examples
from quickstudy.metric.closed_form import ClosedForm
from quickstudy.metric.gp.predictor import GPPredictor
from quickstudy.nets import MLP
from quickstudy.substitute import substituted
from quickstudy.tasks.kernels import Kernel, covariance


@final
class DeepMeanGP(ClosedForm[GPPredictor]):
    """A Gaussian process for each task, with a meta-learned network as its mean, and meta-learned kernel and noise.

    y = m(x) + f_i(x) + eps,  f_i ~ GP(0, k),  eps ~ N(0, sigma^2)  (Fortuin et al. 2019, section 3). `adapt` gives the
    exact posterior of m + f of a new task; without points it is the mean, with the variance between tasks. Where tasks
    share a shape, the mean learns it; far from all points, predictions return to it. With `features`, the kernel sees
    phi(x) in the place of x (a deep kernel: Wilson et al. 2016, Patacchiola et al. 2020).

    `qs.fit` trains it on the meta-loss, the negative log predictive density of the query points given the support
    points. Several outputs have kernels of their own, and are independent. The networks must not let a point depend on
    others, and run in their own dtype; the rest is float64. Scale inputs and outputs to some units, as
    `tasks.Table` does.

    Args:
        dx: number of inputs.
        dy: number of outputs.
        network: m, any module `[N, dx] -> [N, dy]`; by default two tanh layers of 64 units.
        features: phi, a module `[N, dx] -> [N, width]`; by default none, and the kernel sees x.
        width: number of outputs of `features`.
        kernel: "rbf" or "matern52", with a length scale for each input, or each feature.
        noise: initial sigma, in units of y.
        rows: largest number of rows of a task that `adapt` uses; of more, evenly spaced ones.

    Raises:
        ValueError, TypeError: for an argument of the wrong kind.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.Sinusoid(noise=0.3).sample(4, support=10, query=5)
    >>> predictor = qs.DeepMeanGP(noise=0.3).adapt(tasks.support)
    >>> predictor(tasks.query.x).log_prob(tasks.query.y, joint=True).shape
    torch.Size([4])
    """

    training_defaults: Mapping[str, Any] = MappingProxyType({"lr": 3e-3, "schedule": "cosine"})

    def __init__(
        self,
        dx: int = 1,
        dy: int = 1,
        *,
        network: nn.Module | None = None,
        features: nn.Module | None = None,
        width: int | None = None,
        kernel: Literal["rbf", "matern52"] = "rbf",
        noise: float = 0.3,
        rows: int = 500,
    ):
        super().__init__()
        self.dx, self.dy = check_whole("dx", dx), check_whole("dy", dy)
        check_choice("kernel", kernel, ("rbf", "matern52"))
        self.kernel, self.noise, self.rows = kernel, check_positive("noise", noise), check_whole("rows", rows)
        self.network = MLP(dx, [64, 64], dy, activation="tanh") if network is None else check_network(network)
        if (features is None) != (width is None):
            raise ValueError("features= and width= go together: a module [N, dx] -> [N, width], and its width")
        self.features = None if features is None else check_network(features)
        self.width = None if width is None else check_whole("width", width)
        self.log_noise = nn.Parameter(torch.full((dy,), math.log(noise)))
        self.log_scale = nn.Parameter(torch.zeros(dy))
        self.log_length = nn.Parameter(torch.zeros(dy, dx if self.width is None else self.width))

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        names = ("dx", "dy", "network", "features", "width", "kernel", "noise", "rows")
        return {name: getattr(self, name) for name in names}

    def posterior(self, support: Examples, *, graph: bool, prior: bool) -> GPPredictor:
        """The predictor for `support`; with `prior`, that of an unknown group. `adapt` checks its arguments."""
        noise = (2 * self.log_noise.double()).exp()
        scale = (self.log_scale - self.log_noise).double().exp()
        each = noise, scale, self.log_length.double().exp()
        parts = (part.repeat(support.num_tasks, *[1] * (part.dim() - 1)) for part in each)
        networks = _networks(self, graph=graph)
        unit = torch.ones(self.dy, dtype=torch.float64, device=noise.device)
        process = _Process(self.kernel, *networks, *parts)
        made = GPPredictor(process, 0 * unit, unit, self.rows, support.first(0), graph=graph, prior=prior)
        return made if prior else made.given(support)


@dataclass(frozen=True)
class _Network:
    """A network with given parameters and buffers; it maps `[T, N, dx]` to `[T, N, width]` in float64."""

    module: nn.Module
    tensors: Mapping[str, Tensor]
    width: int
    name: str

    @classmethod
    def of(cls, module: nn.Module, width: int, name: str, *, graph: bool) -> "_Network":
        """Buffers are copies, so that running statistics stay; without `graph`, parameters are constants."""
        tensors = {k: b.clone() for k, b in module.named_buffers()}
        if not graph:
            tensors |= {k: p.detach() for k, p in module.named_parameters()}
        return cls(module, tensors, width, name)

    def __call__(self, x: Tensor) -> Tensor:
        own = next(self.module.parameters(), x)
        flat = x.flatten(0, 1).to(own.dtype)
        if not len(flat):
            return x.new_zeros(*x.shape[:2], self.width)
        with substituted(self.module, self.tensors):
            found = self.module(flat)
        if found.shape != (len(flat), self.width):
            raise ValueError(
                f"the output of {self.name}= has shape {list(found.shape)}; expected [N, {self.width}] = "
                f"[{len(flat)}, {self.width}]"
            )
        wide: Tensor = found.double()
        return wide.unflatten(0, x.shape[:2])


def _networks(learner: DeepMeanGP, *, graph: bool) -> tuple[_Network, _Network | None]:
    mean = _Network.of(learner.network, learner.dy, "network", graph=graph)
    if learner.features is None or learner.width is None:
        return mean, None
    return mean, _Network.of(learner.features, learner.width, "features", graph=graph)


@dataclass(frozen=True)
class _Process:
    """The processes of new groups, for `gp.predictor.GPPredictor`; output d of group t is at place `t dy + d`."""

    kernel: Kernel
    network: _Network
    features: _Network | None
    noise: Tensor  # [B], the variance
    scale: Tensor  # [B], standard deviations in units of the noise's
    length: Tensor  # [B, width]

    def points(self, x: Tensor, outputs: int) -> tuple[Tensor, Tensor]:
        """What the kernel sees of `x [T, N, dx]`, `[B, N, width]` in length scales, and the means `[B, N, 1]`."""
        seen = x.double() if self.features is None else self.features(x)
        means = self.network(x).transpose(1, 2).flatten(0, 1).unsqueeze(2)
        return seen.repeat_interleave(outputs, 0) / self.length.unsqueeze(1), means

    def mean(self, points: tuple[Tensor, Tensor]) -> Tensor:
        """The mean `[B, N, 1]`."""
        return points[1]

    def covariance(self, one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor]) -> Tensor:
        """The covariance `[B, N, M]`, in units of the noise variance."""
        return covariance(
            self.kernel, one[0], two[0], {"lengthscale": torch.ones_like(self.scale), "scale": self.scale}
        )

    def first(self, count: int) -> "_Process":
        """The first `count` of the B processes."""
        return replace(self, noise=self.noise[:count], scale=self.scale[:count], length=self.length[:count])

"""Conditional Neural Process (Garnelo et al. 2018, arXiv 1807.01613)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from quickstudy import predictive
from quickstudy.checks import check_tasks
from quickstudy.data import Examples, Tasks
from quickstudy.learner import Functions, check_task
from quickstudy.processes.autoregressive import Autoregressive, Order, autoregressive
from quickstudy.processes.blocks import State, TaskModel, dtype_of, gaussian_log_prob, mean_and_sd, run
from quickstudy.processes.checks import check_inputs, check_support
from quickstudy.processes.common import TRAINING_DEFAULTS, append, check_sizes, encode, state_of, union


class CNP(nn.Module):
    """Maps a support set directly to a normal belief at every query point (section 2.2).

    r = mean_i h(x_i, y_i);  y | x ~ N(mu(r, x), sigma(r, x)^2), independently at each point. The meta-loss is the
    negative log-likelihood of the query points.

    Args:
        dx: number of features of an input.
        dy: number of features of an output.
        width: of every hidden layer, and of the representation r.
        encoder_depth: number of linear layers before the mean over points, at least 2.
        decoder_depth: number of linear layers of the decoder, at least 2.
        sigma_floor: the smallest standard deviation that it can predict, in units of y. The usual value 0.1 limits the
            likelihood of even the true process; see the docs.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.GaussianProcess().sample(4, support=8, query=5)
    >>> process = qs.CNP()
    >>> process.adapt(tasks.support)(tasks.query.x).log_prob(tasks.query.y).shape
    torch.Size([4, 5])
    >>> state = process.append(process.encode(tasks.support.first(3)), tasks.query)  # points that arrive later
    >>> process.predict(state, tasks.query.x).mean.shape
    torch.Size([4, 5, 1])
    """

    deterministic = True
    training_defaults: ClassVar[Mapping[str, Any]] = TRAINING_DEFAULTS

    def __init__(
        self,
        dx: int = 1,
        dy: int = 1,
        *,
        width: int = 128,
        encoder_depth: int = 4,
        decoder_depth: int = 4,
        sigma_floor: float = 1e-3,
    ):
        super().__init__()
        depths = {"encoder_depth": encoder_depth, "decoder_depth": decoder_depth}
        self.sizes = check_sizes(dx, dy, width=width, **depths, sigma_floor=sigma_floor)
        self.dx, self.dy, self.sigma_floor = self.sizes.dx, self.sizes.dy, sigma_floor
        self.encoder, self.decoder = self.sizes.encoder(), self.sizes.decoder(self.sizes.width)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return self.sizes._asdict()

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the mean negative log-likelihood of each task's real query points."""
        check_tasks(tasks)
        check_support(self, tasks.support)
        return self(tasks)

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks, for transforms and compilers."""
        support, query = tasks.support.clean(), tasks.query.clean()
        mean, sd = self.decode(self.representation(self.encoder.encode(support)), query.x)
        points = gaussian_log_prob(query.y, mean, sd, query.mask)
        return -(points.sum(1) / query.sizes().clamp_min(1)).mean()

    def encode(self, support: Examples) -> State:
        """The state of a support set `x [T, N, dx]`, `y [T, N, dy]`; `N` may be 0."""
        return state_of(self, support)

    def append(self, state: State, examples: Examples) -> State:
        """The state of the union with `examples`; its cost does not depend on the number of points in `state`."""
        return union(self, state, examples)

    def predict(self, state: State, x: Tensor) -> predictive.Gaussian:
        """The belief at `x [T, M, dx]`."""
        check_inputs(self, x, len(state.seen))
        mean, sd = self.decode(self.representation(state), x)
        return predictive.Gaussian(mean, sd.square())

    def representation(self, state: State) -> Tensor:
        """The representation r of the tasks, `[T, width]`."""
        return state.mean(dtype_of(self.decoder))

    def decode(self, representation: Tensor, x: Tensor, *, graph: bool = True) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation `[T, M, dy]` of the outputs at `x [T, M, dx]`."""
        return mean_and_sd(run(self.decoder, representation, x, graph=graph), self.sigma_floor)

    def adapt(
        self,
        support: Examples,
        *,
        steps: int | None = None,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> "CNPPredictor":
        """The predictor that encodes `support`; `steps=0` and an empty support set give the prior."""
        state = encode(self, support, steps, create_graph=create_graph, generator=generator)
        return CNPPredictor(self, state, graph=create_graph, prior=steps == 0)


@dataclass(frozen=True)
class CNPPredictor:
    """Predictions from the encoded support set; made by `CNP.adapt`."""

    process: CNP
    state: State
    graph: bool = False
    prior: bool = False

    def __call__(self, x: Tensor) -> predictive.Gaussian:
        """The belief at `x [T, M, dx]`."""
        check_inputs(self.process, x, len(self.state.seen))
        mean, sd = self.process.decode(self.process.representation(self.state), x, graph=self.graph)
        return predictive.Gaussian(mean, sd.square())

    def append(self, examples: Examples) -> "CNPPredictor":
        """The predictor for the union; only `examples` are encoded. A predictor made with `steps=0` stays the prior."""
        return append(self, examples)

    def autoregressive(
        self, *, order: Order = "random", samples: int = 8, generator: torch.Generator | None = None
    ) -> Autoregressive:
        """Joint beliefs by the chain rule: a function of `x`, whose `log_prob(y, joint=True)` and `sample` are joint.

        Each point is predicted given the support set and the points before it, which are appended one by one.

        Args:
            order: of the points: "random" averages the joint density over `samples` random orders; "given" takes the
                order of `x`; a permutation of the points takes that one.
            samples: number of random orders, and of draws behind the mean and the variance.
            generator: randomness of the orders and of these draws; torch's own by default.
        """
        return autoregressive(self, order, samples, generator)

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """Raises NotImplementedError: a CNP predicts every point independently and has no functions to sample."""
        del n, generator
        raise NotImplementedError(
            "a CNP predicts every point independently and has no functions to sample; use NeuralProcess, whose latents "
            "are functions"
        )

    def task(self, i: int) -> nn.Module:
        """Task `i`'s mean function as a plain module `[M, dx] -> [M, dy]`."""
        i = check_task(i, len(self.state.seen))
        return TaskModel(self.process, CNPPredictor, self.state.task(i))

"""Conditional Neural Process (Garnelo et al. 2018, arXiv 1807.01613)."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

from torch import Tensor

from quickstudy.data import Examples, Tasks
from quickstudy.likelihoods import negative_log_likelihood
from quickstudy.processes.conditional import Conditional, prepared
from quickstudy.processes.heads.head import Head, chosen, encoded_size
from quickstudy.processes.parts.blocks import State, dtype_of
from quickstudy.processes.parts.sizes import TRAINING_DEFAULTS, check_sizes


@final
class CNP(Conditional):
    """Maps a support set directly to a belief at every query point (section 2.2).

    r = mean_i h(x_i, y_i);  y | x ~ N(mu(r, x), sigma(r, x)^2), independently at each point; `head` chooses another
    belief. The meta-loss is the negative log-likelihood of the query points.

    Args:
        dx: number of features of an input.
        dy: number of features of an output.
        width: units of every hidden layer, and features of the representation r.
        encoder_depth: number of linear layers before the mean over points, at least 2.
        decoder_depth: number of linear layers of the decoder, at least 2.
        sigma_floor: the smallest standard deviation that the process can predict, in units of y. The usual value 0.1
            limits the likelihood of even the true process; see the docs.
        head: the kind of belief at a point, such as `qs.heads.MixtureHead(20)`; by default
            `qs.heads.GaussianHead(sigma_floor)`.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.GaussianProcess().sample(4, support=8, query=5)
    >>> process = qs.CNP()
    >>> process.adapt(tasks.support)(tasks.query.x).log_prob(tasks.query.y).shape
    torch.Size([4, 5])
    >>> state = process.append(process.encode(tasks.support.first(3)), tasks.query)  # points that arrive later
    >>> process.predict(state, tasks.query.x).mean.shape
    torch.Size([4, 5, 1])
    """

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
        head: Head | None = None,
    ):
        super().__init__()
        depths = {"encoder_depth": encoder_depth, "decoder_depth": decoder_depth}
        self.sizes = check_sizes(dx, dy, width=width, **depths, sigma_floor=sigma_floor)
        self.dx, self.dy, self.sigma_floor = self.sizes.dx, self.sizes.dy, sigma_floor
        self.head, self._head = chosen(head, self.sizes.sigma_floor), head
        self.encoder = self.sizes.encoder(encoded_size(self.head, self.dy))
        self.decoder = self.sizes.decoder(self.sizes.width, self.head.size(self.dy))

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**self.sizes._asdict(), "head": self._head}

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        support, query = prepared(self, tasks)
        belief = self.head(self.outputs(self.encoded(support), query.x), self.dy)
        return negative_log_likelihood(belief, query, joint=self.head.joint)

    def encoded(self, support: Examples) -> State:
        """`encode` without the checks, of points as `entering` returns them."""
        return self.encoder.encode(support)

    def extended(self, state: State, examples: Examples) -> State:
        """`append` without the checks, of points as `entering` returns them."""
        return state.plus(self.encoder.encode(examples))

    def outputs(self, state: State, x: Tensor) -> Tensor:
        """The head's parameters at `x [T, M, dx]`."""
        return self.decoder(state.mean(dtype_of(self.decoder)), x)

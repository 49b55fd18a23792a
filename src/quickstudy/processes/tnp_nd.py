"""Non-diagonal Transformer Neural Process (Nguyen and Grover 2022, arXiv 2207.04179)."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.likelihoods import negative_log_likelihood
from quickstudy.nets import MLP
from quickstudy.processes.conditional import Conditional
from quickstudy.processes.heads import LowRankHead
from quickstudy.processes.parts.sizes import TRAINING_DEFAULTS
from quickstudy.processes.parts.transformer import Layer, Transformer, attending, check_heads
from quickstudy.processes.tnp import TNPState


@final
class TNPND(Conditional):
    """A transformer whose belief is one normal distribution over all query points: TNP-ND (section 3.2).

    y_1, ..., y_M | support ~ N(m, F F^T / rank + diag(noise)).

    The mean at a point is that of a TNP. For the covariance, the query points attend to each other in `mixing` more
    layers, after which a network gives each point a row of F and the standard deviation of its noise. So the mean at a
    point does not depend on the other query points, and its variance does: whoever compares variances should ask for
    the same points. As a predictor takes no mask, give it the points of one task, or of tasks with equally many points;
    `meta_loss` takes unequal tasks.

    The paper takes the lower triangle of F F^T as Cholesky factor. This factor depends on the order of the points, and
    as |L_ij|^2 <= L_ii L_jj, two points of equal variance can have no correlation above 0.79. The form used here has
    neither limit.

    Args:
        dx: number of features of an input.
        dy: number of features of an output; the outputs of a point may be correlated.
        width: number of features of a token (64 in the paper).
        depth: number of layers (6 in the paper).
        heads: number of attention heads, a divisor of `width` (4 in the paper).
        hidden: units of the network at each token (128 in the paper).
        embedding: number of linear layers from a point to a token, and from a token to its row of F (4 in the paper).
        mixing: number of layers in which query points attend to each other (2 in the paper).
        rank: number of features of a row of F (20 in the paper).
        floor: the smallest standard deviation of the noise, in units of y.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.GaussianProcess().sample(4, support=8, query=5)
    >>> belief = qs.TNPND().adapt(tasks.support)(tasks.query.x)
    >>> belief.log_prob(tasks.query.y, joint=True).shape, belief.factor.shape
    (torch.Size([4]), torch.Size([4, 5, 1, 20]))
    """

    training_defaults: ClassVar[Mapping[str, Any]] = {**TRAINING_DEFAULTS, "lr": 5e-4}

    def __init__(
        self,
        dx: int = 1,
        dy: int = 1,
        *,
        width: int = 64,
        depth: int = 6,
        heads: int = 4,
        hidden: int = 128,
        embedding: int = 4,
        mixing: int = 2,
        rank: int = 20,
        floor: float = 1e-3,
    ):
        super().__init__()
        self.dx, self.dy = check_whole("dx", dx), check_whole("dy", dy)
        self.sizes = {"width": width, "depth": depth, "heads": heads, "hidden": hidden, "embedding": embedding}
        self.mixing, self.head = check_whole("mixing", mixing), LowRankHead(rank, floor)
        check_heads(self.sizes)
        self.transformer = Transformer(dx, dy, dy, **self.sizes)
        self.between: Any = nn.ModuleList(Layer(width, heads, hidden) for _ in range(mixing))
        self.spread = MLP(width, [width] * (embedding - 1), dy * (1 + rank))
        with torch.no_grad():  # the mean is learned first; a covariance that came first could explain all without it
            self.spread.layers[-1].weight.mul_(0.01)  # type: ignore[operator]

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"dx": self.dx, "dy": self.dy, **self.sizes, "mixing": self.mixing, **self.head.config()}

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        support, query = tasks.support.clean(), tasks.query.clean()
        outputs = self._outputs(self._keys(support), query.x, attending(support.mask), query.mask)
        return negative_log_likelihood(self.head(outputs, self.dy), query, joint=True)

    def encoded(self, support: Examples) -> TNPState:
        """`encode` without the checks, of points as `entering` returns them."""
        return TNPState(self._keys(support), support.x, support.y, support.real(), support.sizes())

    def extended(self, state: TNPState, examples: Examples) -> TNPState:
        """`append` without the checks, of points as `entering` returns them."""
        return self.encoded(Examples(state.x, state.y, state.real).append(examples))

    def outputs(self, state: TNPState, x: Tensor) -> Tensor:
        """The head's parameters at `x [T, M, dx]`."""
        return self._outputs(state.keys, x, attending(state.real), None)

    def _keys(self, support: Examples) -> Tensor:
        tokens = self.transformer.tokens(support.x, support.y)
        return self.transformer.encode(tokens, attending(support.mask))

    def _outputs(self, keys: Tensor, x: Tensor, allowed: Tensor | None, real: Tensor | None) -> Tensor:
        """The mean, the noise and the row of F at each point, `[T, M, dy (2 + rank)]`; `real [T, M]` is the mask."""
        tokens = self.transformer.read(self.transformer.asked(x), keys, allowed)
        mean = self.transformer.last(tokens)
        among = None if real is None else real[:, None, None]
        for layer in self.between:
            tokens = layer(tokens, layer.keys(tokens), among)
        spread: Tensor = self.spread(tokens)
        return torch.cat([mean.unsqueeze(-1), spread.unflatten(-1, (self.dy, -1))], -1).flatten(2)

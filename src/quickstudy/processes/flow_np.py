"""Flow Matching Neural Process (arXiv 2512.23853, NeurIPS 2025)."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from quickstudy.chance import normal
from quickstudy.checks import check_whole
from quickstudy.data import Examples, Tasks, at_least_float32
from quickstudy.processes import conditional
from quickstudy.processes.conditional import ConditionalPredictor
from quickstudy.processes.joint.flow_belief import FlowBelief
from quickstudy.processes.parts.experience import Experience
from quickstudy.processes.parts.sizes import TRAINING_DEFAULTS
from quickstudy.processes.parts.transformer import Transformer, attending, check_heads
from quickstudy.processes.tnp import TNPState


@final
class FlowNP(nn.Module):
    """A transformer that transports noise to the outcomes of all query points together.

    dy/dt = v(y, t; x, support), from y_0 ~ N(0, I) at t = 0 to a draw y_1 at t = 1. Query points attend to the support
    set and to each other, whatever their order. Training is conditional flow matching (Lipman et al. 2023, arXiv
    2210.02747) with straight paths: v regresses y_1 - y_0 at y_t = (1 - t) y_0 + t y_1, for random t and y_0. This
    loss is a squared error, summed over outputs: it is no likelihood, and cannot be compared with those of other
    processes.

    Draws are exact up to the steps of the midpoint rule. So is `log_prob(y)` of each point by itself, and the joint
    density of up to `probes` numbers (points times outputs). The density of more contains Hutchinson's estimate of the
    divergence, with new random signs at every step and a fixed seed. The density of a point by itself is that of a flow
    of this point alone; nothing but training makes it the marginal of the joint density. Each step evaluates the
    transformer twice, and for a mean at `samples` values of each point, so predictions cost hundreds of times those of
    a TNP. `append` encodes all points again.

    Train with as many query points as predictions will have: draws at far more points together are too narrow.

    As the noise has variance 1, outcomes should have a variance near 1. `sample(noise=False)` raises an error, as
    function and noise are not told apart.

    Args:
        dx: number of features of an input.
        dy: number of features of an output.
        width: number of features of a token (64 in the paper).
        depth: number of layers (6 in the paper).
        heads: number of attention heads, a divisor of `width` (4 in the paper).
        hidden: units of the network at each token (128 in the paper).
        embedding: number of linear layers from a point to a token.
        solver_steps: number of steps of the midpoint rule from noise to outcomes (100 equal ones in the paper; here
            they are shorter near t = 1).
        samples: number of values at each point behind `mean` and `variance`, at least `2 dy`, an even number.
        probes: number of random directions behind the divergence in a joint density.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.GaussianProcess().sample(4, support=8, query=5)
    >>> belief = qs.FlowNP(solver_steps=4).adapt(tasks.support)(tasks.query.x)
    >>> belief.sample(3).shape, belief.log_prob(tasks.query.y, joint=True).shape
    (torch.Size([3, 4, 5, 1]), torch.Size([4]))
    """

    deterministic = True
    head: ClassVar[None] = None  # its belief is its own
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
        solver_steps: int = 32,
        samples: int = 8,
        probes: int = 4,
    ):
        super().__init__()
        self.experience = Experience()
        self.dx, self.dy = check_whole("dx", dx), check_whole("dy", dy)
        self.sizes = {"width": width, "depth": depth, "heads": heads, "hidden": hidden, "embedding": embedding}
        check_heads(self.sizes)
        self.solver_steps = check_whole("solver_steps", solver_steps)
        self.samples = check_whole("samples", samples, 2 * dy)
        if samples % 2:
            raise ValueError(f"samples={samples}; expected an even number, as for each value there is an opposite one")
        self.probes = check_whole("probes", probes)
        self.transformer = Transformer(dx, dy, 2 * dy, features=dx + dy + 1, **self.sizes)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"solver_steps": self.solver_steps, "samples": self.samples, "probes": self.probes}
        return {"dx": self.dx, "dy": self.dy, **self.sizes, **own}

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the squared error of the velocity per real query point.

        Times and noise are drawn from torch's own generator.
        """
        return conditional.meta_loss(self, tasks)

    def observe(self, tasks: Tasks) -> None:
        """Record the range and the sizes of training tasks, beyond which predictions warn."""
        self.experience.observe(tasks)

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        query, like = tasks.query.clean(), tasks.query.y
        t = torch.special.ndtr(normal((len(like), 1, 1), axis=0, like=like))
        # point by point, so that padding at the end changes no number
        noise = torch.stack([normal((len(like), self.dy), axis=0, like=like) for _ in range(query.num_points)], 1)
        between = query._replace(y=(1 - t) * noise + t * query.y)
        velocity = self.velocity(self.encoded(tasks.support.clean()), between, t[:, 0, 0], alone=False)
        errors = (velocity - (query.y - noise)).square().sum(-1)
        total = torch.where(query.real(), errors, 0.0).sum(1, dtype=at_least_float32(errors))
        return (total / query.sizes().clamp_min(1)).mean()

    def velocity(self, state: TNPState, points: Examples, t: Tensor, *, alone: bool) -> Tensor:
        """The velocity `[T, M, dy]` of the values `points.y [T, M, dy]` at the time `t [T]`.

        Args:
            state: the state after the support set.
            points: inputs, and values between noise and outcomes; masked ones influence no other.
            t: times from 0 to 1.
            alone: whether each point is by itself, or attends to the others.
        """
        transformer, seen = self.transformer, attending(state.real)
        time = t[:, None, None].expand(-1, points.num_points, 1)
        tokens = transformer.asked(torch.cat([points.x, points.y, time], -1))
        if not alone:
            seen = attending(torch.cat([state.real, points.real()], 1))
        for i, layer in enumerate(transformer.layers):
            keys, own = state.keys[:, i], layer.keys(tokens)
            tokens = layer(tokens, keys, seen, own) if alone else layer(tokens, torch.cat([keys, own], 1), seen)
        shift, rate = transformer.last(tokens).chunk(2, -1)
        velocity: Tensor = shift + rate * points.y  # affine in y, as the exact field of a normal distribution is
        return velocity

    def encode(self, support: Examples) -> TNPState:
        """The state of a support set `x [T, N, dx]`, `y [T, N, dy]`; `N` may be 0."""
        state: TNPState = conditional.encode(self, support)
        return state

    def append(self, state: TNPState, examples: Examples) -> TNPState:
        """The state of the union with `examples`, which encodes all points again."""
        union: TNPState = conditional.append(self, state, examples)
        return union

    def predict(self, state: TNPState, x: Tensor) -> FlowBelief:
        """The belief at `x [T, M, dx]`."""
        belief: FlowBelief = conditional.predict(self, state, x)  # type: ignore[assignment]
        return belief

    def adapt(
        self,
        support: Examples,
        *,
        steps: int | None = None,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> ConditionalPredictor:
        """The predictor that encodes `support`; `steps=0` and an empty support set give the prior."""
        return conditional.adapt(self, support, steps, create_graph=create_graph, generator=generator)

    def encoded(self, support: Examples) -> TNPState:
        """`encode` without the checks, of points whose padding holds zeros."""
        keys = self.transformer.encode(self.transformer.tokens(support.x, support.y), attending(support.mask))
        return TNPState(keys, support.x, support.y, support.real(), support.sizes())

    def extended(self, state: TNPState, examples: Examples) -> TNPState:
        """`append` without the checks, of points whose padding holds zeros."""
        return self.encoded(Examples(state.x, state.y, state.real).append(examples))

    def belief(self, state: TNPState, x: Tensor) -> FlowBelief:
        """`predict` without the checks."""
        return FlowBelief(self, state, x, any(parameter.requires_grad for parameter in self.parameters()))

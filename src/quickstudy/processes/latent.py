"""Shared code of processes that draw random numbers to predict: latent variables, or bootstraps of the support set."""

from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn, final

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from quickstudy import predictive
from quickstudy.data import Examples, Tasks, at_least_float32
from quickstudy.learner import Functions, check_generator, check_task
from quickstudy.predictive.outcomes import check_draws
from quickstudy.processes import conditional
from quickstudy.processes.checks import check_inputs
from quickstudy.processes.conditional import adapted_state, appended, one_task
from quickstudy.processes.heads.head import entering
from quickstudy.processes.parts import latents
from quickstudy.processes.parts.blocks import TaskModel, constant
from quickstudy.processes.parts.experience import Experience
from quickstudy.processes.parts.latents import LatentBelief

Mixture = predictive.GaussianMixture | predictive.EvenMixture


class Latent(nn.Module, ABC):
    """A process whose prediction is an even mixture of members, each of which belongs to random numbers.

    Its state is like that of a `Conditional` process. Each subclass is one model; it defines the abstract methods and
    overrides no other method.
    """

    deterministic = False
    dx: int
    dy: int
    samples: int
    head: Any

    def __init__(self) -> None:
        super().__init__()
        self.experience = Experience()

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Constructor arguments."""

    @abstractmethod
    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""

    @abstractmethod
    def encoded(self, support: Examples) -> Any:
        """`encode` without the checks, of points as `entering` returns them."""

    @abstractmethod
    def extended(self, state: Any, examples: Examples) -> Any:
        """`append` without the checks, of points as `entering` returns them."""

    @abstractmethod
    def noise(self, n: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Random numbers `[n, T, ...]` for `n` members of `T = len(like)` tasks."""

    @abstractmethod
    def members(self, state: Any, noise: Tensor) -> Any:
        """What the members know of the support set: a record of tensors `[n, T, ...]`, or one of them."""

    @abstractmethod
    def member_outputs(self, state: Any, members: Any, x: Tensor) -> Tensor:
        """The head's parameters `[n, T, M, size]` of the members at `x [T, M, dx]`."""

    @final
    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the negative objective per real query point.

        Random numbers are drawn from torch's own generator.
        """
        return conditional.meta_loss(self, tasks)

    @final
    def observe(self, tasks: Tasks) -> None:
        """Record the range and the sizes of training tasks, beyond which predictions warn."""
        self.experience.observe(tasks)

    @final
    def encode(self, support: Examples) -> Any:
        """The state of a support set `x [T, N, dx]`, `y [T, N, dy]`; `N` may be 0."""
        return conditional.encode(self, support)

    @final
    def append(self, state: Any, examples: Examples) -> Any:
        """The state of the union with `examples`; the docstring of the class states the cost."""
        return conditional.append(self, state, examples)

    @final
    def predict(self, state: Any, x: Tensor, *, generator: torch.Generator | None = None) -> Mixture:
        """The belief at `x [T, M, dx]`: a mixture over `samples` members, whose random numbers `generator` draws."""
        return predict(self, state, x, generator)

    @final
    def adapt(
        self,
        support: Examples,
        *,
        steps: int | None = None,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> "LatentPredictor":
        """The predictor that encodes `support`; `steps=0` and an empty support set give the prior.

        `generator` draws the random numbers of the `samples` members once; all predictions of the predictor use them.
        """
        return adapt(self, support, steps, create_graph=create_graph, generator=generator)


def bound(process: Any, state: Any, query: Examples) -> Tensor:
    """The objective of each task `[T]`, not divided by the number of query points; see `NeuralProcess`.

    Args:
        process: the process, with its `objective`, `train_samples`, `head`, `latent_belief` and `member_outputs`.
        state: its state after the support set.
        query: the query points, as `asked` returns them.
    """

    def log_prob(z: Tensor) -> Tensor:
        return member_density(process, process.member_outputs(state, z, query.x), query)

    def posterior() -> LatentBelief:
        belief: LatentBelief = process.latent_belief(process.extended(state, entering(process.head, query)))
        return belief

    return latents.bound(process.objective, process.train_samples, process.latent_belief(state), posterior, log_prob)


def member_density(process: Any, output: Tensor, query: Examples) -> Tensor:
    """The log density `[n, T]` of all query points of a task, for the head's parameters `output [n, T, M, size]`."""
    count, joint = len(output), process.head.joint
    y, mask = (part if part is None else part.repeat(count, *[1] * (part.dim() - 1)) for part in query[1:])
    density = process.head(output.flatten(0, 1), process.dy).log_prob(y, mask, joint)
    total = density if joint else density.sum(1, dtype=at_least_float32(density))
    found: Tensor = total.unflatten(0, (count, len(query.x)))
    return found


def even_mixture(process: Any, output: Tensor) -> Mixture:
    """The even mixture of members whose head's parameters are `output [n, T, M, size]`."""
    members = process.head(output.flatten(0, 1), process.dy)
    if not isinstance(members, predictive.Gaussian):
        return predictive.EvenMixture(members, len(output))
    return predictive.GaussianMixture(*(part.unflatten(0, output.shape[:2]) for part in members))


def noise(n: int, latent: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise `[n, T, latent]` of the latents of `T = len(like)` tasks."""
    return torch.randn((n, len(like), latent), dtype=like.dtype, device=like.device, generator=generator)


def predict(process: Any, state: Any, x: Tensor, generator: torch.Generator | None) -> Mixture:
    """The belief of a process in a state; see `Latent.predict`."""
    check_inputs(process, x, len(state.seen))
    check_generator(generator, x.device)
    process.experience.check_size(process, state.seen)
    process.experience.check_range(process, x)
    members = process.members(state, process.noise(process.samples, x, generator))
    return even_mixture(process, process.member_outputs(state, members, x))


def adapt(
    process: Any,
    support: Examples,
    steps: int | None,
    *,
    create_graph: bool,
    generator: torch.Generator | None,
) -> "LatentPredictor":
    """The predictor that encodes `support`, with random numbers from `generator`."""
    state = adapted_state(process, support, steps, create_graph=create_graph, generator=generator)
    drawn = process.noise(process.samples, support.x, generator)
    return _predictor(process, state, drawn, graph=create_graph, prior=steps == 0)


def _predictor(process: Any, state: Any, noise: Tensor, *, graph: bool, prior: bool = False) -> "LatentPredictor":
    with torch.set_grad_enabled(graph and torch.is_grad_enabled()):
        members = process.members(state, noise)
    return LatentPredictor(process, state, noise, members, graph, prior)


@dataclass(frozen=True)
class LatentPredictor:
    """Predictions from the encoded support set and members drawn for it; made by the `adapt` of a latent process.

    Args:
        process: the process.
        state: its state after the support set.
        noise: random numbers of the members, `[S, T, ...]`.
        members: what the members know of the support set.
        graph: whether predictions keep the graph back to the parameters of the process.
        prior: whether the support set was not encoded (`steps=0`).
    """

    process: Any
    state: Any
    noise: Tensor
    members: Any
    graph: bool = False
    prior: bool = False

    def __call__(self, x: Tensor) -> Mixture:
        """The belief at `x [T, M, dx]`: a mixture over the predictor's members."""
        check_inputs(self.process, x, len(self.state.seen))
        self.process.experience.check_size(self.process, self.state.seen)
        self.process.experience.check_range(self.process, x)
        return even_mixture(self.process, self._outputs(self.members, x))

    def append(self, examples: Examples) -> "LatentPredictor":
        """The predictor for the union; a predictor made with `steps=0` stays the prior.

        The random numbers stay, so that each latent changes with the belief it is drawn from.
        """
        found: LatentPredictor = appended(self, examples)
        return found if self.prior else _predictor(self.process, found.state, self.noise, graph=self.graph)

    def autoregressive(self, **options: Any) -> NoReturn:
        """There is none: draws of a latent variable are joint already.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            f"autoregressive: a {type(self.process).__name__} has a latent variable, so its predictions are joint "
            "already; use predictor(x).sample(n), or predictor(x).log_prob(y, joint=True)"
        )

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """`n` functions: the means of `n` members that are drawn for the support set; of labels, probabilities."""
        check_draws(n, generator, self.noise.device)
        self.process.experience.check_size(self.process, self.state.seen)
        own = self.process.noise(n, self.noise[0], generator)
        drawn = _predictor(self.process, self.state, own, graph=self.graph).members
        fast = getattr(self.process, "mean_functions", None)
        means = None if fast is None else fast(self.state, drawn, graph=self.graph)

        def evaluate(x: Tensor, members: list[int]) -> Tensor:
            check_inputs(self.process, x, len(self.state.seen))
            chosen = members if len(members) < n else slice(None)
            if means is not None:
                return means(x, chosen)
            output = self._outputs(tree_map(lambda tensor: tensor[chosen], drawn), x)
            return self.process.head(output.flatten(0, 1), self.process.dy).mean.unflatten(0, output.shape[:2])

        return Functions(evaluate, n)

    def task(self, i: int) -> nn.Module:
        """Task `i`'s mean function as a plain module `[M, dx] -> [M, dy]`."""
        i = check_task(i, len(self.state.seen))
        return TaskModel(self.process, _predictor, one_task(self.state, i), self.noise[:, [i]])

    def _outputs(self, members: Any, x: Tensor) -> Tensor:
        with nullcontext() if self.graph else constant(self.process):
            output: Tensor = self.process.member_outputs(self.state, members, x)
            return output

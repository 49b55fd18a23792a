"""Shared code of conditional neural processes: their loss, their state, and the predictor that `adapt` returns."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.data import Examples, Tasks
from quickstudy.learner import Functions, Predictive, check_generator, check_steps, check_task
from quickstudy.processes.checks import check_all, check_inputs, check_more, check_support
from quickstudy.processes.heads.head import Head, asked, entering
from quickstudy.processes.joint.autoregressive import Autoregressive, Order, autoregressive
from quickstudy.processes.joint.remembering import remembering
from quickstudy.processes.parts.blocks import TaskModel, constant
from quickstudy.processes.parts.experience import Experience


class Conditional(nn.Module, ABC):
    """A process that maps a support set to a state, and the state and an input to the outputs of its network.

    A state is a NamedTuple of tensors whose first axis is the task; its field `seen [T]` is the number of points. Each
    subclass is one model; it defines the abstract methods and overrides no other method. A model whose belief is more
    than that of its head at each point also has `belief(state, x)`, which `predict` then returns.
    """

    deterministic = True
    equivariant = False  # whether predictions move with the points
    dx: int
    dy: int
    head: Head

    def __init__(self) -> None:
        super().__init__()
        self.experience = Experience()

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Constructor arguments."""

    @abstractmethod
    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks, for transforms and compilers."""

    @abstractmethod
    def encoded(self, support: Examples) -> Any:
        """`encode` without the checks, of points as `entering` returns them."""

    @abstractmethod
    def extended(self, state: Any, examples: Examples) -> Any:
        """`append` without the checks, of points as `entering` returns them."""

    @abstractmethod
    def outputs(self, state: Any, x: Tensor) -> Tensor:
        """The head's parameters `[T, M, head.size(dy)]` at `x [T, M, dx]`."""

    @final
    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the negative log-likelihood of each task's query points, per real point."""
        return meta_loss(self, tasks)

    @final
    def observe(self, tasks: Tasks) -> None:
        """Record the range and sizes of training tasks, beyond which `predict` warns. `meta_loss` and `fit` call it."""
        self.experience.observe(tasks)

    @final
    def encode(self, support: Examples) -> Any:
        """The state of a support set `x [T, N, dx]`, `y [T, N, dy]`; `N` may be 0."""
        return encode(self, support)

    @final
    def append(self, state: Any, examples: Examples) -> Any:
        """The state of the union with `examples`; the docstring of the class states the cost."""
        return append(self, state, examples)

    @final
    def predict(self, state: Any, x: Tensor) -> Predictive:
        """The belief at `x [T, M, dx]`. A RuntimeWarning says once if `x` or the support set is far beyond training."""
        return predict(self, state, x)

    @final
    def adapt(
        self,
        support: Examples,
        *,
        steps: int | None = None,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> "ConditionalPredictor":
        """The predictor that encodes `support`; `steps=0` and an empty support set give the prior."""
        return adapt(self, support, steps, create_graph=create_graph, generator=generator)


def meta_loss(process: Any, tasks: Tasks) -> Tensor:
    """`process(tasks)`, after checks of the arguments."""
    check_all(process, tasks)
    process.observe(tasks)
    return process(tasks)


def prepared(process: Any, tasks: Tasks) -> tuple[Examples, Examples]:
    """The support points as the encoder takes them, and the query points as the belief does."""
    return entering(process.head, tasks.support), asked(process.head, tasks.query)


def encode(process: Any, support: Examples) -> Any:
    """The state of a process after a support set; see `CNP.encode`."""
    check_support(process, support)
    process.experience.check_support(process, support)
    return process.encoded(entering(getattr(process, "head", None), support))


def append(process: Any, state: Any, examples: Examples) -> Any:
    """The state of a process after more points; see `CNP.append`."""
    check_more(process, examples, len(state.seen))
    process.experience.check_support(process, examples)
    return process.extended(state, entering(getattr(process, "head", None), examples))


def predict(process: Any, state: Any, x: Tensor) -> Predictive:
    """The belief of a process in a state; see `CNP.predict`."""
    check_inputs(process, x, len(state.seen))
    process.experience.check_size(process, state.seen)
    process.experience.check_range(process, x)
    if hasattr(process, "belief"):
        found: Predictive = process.belief(state, x)
        return found
    belief: Predictive = process.head(process.outputs(state, x), process.dy)
    return belief


def adapted_state(
    process: Any, support: Examples, steps: int | None, *, create_graph: bool, generator: torch.Generator | None
) -> Any:
    """The state of a process after `adapt(support, steps=steps, ...)`: that of all points, or of none for `steps=0`.

    Raises:
        ValueError, TypeError: for a support set, a number of steps or a generator of the wrong kind.
    """
    check_support(process, support)
    check_generator(generator)
    prior = steps is not None and check_steps(steps) == 0
    if not prior:
        process.experience.check_support(process, support)
    points = entering(getattr(process, "head", None), support.first(0)._replace(mask=None) if prior else support)
    with torch.set_grad_enabled(create_graph and torch.is_grad_enabled()):
        return process.encoded(points)


def adapt(
    process: Any, support: Examples, steps: int | None, *, create_graph: bool, generator: torch.Generator | None
) -> "ConditionalPredictor":
    """The predictor of a process that encodes `support`; `steps=0` and an empty support set give the prior."""
    state = adapted_state(process, support, steps, create_graph=create_graph, generator=generator)
    return ConditionalPredictor(process, state, graph=create_graph, prior=steps == 0)


def appended(predictor: Any, examples: Examples) -> Any:
    """The predictor of a process for the union with `examples`; a predictor made with `steps=0` stays the prior."""
    with torch.set_grad_enabled(predictor.graph and torch.is_grad_enabled()):
        state = append(predictor.process, predictor.state, examples)
    return predictor if predictor.prior else replace(predictor, state=state)


@dataclass(frozen=True)
class ConditionalPredictor:
    """Predictions from the encoded support set; made by the `adapt` of a conditional process.

    Args:
        process: the process.
        state: its state after the support set.
        graph: whether predictions keep the graph back to the parameters of the process.
        prior: whether the support set was not encoded (`steps=0`).
    """

    process: Any
    state: Any
    graph: bool = False
    prior: bool = False

    def __call__(self, x: Tensor) -> Predictive:
        """The belief at `x [T, M, dx]`."""
        if self.graph:
            return predict(self.process, self.state, x)
        with constant(self.process):
            return predict(self.process, self.state, x)

    def append(self, examples: Examples) -> "ConditionalPredictor":
        """The predictor for the union. A predictor made with `steps=0` stays the prior."""
        found: ConditionalPredictor = appended(self, examples)
        return found

    def autoregressive(
        self, *, order: Order = "random", samples: int = 8, generator: torch.Generator | None = None
    ) -> Autoregressive:
        """Joint beliefs by the chain rule: a function of `x`, whose `log_prob(y, joint=True)` and `sample` are joint.

        Each point is predicted given the support set and the points before it, which are appended one by one.

        Args:
            order: order of the points: "random" averages the joint density over `samples` random orders; "given" takes
                that of `x`; a permutation of the points is taken as it is.
            samples: number of random orders, and of draws behind the mean and the variance.
            generator: randomness of the orders and of these draws; torch's own by default.
        """
        return autoregressive(self, order, samples, generator)

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """`n` functions, each of which remembers the values that it has returned.

        A value at a new input is drawn, with observation noise, from the belief given the support set and all earlier
        values; an input that was evaluated before has the same value again. So the values at the inputs of one call are
        joint draws, as those of `autoregressive(order="given")`, and each new input costs one prediction and one
        `append`; `TNPA` and `FlowNP` draw the new values of a call together, at the cost of one `sample`. They have no
        gradient. Each value counts as a support point for the next ones, so ask for no more of them than support sets
        had points in training; for a curve, draw values at some inputs, and take the mean given them:
        `predictor.append(Examples(x, y))(grid).mean`. A value that is a class label is given as its one-hot code
        `[C]`, as in `mean`.

        Args:
            n: number of functions.
            generator: randomness of the values, also of later calls; torch's own by default.
        """
        return remembering(self, n, generator)

    def task(self, i: int) -> nn.Module:
        """Task `i`'s mean function as a plain module `[M, dx] -> [M, dy]`."""
        i = check_task(i, len(self.state.seen))
        return TaskModel(self.process, _with_graph, one_task(self.state, i))


def one_task(state: Any, i: int) -> Any:
    """The state of task `i` alone."""
    return mapped(state, lambda tensor: tensor[[i]])


def mapped(state: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The state with `function` applied to each of its tensors."""
    return type(state)(*(function(tensor) for tensor in state))


def _with_graph(process: Any, state: Any, *, graph: bool) -> ConditionalPredictor:
    return ConditionalPredictor(process, state, graph=graph)

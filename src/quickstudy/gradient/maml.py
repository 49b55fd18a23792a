"""Model-Agnostic Meta-Learning (Finn, Abbeel and Levine 2017, arXiv 1703.03400)."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from quickstudy.checks import check_switch, check_tasks
from quickstudy.compiling import compiled
from quickstudy.data import Examples, Tasks
from quickstudy.gradient.common import adapt, config
from quickstudy.inner.explanation import Explanation, explain
from quickstudy.inner.loop import inner_loop
from quickstudy.inner.options import InnerOptions, as_parameters, check_count, check_options
from quickstudy.inner.predictor import GradientPredictor, meta_losses
from quickstudy.inner.rates import Rated
from quickstudy.likelihoods import Likelihood, choose_loss
from quickstudy.tracing import rehearsing
from quickstudy.words import inner_settings


class MAML(nn.Module):
    """Learns initial parameters from which a few gradient steps suffice (algorithm 1, eq. 1).

    min_theta  mean_t L(theta - lr * grad L(theta; support_t); query_t),  with the exact second derivative.

    The inner loop in plain PyTorch is `quickstudy/inner/plain.py`, a page; what runs here is faster, and was shown on
    your own data to agree with it.

    BatchNorm and dropout keep their meaning: in training mode batches are normalised by their own statistics (support
    points among themselves, query points among themselves) and every task and step has dropout of its own;
    `meta_loss` then leaves the tasks' mean running statistics in the network, `adapt` leaves none. In eval mode the
    running statistics are used, and nothing is dropped.

    Args:
        network: any module `[N, *dx] -> [N, dy]` (or logits). Parameters with `requires_grad=False` are left alone.
        lr: inner learning rate; 0.01 on sinusoids (app. A.1). In its place, `rule=` takes any rule of
            `quickstudy.optimizers`.
        steps: inner steps in training; `adapt` may take others.
        first_order: drop the second derivative (section 5.2, "first order approximation").
        loss: `(output [N, do], y) -> [N]`; by default squared error summed over dy, or cross-entropy for integers.
        likelihood: makes predictions densities, and its negative log-likelihood the loss (see
            `quickstudy.likelihoods`). Give this or `loss`.
        compile: compile the whole meta-gradient at the first `meta_loss`. The result can be differentiated once.
        chunk: take so many tasks at a time, which bounds memory. The meta-gradient is then ready when `meta_loss`
            returns, and can be differentiated once.
        inner: everything else that `quickstudy.inner_loop` takes: inner_loss (what inner steps descend, where it is not
            `loss`, which then judges the query points alone), engine, adapt, inputs, checkpoint, mixed_mode, verify ...

    >>> import quickstudy as qs
    >>> learner = qs.MAML(qs.nets.MLP(1, [40, 40], 1), lr=0.01, steps=1)
    >>> tasks = qs.tasks.Sinusoid().sample(25, support=10, query=10, generator=torch.Generator().manual_seed(0))
    >>> learner.meta_loss(tasks).backward()
    >>> learner.adapt(tasks.support, steps=10)(tasks.query.x).mean.shape
    torch.Size([25, 10, 1])
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        lr: Rated | None = None,
        steps: int = 1,
        first_order: bool = False,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        likelihood: Likelihood | None = None,
        compile: bool = False,
        chunk: int | None = None,
        **inner: Unpack[InnerOptions],
    ):
        super().__init__()
        check_options(self, inner)
        check_switch("compile", compile)
        self.network, self.likelihood, self.loss = network, likelihood, loss
        self.compile_gradient, self.chunk, self.options = compile, check_count("chunk", chunk), dict(inner)
        point_loss = choose_loss(loss, likelihood)
        self.inputs = inner["inputs"] = as_parameters(inner.get("inputs"))  # its parameters are meta-learned
        self.inner_loss = inner.get("inner_loss")  # a module's parameters are meta-learned
        self.inner = inner_loop(network, loss=point_loss, lr=lr, steps=steps, first_order=first_order, **inner)
        self.rule, self.steps = self.inner.rule, self.inner.steps  # learned rates are parameters
        self.compiled_graphs = compiled.Graphs()
        if self.inner.implicit is not None and not self.inner.proximal:
            raise ValueError(
                "implicit= needs proximal= above 0: without it the solution does not depend on the initial parameters"
            )

    @property
    def passes(self) -> int:
        """Forward passes in one meta-loss."""
        return self.steps + 1

    @property
    def engine(self) -> str:
        """The engine in use where it was chosen or is known from the network alone; `explain` tells the rest."""
        return self.inner.known_engine()

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return config(self, first_order=self.inner.first_order, compile=self.compile_gradient, chunk=self.chunk)

    def extra_repr(self) -> str:
        """What it was told, in a line."""
        return inner_settings(
            self.options,
            steps=self.steps,
            first_order=self.inner.first_order,
            compile=self.compile_gradient,
            chunk=self.chunk,
        )

    def explain(self, tasks: Tasks) -> Explanation:
        """How a meta-loss of `tasks` is computed, and why: engine, layers, arithmetic, memory."""
        check_tasks(tasks)
        with rehearsing() if self.compile_gradient else nullcontext():
            return explain(self.inner, tasks)

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the mean loss over each task's real query points, after `steps` steps."""
        check_tasks(tasks, self)
        if (self.compile_gradient or self.chunk is not None) and torch.is_grad_enabled():
            return compiled.loss_with_ready_gradients(self, tasks)
        return self(tasks)

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks, for transforms and compilers."""
        return meta_losses(self.inner, tasks, self.steps).mean()

    def adapt(
        self,
        support: Examples,
        *,
        steps: int | None = None,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> GradientPredictor:
        """The predictor after `steps` gradient steps on `support` (as many as in training if None).

        Args:
            support: `T` tasks; 0 points or 0 steps give the initial network.
            create_graph: keep the graph back to the meta-parameters.
            generator: draws dropout masks and minibatches.
        """
        return adapt(self, support, steps, create_graph=create_graph, generator=generator, chunk=self.chunk)

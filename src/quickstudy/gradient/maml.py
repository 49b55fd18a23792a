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

    `quickstudy/inner/plain.py` is the inner loop in plain PyTorch, on one page. A faster engine runs in its place, once
    it has given the same numbers on your own data.

    BatchNorm and dropout keep their meaning. In training mode, BatchNorm normalises a task's support points by their
    own statistics, then its query points by theirs, and every task and step draws its own dropout mask. `meta_loss`
    then sets the network's running statistics to the mean over tasks; `adapt` leaves them unchanged. In eval mode the
    running statistics are used, and there is no dropout.

    Args:
        network: any module `[N, *dx] -> [N, dy]` (or logits). Parameters with `requires_grad=False` do not change.
        lr: inner learning rate; 0.01 by default, as on sinusoids in the paper (app. A.1). To use another rule than
            gradient descent, give `rule=`, one of `quickstudy.optimizers`, in place of `lr`.
        steps: inner steps in training; `adapt` can take another number.
        first_order: drop the second derivative (section 5.2, "first order approximation").
        loss: `(output [N, do], y) -> [N]`; by default squared error summed over dy, or cross-entropy for integer y.
        likelihood: turns outputs into densities, and makes the negative log-likelihood the loss (see
            `quickstudy.likelihoods`). Give either this or `loss`.
        compile: compile the whole meta-gradient at the first `meta_loss`. The loss can then be differentiated once.
        chunk: number of tasks computed at a time, to bound memory; all by default. With it, `meta_loss` computes the
            gradient at once, and can be differentiated once.
        inner: further options of `quickstudy.inner_loop`: inner_loss (the loss of the inner steps, if it is not `loss`,
            which then applies to the query points only), engine, adapt, inputs, checkpoint, mixed_mode, verify ...

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
        """The inner-loop engine, as far as options and network determine it; `explain` also looks at the data."""
        return self.inner.known_engine()

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return config(self, first_order=self.inner.first_order, compile=self.compile_gradient, chunk=self.chunk)

    def extra_repr(self) -> str:
        """The settings, in one line."""
        return inner_settings(
            self.options,
            steps=self.steps,
            first_order=self.inner.first_order,
            compile=self.compile_gradient,
            chunk=self.chunk,
        )

    def explain(self, tasks: Tasks) -> Explanation:
        """How `meta_loss(tasks)` is computed and why: engine, treatment of each layer, arithmetic, memory."""
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
            support: the points of `T` tasks. Without points or steps, the predictor is the initial network.
            steps: number of gradient steps.
            create_graph: keep the autograd graph back to the meta-parameters.
            generator: source of randomness for dropout masks and minibatches; torch's own by default.
        """
        return adapt(self, support, steps, create_graph=create_graph, generator=generator, chunk=self.chunk)

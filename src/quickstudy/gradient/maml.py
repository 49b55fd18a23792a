"""Model-Agnostic Meta-Learning (Finn, Abbeel and Levine 2017, arXiv 1703.03400)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from quickstudy import compiled
from quickstudy.checks import check_examples, check_fits, check_tasks
from quickstudy.data import Examples, Tasks
from quickstudy.gradient.engines import Engine, choose
from quickstudy.gradient.predictor import GradientPredictor, draw_seed, exact, meta_losses, predictor
from quickstudy.gradient.unroll import InnerLoop
from quickstudy.learner import check_steps
from quickstudy.likelihoods import Likelihood, choose_loss


class MAML(nn.Module):
    """Learns initial parameters from which a few gradient steps suffice (algorithm 1, eq. 1).

    min_theta  mean_t L(theta - lr * grad L(theta; support_t); query_t),  with the exact second derivative.

    BatchNorm and dropout keep their meaning: in training mode batches are normalised by their own statistics (support
    points among themselves, query points among themselves) and every task and step has dropout of its own;
    `meta_loss` then leaves the tasks' mean running statistics in the network, `adapt` leaves none. In eval mode the
    running statistics are used, and nothing is dropped.

    Args:
        network: any module `[N, *dx] -> [N, dy]` (or logits). Parameters with `requires_grad=False` are left alone.
        lr: inner learning rate; 0.01 on sinusoids (app. A.1).
        steps: inner steps in training; `adapt` may take others.
        first_order: drop the second derivative (section 5.2, "first order approximation").
        loss: `(output [N, do], y) -> [N]`; by default squared error summed over dy, or cross-entropy for integers.
        likelihood: makes predictions densities, and its negative log-likelihood the loss (see
            `quickstudy.likelihoods`). Give this or `loss`.
        engine: "batched" (all tasks in one pass), "loop" (one by one) or "auto" (batched where torch can).
        compile: compile the whole meta-gradient at the first `meta_loss`. The result can be differentiated once.

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
        lr: float = 0.01,
        steps: int = 1,
        first_order: bool = False,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        likelihood: Likelihood | None = None,
        engine: Engine = "auto",
        compile: bool = False,
    ):
        super().__init__()
        self.network, self.likelihood, self.loss = network, likelihood, loss
        for name, flag in (("first_order", first_order), ("compile", compile)):
            if not isinstance(flag, bool):
                raise TypeError(f"{name}={flag!r}; expected True or False")
        self.steps, self.compile_gradient = check_steps(steps), compile
        self.compiled_graphs = compiled.Graphs()
        point_loss = choose_loss(loss, likelihood)
        self.inner = InnerLoop(network, point_loss, lr, first_order, engine)

    @property
    def passes(self) -> int:
        """Forward passes in one meta-loss."""
        return self.steps + 1

    @property
    def engine(self) -> str:
        """The engine in use: "batched" or "loop"."""
        return choose(self.inner.engine, self.network)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "network": self.network,
            "lr": self.inner.lr,
            "steps": self.steps,
            "first_order": self.inner.first_order,
            "loss": self.loss,
            "likelihood": self.likelihood,
            "engine": self.inner.engine,
            "compile": self.compile_gradient,
        }

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the mean loss over each task's real query points, after `steps` steps."""
        check_tasks(tasks)
        check_fits(self, tasks.support)
        if self.compile_gradient and torch.is_grad_enabled():
            return compiled.loss_with_ready_gradients(self, tasks)
        return self(tasks)

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks, for transforms and compilers."""
        with exact():
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
            generator: draws dropout masks.
        """
        check_examples(support, "support")
        check_fits(self, support)
        steps = self.steps if steps is None else steps
        seed = draw_seed(generator)
        return predictor(self.inner, self.likelihood, support, steps, create_graph=create_graph, seed=seed)

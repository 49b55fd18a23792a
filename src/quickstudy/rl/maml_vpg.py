"""MAML for policies with a policy-gradient outer step; without inner steps, policy gradient over all tasks."""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.inner.options import as_parameters
from quickstudy.inner.rates import Rated
from quickstudy.learner import check_steps
from quickstudy.rl.actor import Actor, Adapt, Judge, inner_loop_of
from quickstudy.rl.environment import Environment
from quickstudy.rl.estimation.estimators import Estimator, InnerSurrogate
from quickstudy.rl.normalising import observe_all
from quickstudy.rl.outer import actor_of, adapted_losses, descend, outer_optimizer
from quickstudy.rl.practice import Chunk, Practice, check_chunk, practise
from quickstudy.training.updates import OptimizerMaker


@final
class MAMLVPG(nn.Module):
    """MAML for policies, with one step of Adam as the outer step (Finn et al. 2017, arXiv 1703.03400, algorithm 3).

        theta'_t = theta - lr grad L_t(theta; episodes of theta),     L_t = -mean log pi(a|s) A
        theta  <-  Adam step on  mean_t -mean pi_theta'_t(a|s) / pi_old(a|s) A   over episodes of theta'_t

    The gradient is taken where the ratio is 1, so it is the policy gradient of the adapted policies, through the
    adaptation. A step costs less than one of `MAMLTRPO`, but its size is not bounded.

    Args:
        policy: a `quickstudy.rl.policy.Policy`, such as `GaussianPolicy` or `CategoricalPolicy`.
        lr: learning rate of the inner steps, as in `quickstudy.inner_loop`; a sequence has one for each step.
        steps: number of inner steps in training. 0 is the policy gradient over the mixture of tasks.
        estimator: estimator of the inner gradient and its derivative; see `quickstudy.rl.estimation.estimators`.
        past: for "loaded_dice" only: the factor, from 0 to 1, by which earlier actions count less with each step.
        first_order: leave out the derivative of the inner gradient.
        adapt: patterns for the names of the parameters that adapt, as in `quickstudy.inner_loop`; by default all. With
            `quickstudy.gradient.anil.last_layer(policy)` only the head does, as in ANIL.
        inputs: `{name: tensor}`: further inputs of the policy's network, which adapt; parameters among them are
            meta-learned. `inputs={"context": torch.zeros(5)}, adapt="context"` is CAVIA, where the network is one of
            `quickstudy.nets.WithContext`.
        judge: estimates the advantages; `Judge()` by default.
        outer_lr: learning rate of Adam; 1e-3 as in Rothfuss et al. 2019.
        optimizer: a function parameters -> `torch.optim.Optimizer`, in place of Adam. A run does not store functions:
            load such a learner by `quickstudy.load(run, learner=learner)`, with `learner` built in the same way.
        chunk: number of tasks differentiated at a time, so that tensors fit into caches: "auto" for as many as have
            2,000 transitions, None for all. Results agree to rounding.

    Raises:
        TypeError, ValueError: for options out of range, and if `optimizer` does not return an optimiser.

    >>> import quickstudy as qs
    >>> learner = MAMLVPG(qs.rl.GaussianPolicy(qs.nets.MLP(2, [16], 2), 2), lr=0.1, estimator="lvc")
    >>> environment, generator = qs.rl.Navigation2D(num_envs=4, horizon=10), torch.Generator().manual_seed(0)
    >>> environment.set_tasks(environment.sample_tasks(3, generator=generator))
    >>> sorted(learner.update(environment, generator=generator))
    ['gradient_norm', 'loss', 'return_0', 'return_1', 'transitions']
    """

    def __init__(
        self,
        policy: nn.Module,
        *,
        lr: Rated = 0.1,
        steps: int = 1,
        estimator: Estimator = "maml",
        past: float | None = None,
        first_order: bool = False,
        adapt: Adapt = None,
        inputs: Mapping[str, Tensor] | nn.ParameterDict | None = None,
        judge: Judge | None = None,
        outer_lr: float = 1e-3,
        optimizer: OptimizerMaker | None = None,
        chunk: Chunk = "auto",
    ):
        super().__init__()
        self.policy, self.steps, self.judge = policy, check_steps(steps), judge or Judge()
        self.objective = InnerSurrogate(policy, estimator=estimator, past=past)
        self.inputs = as_parameters(inputs)  # its parameters are meta-learned
        self.inner = inner_loop_of(
            policy, self.objective, lr, steps, first_order=first_order, adapt=adapt, inputs=self.inputs
        )
        self.rule = self.inner.rule  # learned rates are parameters
        self.chunk, self.outer_lr, self.maker = check_chunk(chunk), outer_lr, optimizer
        self.optimizer = outer_optimizer(self, outer_lr, optimizer)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "policy": self.policy,
            "lr": self.inner.rule.lr,
            "steps": self.steps,
            "estimator": self.objective.estimator,
            "past": self.objective.past,
            "first_order": self.inner.first_order,
            "adapt": self.inner.problem.adapt,
            "inputs": self.inputs,
            "judge": self.judge,
            "outer_lr": self.outer_lr,
            "optimizer": self.maker,
            "chunk": self.chunk,
        }

    def actor(self, *, lr: Rated | None = None) -> Actor:
        """The actor before adaptation; `lr`, if given, replaces the inner learning rates of training."""
        return actor_of(self, lr)

    def update(self, environment: Environment, *, generator: torch.Generator | None = None) -> dict[str, float]:
        """Take one meta-training step on the environment's tasks: `practise`, then `step`.

        Returns:
            The mean returns `return_k` after k inner steps, and the metrics of `step`.
        """
        practice = self.practise(environment, generator=generator)
        metrics = self.step(practice)
        observe_all(self, practice.episodes)
        return {**practice.metrics(), **metrics}

    def practise(self, environment: Environment, *, generator: torch.Generator | None = None) -> Practice:
        """Collect episodes on the environment's tasks before adaptation and after every inner step."""
        return practise(self.actor(), environment, self.steps, generator)

    def step(self, practice: Practice) -> dict[str, float]:
        """Take one step of Adam on the parameters, computed from the episodes of `practice`.

        Returns:
            `gradient_norm`, the norm of the meta-gradient. The value of the surrogate is left out, as it is meaningless
            where all ratios are 1.
        """
        losses = adapted_losses(self.inner, self.judge, practice, estimator=self.objective.estimator, chunk=self.chunk)
        _, norm = descend(self.optimizer, losses, len(practice.after.mask))
        return {"gradient_norm": norm}

"""MAML for policies with a plain policy-gradient step outside; with no inner steps, policy gradient over all tasks."""

from typing import Any, final

import torch
from torch import nn

from quickstudy.inner.options import check_count
from quickstudy.inner.rates import Rated
from quickstudy.learner import check_steps
from quickstudy.rl.actor import Actor, Judge, inner_loop_of
from quickstudy.rl.environment import Environment
from quickstudy.rl.estimation.estimators import Estimator, InnerSurrogate
from quickstudy.rl.outer import actor_of, adapted_losses, descend, outer_optimizer
from quickstudy.rl.practice import Practice, practise
from quickstudy.training.updates import OptimizerMaker


@final
class MAMLVPG(nn.Module):
    """Initial parameters from which a few policy-gradient steps suffice, learned by policy gradient as well (Finn et
    al. 2017, arXiv 1703.03400, algorithm 3 as it stands).

        theta'_t = theta - lr grad L_t(theta; episodes of theta),     L_t = -mean log pi(a|s) A
        theta  <-  Adam step on  mean_t -mean pi_theta'_t(a|s) / pi_old(a|s) A   over episodes of theta'_t

    The ratio is 1 where the gradient is taken, which there is the policy gradient of the adapted policies; it goes
    through the adaptation. One step a round: cheaper than `MAMLTRPO`, and nothing bounds how far it goes.

    Args:
        policy: of the form of `quickstudy.rl.Policy`.
        lr: of the inner steps, as for `quickstudy.inner_loop`; a sequence gives each step its own.
        steps: inner steps in training. 0 is the policy gradient over the mixture of tasks.
        estimator: of the inner gradient's derivative; see `quickstudy.rl.estimation.estimators`.
        past: of "loaded_dice".
        first_order: leave the derivative of the inner gradient out.
        judge: how advantages come about.
        outer_lr: of Adam; 1e-3 as in Rothfuss et al. 2019.
        optimizer: parameters -> `torch.optim.Optimizer`, in place of Adam. No file holds a function: such a learner
            is loaded by `quickstudy.load(run, learner=...)` with one built as it was.
        chunk: tasks differentiated at a time: the same numbers, from tensors that fit into caches.

    Raises:
        TypeError, ValueError: for options out of range, and for an optimiser that cannot be used.

    >>> import quickstudy as qs
    >>> learner = MAMLVPG(qs.rl.GaussianPolicy(qs.nets.MLP(2, [16], 2), 2), lr=0.1, estimator="lvc")
    >>> environment, chance = qs.rl.Navigation2D(num_envs=4, horizon=10), torch.Generator().manual_seed(0)
    >>> environment.set_tasks(environment.sample_tasks(3, generator=chance))
    >>> sorted(learner.update(environment, generator=chance))
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
        judge: Judge | None = None,
        outer_lr: float = 1e-3,
        optimizer: OptimizerMaker | None = None,
        chunk: int | None = 2,
    ):
        super().__init__()
        self.policy, self.steps, self.judge = policy, check_steps(steps), judge or Judge()
        self.objective = InnerSurrogate(policy, estimator=estimator, past=past)
        self.inner = inner_loop_of(policy, self.objective, lr, steps, first_order)
        self.rule = self.inner.rule  # learned rates are parameters
        self.chunk, self.outer_lr, self.maker = check_count("chunk", chunk), outer_lr, optimizer
        self.optimizer = outer_optimizer(self, outer_lr, optimizer)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "policy": self.policy,
            "lr": self.inner.rule.lr,
            "steps": self.steps,
            "estimator": self.objective.estimator,
            "past": self.objective.past,
            "first_order": self.inner.first_order,
            "judge": self.judge,
            "outer_lr": self.outer_lr,
            "optimizer": self.maker,
            "chunk": self.chunk,
        }

    def actor(self, *, lr: Rated | None = None) -> Actor:
        """The policy before it has seen anything; `lr` in place of the rates of training."""
        return actor_of(self.inner, self.judge, lr)

    def update(self, environment: Environment, *, generator: torch.Generator | None = None) -> dict[str, float]:
        """One round on the tasks that the environment is set to: practise, then a step.

        Returns:
            `return_k` after k inner steps, and what `step` tells.
        """
        practice = self.practise(environment, generator=generator)
        return {**practice.metrics(), **self.step(practice)}

    def practise(self, environment: Environment, *, generator: torch.Generator | None = None) -> Practice:
        """Episodes before adapting and after every inner step, in the tasks that the environment is set to."""
        return practise(self.actor(), environment, self.steps, generator)

    def step(self, practice: Practice) -> dict[str, float]:
        """Move the parameters by what was practised. The surrogate's value means nothing at ratio 1, and is not told.

        Returns:
            `gradient_norm`, of the meta-gradient.
        """
        losses = adapted_losses(self.inner, self.judge, practice, estimator=self.objective.estimator, chunk=self.chunk)
        _, norm = descend(self.optimizer, losses, len(practice.after.mask))
        return {"gradient_norm": norm}

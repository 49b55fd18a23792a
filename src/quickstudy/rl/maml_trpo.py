"""MAML for policies with a trust-region outer step; without inner steps, plain TRPO over all tasks."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from quickstudy.inner.options import as_parameters, check_count
from quickstudy.inner.rates import Rated
from quickstudy.learner import check_steps
from quickstudy.rl.actor import Actor, Adapt, Judge, inner_loop_of
from quickstudy.rl.conjugate import gauss_newton_product
from quickstudy.rl.decisions import outputs_at
from quickstudy.rl.environment import Environment
from quickstudy.rl.estimation.estimators import Estimator, InnerSurrogate
from quickstudy.rl.estimation.surrogates import MeanKL
from quickstudy.rl.normalising import observe_all
from quickstudy.rl.outer import actor_of, adapted_losses, outer_parameters
from quickstudy.rl.policy import Policy
from quickstudy.rl.practice import Practice, each_chunk, mean_over_tasks, practise
from quickstudy.rl.trust_region import TrustRegionStep, trust_region_step


@final
class MAMLTRPO(nn.Module):
    """MAML for policies, with TRPO as the outer step (Finn et al. 2017, arXiv 1703.03400, algorithm 3).

        theta'_t = theta - lr grad L_t(theta; episodes of theta),     L_t = -mean log pi(a|s) A
        theta  <-  TRPO step on  mean_t -mean pi_theta'_t(a|s) / pi_old(a|s) A   over episodes of theta'_t,
                   within mean_t mean KL(pi_old || pi_theta'_t) <= max_kl

    Loss and KL are differentiated through the adaptation. The Hessian of the KL is needed at `theta = theta_old` only,
    where a product of first derivatives is exact (see `gauss_newton_product`).

    Args:
        policy: a `quickstudy.rl.policy.Policy`, such as `GaussianPolicy` or `CategoricalPolicy`.
        lr: learning rate of the inner steps, as in `quickstudy.inner_loop`; a sequence has one for each step.
        steps: number of inner steps in training. 0 is TRPO (Schulman et al. 2015) over the mixture of tasks.
        estimator: estimator of the inner gradient and its derivative; see `quickstudy.rl.estimation.estimators`.
        past: for "loaded_dice" only: the factor, from 0 to 1, by which earlier actions count less with each step.
        first_order: leave out the derivative of the inner gradient.
        adapt: patterns for the names of the parameters that adapt, as in `quickstudy.inner_loop`; by default all. With
            `quickstudy.gradient.anil.last_layer(policy)` only the head does, as in ANIL.
        inputs: `{name: tensor}`: further inputs of the policy's network, which adapt; parameters among them are
            meta-learned. `inputs={"context": torch.zeros(5)}, adapt="context"` is CAVIA, where the network is one of
            `quickstudy.nets.WithContext`.
        judge: estimates the advantages; `Judge()` by default.
        max_kl, iterations, damping, backtrack, max_backtracks: options of `trust_region_step`.
        chunk: number of tasks differentiated at a time, so that tensors fit into caches; None for all. Results agree
            to rounding.

    >>> import quickstudy as qs
    >>> learner = MAMLTRPO(qs.rl.GaussianPolicy(qs.nets.MLP(2, [16], 2), 2), lr=0.1)
    >>> environment, generator = qs.rl.Navigation2D(num_envs=4, horizon=10), torch.Generator().manual_seed(0)
    >>> environment.set_tasks(environment.sample_tasks(3, generator=generator))
    >>> sorted(learner.update(environment, generator=generator))[:4]
    ['accepted', 'backtracks', 'gradient_norm', 'improvement']
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
        max_kl: float = 0.01,
        iterations: int = 10,
        damping: float = 1e-5,
        backtrack: float = 0.8,
        max_backtracks: int = 15,
        chunk: int | None = 2,
    ):
        super().__init__()
        self.policy, self.steps, self.estimator, self.past = policy, check_steps(steps), estimator, past
        self.judge, self.chunk = judge or Judge(), check_count("chunk", chunk)
        self.objective = InnerSurrogate(policy, estimator=estimator, past=past)
        self.inputs = as_parameters(inputs)  # its parameters are meta-learned
        self.inner = inner_loop_of(
            policy, self.objective, lr, steps, first_order=first_order, adapt=adapt, inputs=self.inputs
        )
        self.rule = self.inner.rule  # learned rates are parameters
        self.search: dict[str, Any] = {
            "max_kl": max_kl,
            "iterations": iterations,
            "damping": damping,
            "backtrack": backtrack,
            "max_backtracks": max_backtracks,
        }

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"steps": self.steps, "estimator": self.estimator, "past": self.past, "chunk": self.chunk}
        return {
            "policy": self.policy,
            "lr": self.inner.rule.lr,
            "first_order": self.inner.first_order,
            "adapt": self.inner.problem.adapt,
            "inputs": self.inputs,
            **own,
            "judge": self.judge,
            **self.search,
        }

    def actor(self, *, lr: Rated | None = None) -> Actor:
        """The actor before adaptation; `lr`, if given, replaces the inner learning rates of training."""
        return actor_of(self, lr)

    def update(self, environment: Environment, *, generator: torch.Generator | None = None) -> dict[str, Any]:
        """Take one meta-training step on the environment's tasks: `practise`, then `step`.

        Returns:
            The mean returns `return_k` after k inner steps, and the outcome of the trust-region step: numbers, and the
            `reason` why it was accepted or not.
        """
        practice = self.practise(environment, generator=generator)
        step = self.step(practice)
        observe_all(self, practice.episodes)
        outcome = {k: v if k == "reason" else float(v) for k, v in step._asdict().items()}
        return {**practice.metrics(), **outcome}

    def practise(self, environment: Environment, *, generator: torch.Generator | None = None) -> Practice:
        """Collect episodes on the environment's tasks before adaptation and after every inner step."""
        return practise(self.actor(), environment, self.steps, generator)

    def step(self, practice: Practice) -> TrustRegionStep:
        """Take one trust-region step on the parameters, computed from the episodes of `practice`."""
        after, policy = practice.after, cast(Policy, self.policy)
        tasks = len(after.mask)

        def each(objective: Callable[..., Tensor], data: Any) -> Iterator[Tensor]:
            return each_chunk(self.inner, practice.stages, objective, data, self.chunk)

        with torch.no_grad():
            old = torch.cat(list(each(outputs_at, after)))

        def loss() -> Tensor:
            parts = adapted_losses(self.inner, self.judge, practice, estimator=self.estimator, chunk=self.chunk)
            return mean_over_tasks(parts, tasks)

        def kl() -> Tensor:
            return mean_over_tasks(each(MeanKL(policy), (after, old)), tasks)

        def curvature(parameters: list[Tensor]) -> Callable[[Tensor], Tensor]:
            outputs = list(each(outputs_at, after))
            sizes = [len(o) for o in outputs]
            weight = after.mask.to(old) / (after.mask.sum((1, 2), keepdim=True).clamp(min=1) * tasks)

            def divergence(moved: list[Tensor]) -> Tensor:
                parts = zip(moved, old.split(sizes), weight.split(sizes), strict=True)
                return torch.stack([(policy.kl(o, m) * w).sum() for m, o, w in parts]).sum()

            return gauss_newton_product(outputs, divergence, parameters)

        return trust_region_step(outer_parameters(self), loss, kl, curvature=curvature, **self.search)

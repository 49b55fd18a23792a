"""MAML for policies with a trust-region outer step; without inner steps, plain TRPO over all tasks."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from quickstudy.inner.options import as_parameters
from quickstudy.inner.rates import Rated
from quickstudy.learner import check_steps
from quickstudy.rl.actor import Actor, Adapt, Judge, inner_loop_of
from quickstudy.rl.conjugate import flat, gauss_newton
from quickstudy.rl.decisions import Decisions, outputs_at
from quickstudy.rl.environment import Environment
from quickstudy.rl.estimation.estimators import Estimator, InnerSurrogate
from quickstudy.rl.estimation.surrogates import MeanKL, RatioSurrogate
from quickstudy.rl.normalising import observe_all
from quickstudy.rl.outer import actor_of, outer_parameters, sampling_losses
from quickstudy.rl.policy import Policy
from quickstudy.rl.practice import Chunk, Practice, check_chunk, each_chunk, practise
from quickstudy.rl.trust_region import Linearised, TrustRegionStep, trust_region_step


@final
class MAMLTRPO(nn.Module):
    """MAML for policies, with TRPO as the outer step (Finn et al. 2017, arXiv 1703.03400, algorithm 3).

        theta'_t = theta - lr grad L_t(theta; episodes of theta),     L_t = -mean log pi(a|s) A
        theta  <-  TRPO step on  mean_t -mean pi_theta'_t(a|s) / pi_old(a|s) A   over episodes of theta'_t,
                   within mean_t mean KL(pi_old || pi_theta'_t) <= max_kl

    Loss and KL are differentiated through the adaptation. The Hessian of the KL is needed at `theta = theta_old` only,
    where a product of first derivatives is exact (see `gauss_newton`).

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
        chunk: number of tasks differentiated at a time, so that tensors fit into caches: "auto" for as many as have
            2,000 transitions, None for all. Results agree to rounding.

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
        chunk: Chunk = "auto",
    ):
        super().__init__()
        self.policy, self.steps, self.estimator, self.past = policy, check_steps(steps), estimator, past
        self.judge, self.chunk = judge or Judge(), check_chunk(chunk)
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
        near = _Near(self, practice)
        return trust_region_step(outer_parameters(self), near.loss, near.kl, linearise=near.linearise, **self.search)


@final
class _Near:
    """Loss and KL divergence of a step, near the parameters that collected the episodes."""

    def __init__(self, learner: MAMLTRPO, practice: Practice):
        self.learner, self.practice, self.data = learner, practice, practice.after
        self.policy = cast(Policy, learner.policy)
        self.old: Tensor = self.data.log_prob  # outputs of the policies that collected the episodes, once known
        self._seen: tuple[list[int], Tensor] | None = None

    def linearise(self, parameters: list[Tensor]) -> Linearised:
        """At the parameters that collected the episodes: all from one graph of the adapted policies."""
        parts = list(self._outputs())
        sizes, here = [len(o) for o in parts], torch.cat([o.detach() for o in parts]).requires_grad_()
        self.old = here.detach()
        loss = self._surrogate(here)
        (slope,) = torch.autograd.grad(loss, here)
        mask = self.data.mask
        weight = mask.to(here) / (mask.sum((1, 2), keepdim=True).clamp(min=1) * len(mask))

        def divergence(moved: list[Tensor]) -> Tensor:
            split = zip(moved, self.old.split(sizes), weight.split(sizes), strict=True)
            return torch.stack([(self.policy.kl(o, m) * w).sum() for m, o, w in split]).sum()

        gradient, product = gauss_newton(parts, slope.split(sizes), divergence, parameters)
        for part in self._sampling():
            more = torch.autograd.grad(part.sum() / len(mask), parameters, allow_unused=True)
            gradient, loss = gradient + flat(more, parameters), loss + part.detach().sum() / len(mask)
        return Linearised(loss.detach(), gradient, product)

    def loss(self) -> Tensor:
        """The surrogate loss at the present parameters."""
        sampled = [part.sum() / len(self.data.mask) for part in self._sampling()]
        return self._surrogate(self._present()) + sum(sampled)

    def kl(self) -> Tensor:
        """The mean KL divergence from the policies that collected the episodes."""
        return self._mean(MeanKL(self.policy), self._present(), lambda data, i: (data, self.old[i]))

    def _outputs(self) -> Iterator[Tensor]:
        """Outputs of the adapted policies at their observations, chunk by chunk."""
        return each_chunk(self.learner.inner, self.practice.stages, outputs_at, self.data, self.learner.chunk)

    def _present(self) -> Tensor:
        """The outputs `[T, E, H, k]` at the present parameters, computed once for the loss and kl of a trial."""
        versions = [p._version for p in self.learner.parameters()]
        if self._seen is None or self._seen[0] != versions:
            self._seen = versions, torch.cat(list(self._outputs()))
        return self._seen[1]

    def _sampling(self) -> Iterator[Tensor]:
        return sampling_losses(
            self.learner.inner,
            self.learner.judge,
            self.practice,
            estimator=self.learner.estimator,
            chunk=self.learner.chunk,
        )

    def _surrogate(self, outputs: Tensor) -> Tensor:
        return self._mean(RatioSurrogate(self.policy), outputs, lambda data, i: data)

    def _mean(self, objective: Callable[..., Tensor], outputs: Tensor, given: Callable[..., Any]) -> Tensor:
        """The mean over tasks of an objective, given the policies' outputs `[T, E, H, k]`."""
        values = []
        for i, own in enumerate(outputs):
            data = Decisions(*(part[i] for part in self.data))
            values.append(objective(lambda observation, own=own: own.flatten(0, 1), given(data, i)))
        return torch.stack(values).mean()

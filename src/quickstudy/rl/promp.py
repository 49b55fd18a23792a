"""ProMP: several clipped outer steps on the same episodes, with a KL penalty on the policy before adaptation."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_number, check_positive, check_whole
from quickstudy.inner.options import as_parameters
from quickstudy.inner.rates import Rated
from quickstudy.learner import check_steps
from quickstudy.rl.actor import Actor, Adapt, Judge, inner_loop_of
from quickstudy.rl.decisions import Decisions, average, log_probs, outputs_at
from quickstudy.rl.environment import Environment
from quickstudy.rl.estimation.surrogates import MeanKL, RatioSurrogate
from quickstudy.rl.normalising import observe_all
from quickstudy.rl.outer import actor_of, descend, outer_optimizer
from quickstudy.rl.policy import Policy
from quickstudy.rl.practice import Chunk, Practice, check_chunk, each_chunk, mean_over_tasks, practise
from quickstudy.training.updates import OptimizerMaker


@final
class ProMP(nn.Module):
    """Proximal meta-policy search (Rothfuss et al. 2019, arXiv 1810.06784, algorithm 1 and section 6).

        theta'_t = theta + lr grad mean rho A              over episodes of theta_old      (J^LR, the inner step)
        J(theta) = mean_t  mean min(rho' A, clip(rho', 1 - clip, 1 + clip) A)              over episodes of theta'_t,old
                           - inner_kl  mean KL(pi_theta_old || pi_theta)                   over episodes of theta_old

    with rho = pi_theta / pi_theta_old and rho' = pi_theta'_t / pi_theta'_t,old. Several steps of Adam increase J on the
    same episodes; each of them repeats the adaptation from the present theta. At theta_old the inner step, and so the
    first gradient, is that of the estimator "lvc". Later, rho corrects for the change of theta, and the penalty keeps
    it near 1. With several inner steps the penalty is the mean over them, each for the policies that drew the
    episodes of that step.

    Args:
        policy: a `quickstudy.rl.policy.Policy`, such as `GaussianPolicy` or `CategoricalPolicy`.
        lr: learning rate of the inner steps, as in `quickstudy.inner_loop`; a sequence has one for each step.
        steps: number of inner steps in training. 0 is PPO (Schulman et al. 2017, arXiv 1707.06347) over the mixture of
            tasks.
        adapt: patterns for the names of the parameters that adapt, as in `quickstudy.inner_loop`; by default all. With
            `quickstudy.gradient.anil.last_layer(policy)` only the head does, as in ANIL.
        inputs: `{name: tensor}`: further inputs of the policy's network, which adapt; parameters among them are
            meta-learned. `inputs={"context": torch.zeros(5)}, adapt="context"` is CAVIA, where the network is one of
            `quickstudy.nets.WithContext`.
        clip: epsilon, for clipping the ratio; 0.3 as in the authors' experiments, as are all defaults.
        inner_kl: eta, the weight of the penalty; 0 for no penalty.
        judge: estimates the advantages; `Judge()` by default.
        outer_lr: learning rate of Adam.
        outer_steps: number of steps of Adam on the same episodes.
        optimizer: a function parameters -> `torch.optim.Optimizer`, in place of Adam. A run does not store functions:
            load such a learner by `quickstudy.load(run, learner=learner)`, with `learner` built in the same way.
        chunk: number of tasks differentiated at a time, so that tensors fit into caches: "auto" for as many as have
            2,000 transitions, None for all. Results agree to rounding.

    Raises:
        TypeError, ValueError: for options out of range, and if `optimizer` does not return an optimiser.

    >>> import quickstudy as qs
    >>> learner = ProMP(qs.rl.GaussianPolicy(qs.nets.MLP(2, [16], 2), 2), lr=0.1)
    >>> environment, generator = qs.rl.Navigation2D(num_envs=4, horizon=10), torch.Generator().manual_seed(0)
    >>> environment.set_tasks(environment.sample_tasks(3, generator=generator))
    >>> sorted(learner.update(environment, generator=generator))[:5]
    ['clipped', 'gradient_norm', 'improvement', 'inner_kl', 'kl']
    """

    def __init__(
        self,
        policy: nn.Module,
        *,
        lr: Rated = 0.1,
        steps: int = 1,
        adapt: Adapt = None,
        inputs: Mapping[str, Tensor] | nn.ParameterDict | None = None,
        clip: float = 0.3,
        inner_kl: float = 5e-4,
        judge: Judge | None = None,
        outer_lr: float = 1e-3,
        outer_steps: int = 5,
        optimizer: OptimizerMaker | None = None,
        chunk: Chunk = "auto",
    ):
        super().__init__()
        self.policy, self.steps, self.judge = policy, check_steps(steps), judge or Judge()
        self.clip, self.inner_kl = check_positive("clip", clip), check_number("inner_kl", inner_kl)
        self.inputs = as_parameters(inputs)
        # the ratio to the policy that drew the episodes; in InnerSurrogate's "lvc" the ratio is always 1
        self.inner = inner_loop_of(
            policy, RatioSurrogate(policy), lr, steps, first_order=False, adapt=adapt, inputs=self.inputs
        )
        self.rule = self.inner.rule  # learned rates are parameters
        self.chunk, self.outer_lr, self.maker = check_chunk(chunk), outer_lr, optimizer
        self.outer_steps = check_whole("outer_steps", outer_steps)
        self.optimizer = outer_optimizer(self, outer_lr, optimizer)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "policy": self.policy,
            "lr": self.inner.rule.lr,
            "steps": self.steps,
            "adapt": self.inner.problem.adapt,
            "inputs": self.inputs,
            "clip": self.clip,
            "inner_kl": self.inner_kl,
            "judge": self.judge,
            "outer_lr": self.outer_lr,
            "outer_steps": self.outer_steps,
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
        """Take `outer_steps` steps of Adam on the parameters, computed from the episodes of `practice`.

        Returns:
            After the steps, as means over tasks: `kl` of the adapted policies from their old versions, `inner_kl` of
            the policies before adaptation from theirs, and `clipped`, the share of the adapted policies' ratios
            outside the clip. `surrogate_before` and `surrogate_after` are the loss -J, `improvement` is its decrease,
            and `gradient_norm` is the norm of the first gradient.
        """
        old = self._outputs(practice)
        steps = [
            descend(self.optimizer, self._losses(practice, old), len(practice.after.mask))
            for _ in range(self.outer_steps)
        ]
        (before, norm), (after, metrics) = steps[0], self._measured(practice, old)
        surrogate = {"surrogate_before": before, "surrogate_after": after, "improvement": before - after}
        return {**metrics, **surrogate, "gradient_norm": norm}

    def _each(self, objective: Callable[..., Tensor], data: Any, stages: tuple[Decisions, ...]) -> Iterator[Tensor]:
        return each_chunk(self.inner, stages, objective, data, self.chunk)

    @torch.no_grad()
    def _outputs(self, practice: Practice) -> list[Tensor]:
        """The present policies' outputs `[T, E, H, k]` on the episodes before each inner step, and after the last."""
        return [
            torch.cat(list(self._each(outputs_at, seen, practice.stages[:k])))
            for k, seen in enumerate(practice.decisions)
        ]

    def _losses(self, practice: Practice, old: list[Tensor]) -> Iterator[Tensor]:
        yield from self._each(RatioSurrogate(self.policy, clip=self.clip), practice.after, practice.stages)
        for k, before in enumerate(practice.stages if self.inner_kl else ()):
            for kl in self._each(MeanKL(self.policy), (before, old[k]), practice.stages[:k]):
                yield kl * (self.inner_kl / len(practice.stages))

    @torch.no_grad()
    def _measured(self, practice: Practice, old: list[Tensor]) -> tuple[float, dict[str, float]]:
        """The loss -J, and the metrics `kl`, `inner_kl` and `clipped`."""
        tasks, policy, clip = len(practice.after.mask), cast(Policy, self.policy), self.clip

        def moved(model: Callable[[Tensor], Tensor], data: tuple[Decisions, Tensor], outer: Any) -> Tensor:
            seen, _ = data
            outputs = outputs_at(model, seen).flatten(0, 1)

            def same(observation: Tensor) -> Tensor:  # computed once for the three values below
                return outputs

            ratio = (log_probs(policy, same, seen) - torch.where(seen.mask, seen.log_prob, 0)).exp()
            beyond = average(((ratio - 1).abs() > clip).to(ratio), seen, "transitions")
            return torch.stack([RatioSurrogate(policy, clip=clip)(same, seen), MeanKL(policy)(same, data), beyond])

        parts = self._each(moved, (practice.after, old[-1]), practice.stages)
        surrogate, kl, clipped = torch.cat(list(parts)).mean(0).tolist()
        inner = [
            float(mean_over_tasks(self._each(MeanKL(policy), (before, old[k]), practice.stages[:k]), tasks))
            for k, before in enumerate(practice.stages)
        ]
        inner_kl = sum(inner) / max(len(inner), 1)
        return surrogate + self.inner_kl * inner_kl, {"kl": kl, "inner_kl": inner_kl, "clipped": clipped}

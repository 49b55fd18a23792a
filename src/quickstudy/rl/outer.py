"""Shared parts of the meta-learners of policies whose outer step is a step of a torch optimiser."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.checks import check_positive
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rates import Rated
from quickstudy.learner import check_trainable
from quickstudy.rl.actor import Actor, Judge, inner_loop_of
from quickstudy.rl.estimation.estimators import Estimator, SamplingTerm, outcomes
from quickstudy.rl.estimation.surrogates import RatioSurrogate
from quickstudy.rl.practice import Chunk, Practice, each_chunk
from quickstudy.training.updates import OptimizerMaker, make_optimizer


def actor_of(learner: Any, lr: Rated | None = None) -> Actor:
    """The learner's actor before adaptation; `lr`, if given, replaces the learning rates of its inner loop."""
    inner: InnerLoop = learner.inner
    policy: Any = inner.network
    if lr is not None:
        kept: Any = {"adapt": inner.problem.adapt, "inputs": learner.inputs, "first_order": inner.first_order}
        inner = inner_loop_of(policy, inner.objective, lr, inner.steps, **kept)
    return Actor(policy, inner, learner.judge, learner=learner)


def outer_parameters(learner: Any) -> list[nn.Parameter]:
    """The learner's trainable parameters, without those of its judge alone, which a baseline trains itself."""
    judged = {id(p) for p in learner.judge.parameters()} - {id(p) for p in learner.policy.parameters()}
    return [p for p in learner.parameters() if p.requires_grad and id(p) not in judged]


def outer_optimizer(learner: nn.Module, outer_lr: float, optimizer: OptimizerMaker | None) -> torch.optim.Optimizer:
    """Adam with learning rate `outer_lr`, or what `optimizer` returns, over the learner's trainable parameters.

    Raises:
        TypeError, ValueError: for a rate that is not above 0, if `optimizer` does not return an optimiser, and for a
            learner without trainable parameters.
    """
    check_trainable(learner)
    return make_optimizer(outer_parameters(learner), check_positive("outer_lr", outer_lr), optimizer)


def adapted_losses(
    inner: InnerLoop, judge: Judge, practice: Practice, *, estimator: Estimator, chunk: Chunk
) -> Iterator[Tensor]:
    """The losses of the adapted policies on their own episodes, chunk by chunk; the outer loss is their sum over tasks.

    For "emaml" the losses of `SamplingTerm` follow, for each inner step.
    """
    yield from each_chunk(inner, practice.stages, RatioSurrogate(inner.network), practice.after, chunk)
    yield from sampling_losses(inner, judge, practice, estimator=estimator, chunk=chunk)


def sampling_losses(
    inner: InnerLoop, judge: Judge, practice: Practice, *, estimator: Estimator, chunk: Chunk
) -> Iterator[Tensor]:
    """The losses of `SamplingTerm` for "emaml", for each inner step and chunk by chunk; none for others."""
    if estimator == "emaml" and practice.stages:
        last = practice.episodes[-1]
        outcome = outcomes(judge.scaled(last), discount=judge.discount, scale=judge.scale(last))
        for k, before in enumerate(practice.stages):
            yield from each_chunk(inner, practice.stages[:k], SamplingTerm(inner.network), (before, outcome), chunk)


def descend(optimizer: torch.optim.Optimizer, losses: Iterable[Tensor], num_tasks: int) -> tuple[float, float]:
    """One step of the optimiser. Each part of the loss is differentiated before the next is computed, to save memory.

    Args:
        optimizer: the optimiser.
        losses: tensors `[t]`; the loss is the sum of all their values, divided by `num_tasks`.
        num_tasks: the number of tasks.

    Returns:
        The loss before the step, and the norm of its gradient.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer.zero_grad()
    value = torch.zeros(())
    for part in losses:
        loss = part.sum() / num_tasks
        loss.backward(inputs=parameters)
        value = value.to(loss) + loss.detach()
    gradients = [p.grad.flatten() for p in parameters if p.grad is not None]
    norm = float(torch.linalg.vector_norm(torch.cat(gradients)))
    optimizer.step()
    optimizer.zero_grad()
    return float(value), norm

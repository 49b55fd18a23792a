"""Properties of a learner's loss and gradient.

The contract is in docs/design.md, "The public contract".
"""

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from quickstudy.data import Tasks
from quickstudy.gradient.maml import MAML
from quickstudy.inner.rates import one_rate
from quickstudy.testing.checks import skip
from quickstudy.testing.comparing import expect, expect_close
from quickstudy.testing.learner_case import LearnerCase, Lines, gradient, loss, parameters

STEPS = (1e-5, 1e-6, 1e-4)  # of finite differences; one must agree, as a kink of the network may lie within a step


def the_loss_is_a_mean_over_query_points(case: LearnerCase) -> None:
    """The mean over tasks of the mean over each task's real query points (docs/design.md, Learner)."""
    learner, tasks = case.learner(), case.tasks()
    if case.draws_in_loss(learner, tasks):
        skip("its loss draws random numbers")
    twice = Tasks(tasks.support, tasks.query.append(tasks.query))
    what = "meta_loss changed when every query point was given twice"
    cure = (
        "take the mean over a task's query points, not their sum (where the loss is their joint density by definition, "
        'give skip={"the loss is a mean over query points": "it is a joint density"})'
    )
    expect_close(loss(learner, twice), loss(learner, tasks), what, cure)


def gradients_equal_finite_differences(case: LearnerCase) -> None:
    """`meta_loss(...).backward()` gives the derivative of its value (docs/design.md, The inner loop)."""
    learner, tasks = case.learner(training=True), case.tasks()
    learned = parameters(learner)
    if not learned:
        skip("it has no parameters to learn")
    direction = [torch.randn_like(p) / sum(q.numel() for q in learned) ** 0.5 for p in learned]
    start = [p.detach().clone() for p in learned]

    def along(step: float) -> float:
        with torch.no_grad():
            for p, s, d in zip(learned, start, direction, strict=True):
                p.copy_(s + step * d)
        return loss(learner, tasks).item()

    found = float(gradient(learner, tasks) @ torch.cat([d.flatten() for d in direction]))
    slopes = []
    for h in STEPS:
        slope = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h)
        if abs(found - slope) <= 1e-6 * abs(slope) + 1e-12:
            return
        slopes.append(slope)
    raise AssertionError(
        f"along a random direction the derivative of meta_loss is {found:.8g} by its gradient and {slopes[0]:.8g} by "
        "finite differences. Something between parameters and loss is detached, computed under no_grad or in place, or "
        "changes with each call; if the gradient is approximate by definition (first order), skip this property"
    )


def torch_func_gives_the_same_gradient(case: LearnerCase) -> None:
    """If `forward` is the loss, `torch.func.grad` gives the same gradient (docs/design.md, Learner)."""
    learner, tasks = case.learner(), case.tasks()
    if case.draws_in_loss(learner, tasks):
        skip("its loss draws random numbers, which torch.func refuses")
    if not _forward_is_loss(learner, tasks):
        skip("its forward is not meta_loss, which is allowed: fit calls meta_loss; torch.func calls forward")
    tensors = {k: p.detach() for k, p in learner.named_parameters() if p.requires_grad}
    try:
        found = torch.func.grad(lambda p: functional_call(learner, p, (tasks,)))(tensors)
    except NotImplementedError as error:
        skip(f"it does not support transforms of torch.func: {error}")
    together = torch.cat([g.flatten() for g in found.values()])
    what = "torch.func.grad of forward differs from the gradient of meta_loss"
    expect_close(together, gradient(learner, tasks), what, "leave .data, .item() and in-place changes out of the loss")


def _forward_is_loss(learner: Any, tasks: Tasks) -> bool:
    try:
        found = learner(tasks)
    except (NotImplementedError, TypeError, ValueError, AttributeError, RuntimeError):
        return False
    wanted = loss(learner, tasks)
    return isinstance(found, Tensor) and found.shape == () and bool(torch.isclose(found, wanted))


def training_beats_the_prior(case: LearnerCase) -> None:
    """After a short training, adapting to the support set predicts better than the prior (docs/design.md, Learner)."""
    if not case.training_steps:
        skip("training_steps=0")
    learner: Any = case.learner(training=True)
    if not parameters(learner):
        skip("it has no parameters to learn")
    optimizer = torch.optim.Adam(parameters(learner), lr=1e-2)
    num_tasks = 4 if getattr(learner, "engine", None) == "loop" else 16  # the loop is slow
    tasks = case.tasks(100, support=8, query=20, seed=2)
    enough = 0.7 if isinstance(case.family, Lines) else 1.0
    for step in range(1, case.training_steps + 1):
        optimizer.zero_grad()
        loss(learner, case.tasks(num_tasks, support=8, query=8, seed=1000 + step), seed=step).backward()
        optimizer.step()
        if step in (8, 16, 32, 64, case.training_steps):
            adapted, prior = _errors(case, learner, tasks)
            if adapted < enough * prior:
                return
    raise AssertionError(
        f"after {case.training_steps} steps of Adam the error of adapted predictions is {adapted:.4g} and that of the "
        f"prior {prior:.4g}; expected less than {enough:g} of it. Check that the loss depends on what adapt uses, and "
        "that adapt uses the support set. For slower learners give training_steps=; training_steps=0 omits this check"
    )


def _errors(case: LearnerCase, learner: Any, tasks: Tasks) -> tuple[float, float]:
    """Return the errors of adapted predictions and of the prior.

    The error is the mean squared error; for classes, one minus the probability of the right class.
    """
    learner.eval()
    errors = []
    for options in ({}, {"steps": 0}):
        belief = case.adapt(learner, tasks.support, **options)(tasks.query.x)
        real = tasks.query.real()
        if hasattr(belief, "probs"):
            off = 1 - belief.log_prob(tasks.query.clean().y).exp()
        else:
            off = (belief.mean - tasks.query.clean().y).square().flatten(2).mean(2)
        errors.append(off[real].mean().item())
    learner.train()
    return errors[0], errors[1]


def a_linear_rule_gives_the_same_on_low_rank_weights(case: LearnerCase) -> None:
    """A rule with `linear = True` gives the same steps on low-rank weights (docs/design.md, The inner loop)."""
    learner = case.learner()
    rule: Any = getattr(getattr(learner, "inner", None), "rule", None)
    if not isinstance(learner, MAML) or not rule.linear or not one_rate(rule.lr) or learner.options.get("implicit"):
        skip("its weights are never low-rank")
    options = {k: v for k, v in learner.config().items() if k not in ("engine", "lr", "rule")}
    tasks = case.tasks()
    whole, low = (
        type(learner)(**options, rule=rule, engine=engine).meta_loss(tasks) for engine in ("batched", "lowrank")
    )
    what = "meta_loss differs with low-rank weights"
    cure = "a rule whose entries have factors of their own, or that is not a sum, has linear = False"
    expect_close(low, whole, what, cure)


def create_graph_reaches_the_parameters(case: LearnerCase) -> None:
    """`adapt(..., create_graph=True)` keeps the graph back to the meta-parameters (docs/design.md, Learner)."""
    learner, tasks = case.learner(), case.tasks()
    learned = parameters(learner)
    if not learned:
        skip("it has no parameters to learn")
    mean = case.adapt(learner, tasks.support, create_graph=True)(tasks.query.x).mean
    expect(mean.requires_grad, "predictions after adapt(create_graph=True) have no graph: something is detached")
    found = torch.autograd.grad(mean.square().sum(), learned, allow_unused=True)
    reached = any(g is not None and bool(g.any()) for g in found)
    expect(reached, "predictions after adapt(create_graph=True) depend on none of the parameters")

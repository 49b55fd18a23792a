"""Properties of a learner with respect to support sets: their order, size, padding and union.

The contract is in docs/design.md, "The public contract".
"""

from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.data import Examples, Tasks
from quickstudy.gradient.maml import MAML
from quickstudy.learner import Predictive
from quickstudy.testing.checks import skip
from quickstudy.testing.comparing import expect, expect_close, expect_raises
from quickstudy.testing.learner_case import LearnerCase, cut, gradient, longer, loss, reordered, rest

WRONG = (ValueError, TypeError)
MASK = "mask the points with examples.mask (examples.real()), or fill the padding with zeros by examples.clean()"


def the_order_of_the_support_set_does_not_matter(case: LearnerCase) -> None:
    """A support set is a set (docs/design.md, Learner)."""
    learner, tasks = case.learner(), case.tasks()
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    predicted = case.adapt(learner, tasks.support)(tasks.query.x).mean
    shuffled = case.adapt(learner, reordered(tasks.support, order))(tasks.query.x).mean
    what = "predictions changed when the support points came in another order"
    expect_close(shuffled, predicted, what, "combine points by sums, means or attention, without their position")


def padding_changes_nothing(case: LearnerCase) -> None:
    """Padding may contain anything, NaN included, and has no effect (docs/design.md, Padding)."""
    learner, tasks = case.learner(), case.tasks()
    padded = Tasks(longer(tasks.support, 3), longer(tasks.query, 5))
    only_support, only_query = Tasks(padded.support, tasks.query), Tasks(tasks.support, padded.query)
    wanted = loss(learner, tasks)
    for part, with_padding in (("support", only_support), ("query", only_query), ("support and query", padded)):
        what = f"meta_loss changed when NaN padding was added to the {part} set"
        expect_close(loss(learner, with_padding), wanted, what, MASK)
    what = "the gradient of meta_loss changed when NaN padding was added, though its value did not"
    cure = "fill the padding by examples.clean() before any arithmetic: a mask after it lets 0 * NaN into the gradient"
    expect_close(gradient(learner, padded), gradient(learner, tasks), what, cure)
    predicted = case.adapt(learner, tasks.support)(tasks.query.x).mean
    found = case.adapt(learner, padded.support)(tasks.query.x).mean
    expect_close(found, predicted, "predictions changed when NaN padding was added to the support set", MASK)


def tasks_of_unequal_sizes_are_as_each_alone(case: LearnerCase) -> None:
    """With masks, results of a task do not depend on other tasks or on padding (docs/design.md, Padding)."""
    learner, tasks = case.learner(), case.tasks()
    sizes, asked = [0, 3, 6], [4, 1, 2]
    unequal = Tasks(cut(tasks.support, sizes), cut(tasks.query, asked))
    together = case.adapt(learner, unequal.support)(tasks.query.x).mean
    draws = case.draws_in_adapt(learner, tasks)
    for i, size in enumerate(sizes):
        # random numbers of a task depend on its place in the batch: if there are any, compare within the whole batch
        place = slice(None) if draws else slice(i, i + 1)
        alone = case.adapt(learner, tasks.support.select(place).first(size))(tasks.query.x[place]).mean
        what = f"the prediction for a task with {size} support points differs where others have more, and it is padded"
        expect_close(together[i], alone[i if draws else 0], what, MASK)
    if not case.draws_in_loss(learner, tasks):
        single = [
            loss(learner, Tasks(tasks.support.select(i).first(n), tasks.query.select(i).first(m)))
            for i, (n, m) in enumerate(zip(sizes, asked, strict=True))
        ]
        what = "meta_loss of tasks with unequal numbers of points is not the mean of each task's own"
        cure = "take the mean over each task's real query points (sum / query.sizes()), then the mean over tasks"
        expect_close(loss(learner, unequal), torch.stack(single).mean(), what, cure)
    finite = bool(gradient(learner, unequal).isfinite().all())
    expect(finite, f"the gradient of meta_loss is not finite where tasks have {sizes} support points", MASK)


def a_batch_is_a_loop_over_its_tasks(case: LearnerCase) -> None:
    """Tasks are independent: a task's prediction and loss are the same in any batch (docs/design.md, Learner)."""
    learner, tasks = case.learner(), case.tasks()
    predictor = case.adapt(learner, tasks.support)
    together = predictor(tasks.query.x)
    cure = "keep the axis of tasks apart from that of points: no mean, normalisation or attention over axis 0"
    others = case.tasks(seed=1)
    mixed = Examples(*(_middle(a, b) for a, b in zip(tasks.support, others.support, strict=True)))
    found = case.adapt(learner, mixed)(tasks.query.x).mean[1]
    expect_close(found, together.mean[1], "the prediction for task 1 changed with the support sets of 0 and 2", cure)
    for i in range(tasks.num_tasks):
        _check_module(case, predictor, together, tasks, i)
    if not case.draws_in_adapt(learner, tasks):
        alone = case.adapt(learner, tasks.support.select(2))(tasks.query.x[2:]).mean
        expect_close(alone[0], together.mean[2], "the prediction for task 2 differs from that in a batch of one", cure)
    if not case.draws_in_loss(learner, tasks):
        single = torch.stack([loss(learner, tasks.select(i)) for i in range(tasks.num_tasks)])
        what = "meta_loss of 3 tasks is not the mean of the losses of each"
        expect_close(loss(learner, tasks), single.mean(), what, "return losses.mean() over tasks, not their sum")


def _middle(one: Tensor | None, other: Tensor | None) -> Any:
    """Return the tasks of `other` with the middle one replaced by that of `one`."""
    if one is None or other is None:
        return one
    return torch.cat([other[:1], one[1:2], other[2:]])


def _check_module(case: LearnerCase, predictor: Any, together: Predictive, tasks: Tasks, i: int) -> None:
    """Check that `predictor.task(i)` predicts as the predictor does, if it is implemented."""
    try:
        module = predictor.task(i)
    except NotImplementedError:
        return
    expect(isinstance(module, nn.Module), f"task({i}) is a {type(module).__name__}; expected a torch.nn.Module")
    found, wanted = module(tasks.query.x[i]), together.mean[i]
    if hasattr(together, "probs"):
        agrees = any(torch.allclose(p, wanted, atol=1e-6) for p in (found, found.softmax(1)))
        expect(agrees, f"task({i}) gives other class probabilities (or logits) than the predictor's probs[{i}]")
        return
    what = f"task({i})(x[{i}]) differs from the predictor's mean[{i}]"
    expect_close(found[:, : wanted.shape[1]], wanted, what, "build the module from the parameters adapted to that task")


def a_prediction_does_not_depend_on_other_query_points(case: LearnerCase) -> None:
    """In eval mode a prediction depends only on the support set and its own input (docs/design.md, BatchNorm)."""
    learner, tasks = case.learner(), case.tasks()
    predictor = case.adapt(learner, tasks.support)
    x = tasks.query.x
    what = "the prediction at a point changed when other query points were left out"
    cure = (
        "take no statistics over axis 1 of x; if query points should help to predict each other, skip this property "
        "and evaluate with transductive=True"
    )
    expect_close(predictor(x[:, :2]).mean, predictor(x).mean[:, :2], what, cure)


def appending_is_adapting_to_the_union(case: LearnerCase) -> None:
    """`append(examples)` is the predictor for the union (docs/design.md, Predictor)."""
    learner, tasks = case.learner(), case.tasks()
    first, more = tasks.support.first(2), rest(tasks.support, 2)
    predictor = case.adapt(learner, first)
    before = predictor(tasks.query.x).mean
    grown, whole = predictor.append(more), case.adapt(learner, tasks.support)
    wanted = whole(tasks.query.x).mean
    cure = "keep what adapt kept of the support set, and adapt to support.append(examples), or add to running sums"
    what = "predictions after append differ from those of adapt(union)"
    expect_close(grown(tasks.query.x).mean, wanted, what, cure)
    padded = case.adapt(learner, first).append(longer(more, 2))
    what = "predictions changed when NaN padding was added to what is appended"
    expect_close(padded(tasks.query.x).mean, wanted, what, MASK)
    what = "append changed the predictor that it was called on"
    expect_close(predictor(tasks.query.x).mean, before, what, "return a new predictor, and leave the old one as it is")


def zero_steps_and_an_empty_support_set_are_the_prior(case: LearnerCase) -> None:
    """`steps=0` and an empty support set are allowed, and are the prior (docs/design.md, Learner)."""
    learner, tasks = case.learner(), case.tasks()
    empty = case.adapt(learner, tasks.support.first(0))(tasks.query.x).mean
    finite = bool(empty.isfinite().all())
    expect(finite, "predictions from an empty support set are not finite: a mean over no points? Divide by at least 1")
    zero = case.adapt(learner, tasks.support, steps=0)(tasks.query.x).mean
    what = "predictions of adapt(support, steps=0) differ from those with an empty support set"
    expect_close(zero, empty, what, "where steps is 0, adapt to support.first(0)")
    found = loss(learner, Tasks(tasks.support.first(0), tasks.query))
    expect(found.isfinite(), f"meta_loss with empty support sets is {found.item()}; expected a finite number")
    if isinstance(learner, MAML):
        wanted = learner.network(tasks.query.x[0])
        if not hasattr(case.adapt(learner, tasks.support)(tasks.query.x), "probs"):
            what = "the prior of a MAML is not its own network"
            expect_close(empty[0], wanted[:, : empty.shape[2]], what, "start inner steps from the network's parameters")


def one_support_point_is_enough(case: LearnerCase) -> None:
    """A support set may have a single point (docs/design.md, Examples)."""
    _check_size(case, 1)


def a_support_set_may_be_large(case: LearnerCase) -> None:
    """A support set may have many points (docs/design.md, Examples)."""
    _check_size(case, case.many_points)


def _check_size(case: LearnerCase, points: int) -> None:
    learner, tasks = case.learner(), case.tasks(1, support=points, query=points)
    found = loss(learner, tasks)
    expect(found.isfinite(), f"meta_loss is {found.item()} where a task has {points} support and query points")
    x = tasks.query.x
    mean = case.adapt(learner, tasks.support)(x).mean
    expect(mean.shape[:2] == x.shape[:2], f"predictions have shape {list(mean.shape)} for x of shape {list(x.shape)}")
    expect(mean.isfinite().all(), f"predictions are not finite after {points} support points")


def broken_data_are_refused(case: LearnerCase) -> None:
    """NaN at a real point, and tasks without query points, raise an error (docs/design.md, Habits)."""
    learner, tasks = case.learner(), case.tasks()
    support, query = (Examples(e.x, e.y, None) for e in tasks[:2])
    if not support.x.is_floating_point():
        skip("its inputs are integers")
    spoiled = Examples(support.x.index_fill(1, torch.tensor([2], device=support.x.device), float("nan")), support.y)
    cases: dict[str, Any] = {
        "meta_loss with NaN at a real support point": lambda: loss(learner, Tasks(spoiled, query)),
        "adapt with NaN at a real support point": lambda: case.adapt(learner, spoiled),
        "meta_loss without query points": lambda: loss(learner, Tasks(support, query.first(0))),
        "meta_loss of a task without real query points": lambda: loss(learner, Tasks(support, cut(query, [4, 0, 4]))),
    }
    for what, call in cases.items():
        expect_raises(
            call, WRONG, what, "call quickstudy.checks.check_tasks(tasks), and check_examples(support, 'support')"
        )
    predictor = case.adapt(learner, support)
    cure = "call quickstudy.checks.check_inputs(x, support) in the predictor"
    expect_raises(lambda: predictor(query.x[:1]), WRONG, "a predictor for 3 tasks called with inputs of 1", cure)

"""`check_learner`: checks of every property of the contract on a learner."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from quickstudy.data import Examples, Tasks
from quickstudy.learner import Learner, Predictive, Predictor, TaskFamily, check_adapt
from quickstudy.testing import learner_belief, learner_loss, learner_state, learner_support
from quickstudy.testing.checks import Check, NotPrepared, Property, checks_of, error_text, report_of, settings
from quickstudy.testing.comparing import expect, expect_raises, expect_shape, expect_tensor
from quickstudy.testing.learner_case import LearnerCase, Lines, longer, loss
from quickstudy.testing.report import Report


def check_learner(
    make: Callable[[], nn.Module],
    *,
    family: TaskFamily | None = None,
    skip: Mapping[str, str] | None = None,
    training_steps: int = 120,
    many_points: int = 1000,
    device: torch.device | str = "cpu",
    raises: bool = True,
) -> Report:
    """Check every property of a learner on a class of your own.

    All checks run even if some fail, in float64, and take a few seconds for a small learner. The random numbers of
    torch, numpy and Python are restored at the end.

    Args:
        make: builds a new learner at each call: its class, or `lambda: MyLearner(width=16)`. A small and smooth network
            is best: with 16 units and tanh, finite differences are exact to many digits.
        family, skip, training_steps, many_points, device: see `learner_checks`.
        raises: raise `ContractError` if a property fails; False only returns the report.

    Returns:
        The report: `print` shows it as a table.

    Raises:
        ContractError: an AssertionError that lists every property that fails, and why.
        TypeError, ValueError: for bad arguments.

    >>> import quickstudy as qs
    >>> report = check_learner(lambda: qs.CNP(width=16), training_steps=40, raises=False)
    >>> report.passed, len(report.rows) > 15
    (True, True)
    """
    checks = learner_checks(
        make, family=family, skip=skip, training_steps=training_steps, many_points=many_points, device=device
    )
    return report_of(make, checks, raises=raises)


def learner_checks(
    make: Callable[[], nn.Module],
    *,
    family: TaskFamily | None = None,
    skip: Mapping[str, str] | None = None,
    training_steps: int = 120,
    many_points: int = 1000,
    device: torch.device | str = "cpu",
) -> tuple[Check, ...]:
    """Return the properties of a learner, each as a check, for `pytest.mark.parametrize("check", ..., ids=str)`.

    Args:
        make: builds a new learner at each call.
        family: the tasks to check it on; by default lines y = a x + b, with one input and one output. (Checks draw 6
            support and 4 query points, and also 1 and `many_points`; a family with fewer points may mask the others.)
        skip: reasons for properties that do not hold by definition, by their names: a first-order method has
            `{"gradients equal finite differences": "first order: the second derivative is left out"}`.
        training_steps: largest number of steps of Adam (rate 0.01) after which adapting must beat the prior. 0 omits
            this check.
        many_points: number of points in the largest support set.
        device: device of learner and tasks.

    >>> import quickstudy as qs
    >>> checks = learner_checks(lambda: qs.CNP(width=16))
    >>> print(checks[1])
    the order of the support set does not matter
    >>> checks[1]()
    """
    if isinstance(make, nn.Module) or not callable(make):
        raise TypeError(
            f"make is a {type(make).__name__}; expected a function without arguments that builds a new learner: "
            f"lambda: {type(make).__name__}(...)"
        )
    place = torch.device(device)
    case = LearnerCase(make, Lines() if family is None else family, place, training_steps, many_points)
    return checks_of(PROPERTIES, case, skip, lambda: settings(torch.float64, place))


def the_methods_and_shapes_are_those_of_the_contract(case: LearnerCase) -> None:
    """`meta_loss` and `adapt` return what the contract says (docs/design.md, Learner, Predictor and Predictive)."""
    learner = _built(case)
    try:
        check_adapt(learner, "steps", "create_graph", "generator")
    except TypeError as error:
        raise NotPrepared(str(error)) from error
    tasks = case.tasks()
    try:
        predictor = case.adapt(learner, tasks.support)
        belief = predictor(tasks.query.x)
        _check_mean(belief, tasks.query)
        found = loss(learner, tasks)
    except AssertionError as error:
        raise NotPrepared(str(error)) from error
    except Exception as error:
        raise NotPrepared(f"on tasks with x {list(tasks.support.x.shape)}, {error_text(error)}") from error
    expect_shape(found, (), "meta_loss(tasks)")
    expect(found.requires_grad, "meta_loss(tasks) has no graph back to the parameters: something is detached")
    missing = [name for name in ("append", "functions", "task") if not hasattr(predictor, name)]
    expect(not missing, f"the predictor lacks {', '.join(missing)}; a method may raise NotImplementedError")
    expect(isinstance(predictor, Predictor), "the predictor does not fit quickstudy.learner.Predictor")
    _check_belief(case, belief, tasks)


def _built(case: LearnerCase) -> Any:
    try:
        first, second = case.make(), case.make()
    except Exception as error:
        raise NotPrepared(f"make() {error_text(error)}") from error
    if not isinstance(first, nn.Module):
        raise NotPrepared(f"make() returned a {type(first).__name__}; expected a torch.nn.Module")
    if first is second:
        raise NotPrepared("make() returned the same learner twice; build a new one at each call, inside the function")
    if not isinstance(first, Learner):
        missing = [name for name in ("meta_loss", "adapt") if not hasattr(first, name)]
        name = type(first).__name__
        raise NotPrepared(f"{name} has no {' and no '.join(missing)}; a learner has meta_loss and adapt")
    return case.learner(training=True)


def _check_mean(belief: Any, query: Examples) -> None:
    """Check that the mean has the shape of the outputs, or of class probabilities."""
    expect_tensor(belief.mean, "mean")
    if query.y.is_floating_point():
        expect_shape(belief.mean, query.y.shape, "mean")
        return
    expect(hasattr(belief, "probs"), "a prediction of class labels has no probs; see quickstudy.predictive.Categorical")
    classes, (points, positions) = belief.probs.shape[2], (query.y.shape[:2], query.y.shape[2:])
    expect_shape(belief.mean, (*points, classes, *positions), "mean (of classes: their probabilities)")


def _check_belief(case: LearnerCase, belief: Any, tasks: Tasks) -> None:
    labels = not tasks.query.y.is_floating_point()
    y, shape = tasks.query.clean().y, (tasks.num_tasks, tasks.query.num_points)
    if labels:
        probs = belief.probs
        whole = torch.allclose(probs.sum(2), torch.ones_like(probs[:, :, 0]))
        expect(whole and bool((probs >= 0).all()), "probs are not probabilities that sum to 1 over axis 2")
    if not _has_density(belief):
        for name in ("sample", "log_prob"):
            _expect_no_density(belief, name, y)
        return
    expect(isinstance(belief, Predictive), "the prediction lacks one of mean, variance, sample, log_prob")
    expect_shape(belief.variance, belief.mean.shape, "variance")
    if not labels:
        expect((belief.variance > 0).all(), "variance is not positive everywhere: add a floor, or use softplus or exp")
    expect_shape(belief.sample(7, case.generator(0)), (7, *y.shape), "sample(7)")
    expect_shape(belief.log_prob(y), shape, "log_prob(y)")
    expect_shape(belief.log_prob(y, joint=True), shape[:1], "log_prob(y, joint=True)")
    some = torch.arange(shape[1], device=y.device) < 1
    junk = longer(Examples(tasks.query.x, y).first(1), shape[1] - 1).y
    masked = belief.log_prob(junk, mask=some.expand(shape))
    expect(not masked[:, 1:].any(), "log_prob(y, mask) is not 0 where the mask is False, or NaN in y reached it")
    cure = "leave masked points out of the joint density, whatever y holds there"
    joint = belief.log_prob(junk, mask=some.expand(shape), joint=True)
    expect(bool(joint.isfinite().all()), "log_prob(y, mask, joint=True) is not finite where masked y are NaN", cure)


def _has_density(belief: Any) -> bool:
    try:
        return belief.variance is not None
    except NotImplementedError as error:
        expect(str(error), "variance raises NotImplementedError without a message; say what the learner lacks")
        return False


def _expect_no_density(belief: Any, name: str, y: Any) -> None:
    call = (lambda: belief.sample(2)) if name == "sample" else (lambda: belief.log_prob(y))
    cure = "return quickstudy.predictive.Point, which raises it, or add a likelihood="
    expect_raises(call, NotImplementedError, f"{name}() of a prediction without a variance", cure)


PROPERTIES: tuple[Property, ...] = (
    the_methods_and_shapes_are_those_of_the_contract,
    learner_support.the_order_of_the_support_set_does_not_matter,
    learner_support.padding_changes_nothing,
    learner_support.tasks_of_unequal_sizes_are_as_each_alone,
    learner_support.a_batch_is_a_loop_over_its_tasks,
    learner_support.a_prediction_does_not_depend_on_other_query_points,
    learner_support.appending_is_adapting_to_the_union,
    learner_support.zero_steps_and_an_empty_support_set_are_the_prior,
    learner_support.one_support_point_is_enough,
    learner_support.a_support_set_may_be_large,
    learner_support.broken_data_are_refused,
    learner_belief.quantiles_invert_the_distribution_function,
    learner_loss.the_loss_is_a_mean_over_query_points,
    learner_loss.gradients_equal_finite_differences,
    learner_loss.torch_func_gives_the_same_gradient,
    learner_loss.create_graph_reaches_the_parameters,
    learner_loss.a_linear_rule_gives_the_same_on_low_rank_weights,
    learner_loss.training_beats_the_prior,
    learner_state.equal_seeds_give_equal_results,
    learner_state.adapting_and_predicting_change_nothing,
    learner_state.evaluation_mode_writes_nothing,
    learner_state.weights_survive_state_dict,
    learner_state.a_description_rebuilds_it,
    learner_state.a_saved_learner_is_loaded_as_it_was,
    learner_state.types_follow_the_learner,
    learner_state.functions_are_consistent_or_refused,
    learner_state.training_progress_is_accepted,
)

"""Properties of a learner's state: weights, modes, random numbers, descriptions, files.

The contract is in docs/design.md, "The public contract".
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

import quickstudy
from quickstudy.data import Tasks
from quickstudy.runs.rebuild.spec import from_spec, to_spec
from quickstudy.testing.checks import skip
from quickstudy.testing.comparing import expect, expect_close, expect_equal, failing
from quickstudy.testing.learner_case import LearnerCase, loss

UNREGISTERED = "register_buffer(...) or nn.Parameter for tensors, nn.ModuleList in place of a list of modules"


def equal_seeds_give_equal_results(case: LearnerCase) -> None:
    """Losses depend on torch's seed, and predictions on the generator's (docs/design.md, Determinism)."""
    learner, tasks = case.learner(training=True), case.tasks()
    what = "meta_loss gave two values after the same torch.manual_seed"
    cure = "draw from torch's random numbers (quickstudy.chance.normal), neither numpy's nor Python's"
    expect_equal(loss(learner, tasks), loss(learner, tasks), what, cure)
    learner.eval()
    one, other = (case.adapt(learner, tasks.support)(tasks.query.x).mean for _ in range(2))
    what = "adapt gave two predictions with equal generators"
    expect_equal(one, other, what, "draw everything random in adapt from generator=")
    predictor = case.adapt(learner, tasks.support)
    what = "a predictor gave two means for the same x"
    cure = "draw what is random once, in adapt, and keep it in the predictor"
    expect_equal(predictor(tasks.query.x).mean, predictor(tasks.query.x).mean, what, cure)


def adapting_and_predicting_change_nothing(case: LearnerCase) -> None:
    """`adapt` does not change the learner, its modes and gradients, or the caller's data (docs/design.md, Habits)."""
    for training in (True, False):
        learner, tasks = case.learner(training=training), case.tasks()
        state, modes = {k: v.clone() for k, v in learner.state_dict().items()}, _modes(learner)
        given = [e.clone() for e in (*tasks.support[:2], *tasks.query[:2])]
        predictor = case.adapt(learner, tasks.support)
        predictor(tasks.query.x)
        cure = "adapt copies, and leave the learner's own parameters and buffers as they are"
        _expect_state(learner, state, "adapt changed", cure)
        _expect_modes(learner, modes, "adapt")
        touched = [k for k, p in learner.named_parameters() if p.grad is not None]
        expect(not touched, f"adapt left gradients in {', '.join(touched)}; use torch.autograd.grad, not .backward()")
        for before, now in zip(given, (*tasks.support[:2], *tasks.query[:2]), strict=True):
            expect_equal(now, before, "adapt changed the caller's tensors", "leave in-place operations out")


def evaluation_mode_writes_nothing(case: LearnerCase) -> None:
    """In eval mode `meta_loss` writes no statistics, and it never switches modes (docs/design.md, BatchNorm)."""
    for training in (True, False):
        learner, tasks = case.learner(training=training), case.tasks()
        state, modes = {k: v.clone() for k, v in learner.state_dict().items()}, _modes(learner)
        loss(learner, tasks)
        _expect_modes(learner, modes, "meta_loss")
        if not training:
            cure = "write running statistics only where module.training is True"
            _expect_state(learner, state, "meta_loss in eval mode changed", cure)


def _expect_state(learner: nn.Module, before: dict[str, Any], what: str, cure: str) -> None:
    for name, now in learner.state_dict().items():
        if isinstance(now, torch.Tensor):
            expect_equal(now, before[name], f"{what} {name}", cure)


def _modes(learner: nn.Module) -> dict[str, bool]:
    return {name or "the learner": module.training for name, module in learner.named_modules()}


def _expect_modes(learner: nn.Module, before: dict[str, bool], who: str) -> None:
    changed = [name for name, training in _modes(learner).items() if before.get(name, training) != training]
    expect(
        not changed,
        f"{who} switched {', '.join(changed[:3])} between training and eval mode; restore the mode afterwards",
    )


def weights_survive_state_dict(case: LearnerCase) -> None:
    """A new learner with the `state_dict` of another is the same learner (docs/design.md, Runs)."""
    learner, tasks = case.learner(), case.tasks()
    copy = _like(case.learner(), learner)
    copy.load_state_dict(learner.state_dict())
    _expect_same(case, copy, learner, tasks, "after load_state_dict(state_dict()) of another", UNREGISTERED)


def a_description_rebuilds_it(case: LearnerCase) -> None:
    """A learner of quickstudy's own classes is rebuilt from its `config()` as JSON (docs/design.md, Runs)."""
    learner, tasks = case.learner(), case.tasks()
    try:
        text = json.dumps(to_spec(learner))
    except TypeError as error:
        cure = "return numbers, texts, lists and modules"
        raise AssertionError(failing(f"config() holds what JSON cannot: {error}", cure)) from error
    own = _foreign(json.loads(text))
    if own:
        skip(f"{', '.join(own)} is code of your own, which no file holds; give it to quickstudy.load as learner=")
    copy = _like(from_spec(json.loads(text)), learner).to(case.device, torch.get_default_dtype()).eval()
    expect(type(copy) is type(learner), f"its description builds a {type(copy).__name__}")
    copy.load_state_dict(learner.state_dict())
    _expect_same(case, copy, learner, tasks, "rebuilt from its config()", "config() returns every constructor argument")


def a_saved_learner_is_loaded_as_it_was(case: LearnerCase) -> None:
    """`quickstudy.save` and `quickstudy.load` give the same learner (docs/design.md, Runs)."""
    learner, tasks = case.learner(), case.tasks()
    with tempfile.TemporaryDirectory() as folder:
        path = quickstudy.save(learner, Path(folder) / "learner")
        built = case.learner() if _foreign(to_spec(learner)) else None
        copy = _like(quickstudy.load(path, learner=built, device=str(case.device)), learner)
    _expect_same(case, copy, learner, tasks, "after save and load", UNREGISTERED)


def _like(copy: Any, learner: Any) -> Any:
    """Set the training progress of the copy to that of the learner, as it is not in the `state_dict`."""
    if hasattr(learner, "progress") and hasattr(learner, "anneal"):
        copy.anneal(learner.progress)
    return copy


def _foreign(spec: Any, name: str = "the learner") -> list[str]:
    """Return the parts of a description that quickstudy cannot build."""
    if not isinstance(spec, dict):
        return []
    if "class" in spec and spec["class"] is None:
        return [f"{name} ({spec.get('foreign')})"]
    return [found for key, value in spec.items() for found in _foreign(value, key)]


def _expect_same(case: LearnerCase, copy: Any, learner: Any, tasks: Tasks, when: str, cure: str) -> None:
    expect_equal(loss(copy, tasks), loss(learner, tasks), f"meta_loss differs {when}", cure)
    predicted = case.adapt(learner, tasks.support)(tasks.query.x).mean
    found = case.adapt(copy, tasks.support)(tasks.query.x).mean
    expect_equal(found, predicted, f"predictions differ {when}", cure)


def types_follow_the_learner(case: LearnerCase) -> None:
    """`learner.to(dtype)` casts all of it, and results have the type of the data (docs/design.md, Learner)."""
    for dtype in (torch.float64, torch.float32):
        learner, tasks = case.learner().to(dtype), case.tasks().to(dtype=dtype)
        cure = f"make tensors like another: x.new_zeros(...), or dtype=x.dtype; {UNREGISTERED}"
        try:
            found = loss(learner, tasks)
            mean = case.adapt(learner, tasks.support)(tasks.query.x).mean
        except (RuntimeError, TypeError) as error:
            words = f"learner and data of {dtype}: {type(error).__name__}: {error}"
            raise AssertionError(failing(words, cure)) from error
        for name, value in (("meta_loss", found), ("the predicted mean", mean)):
            expect(value.dtype == dtype, f"{name} is {value.dtype} where learner and data are {dtype}", cure)
            expect(value.device.type == case.device.type, f"{name} is on {value.device}, the learner on {case.device}")


def functions_are_consistent_or_refused(case: LearnerCase) -> None:
    """`functions(n)` gives n functions, each the same at every call, or raises NotImplementedError
    (docs/design.md, Predictor)."""
    learner, tasks = case.learner(), case.tasks()
    predictor = case.adapt(learner, tasks.support)
    x, shape = tasks.query.x, tuple(predictor(tasks.query.x).mean.shape)
    try:
        functions = predictor.functions(5, case.generator(0))
    except NotImplementedError as error:
        expect("function" in str(error), "functions() raises without a message that says it has no functions")
        return
    values = functions(x)
    expect(tuple(values.shape) == (5, *shape), f"functions(x) has shape {list(values.shape)}; expected {[5, *shape]}")
    members = len(functions) == len(list(functions)) == 5
    expect(members, "functions(5) has not 5 members; return quickstudy.learner.Functions")
    cure = "draw what tells functions apart once, in functions(n, generator), and nothing in their calls"
    expect_close(functions[2](x), values[2], "functions[2](x) differs from functions(x)[2]", cure)
    what = "values of the functions changed when fewer inputs were asked for"
    expect_close(functions(x[:, :2]), values[:, :, :2], what, cure)
    spread, whole = values.std(0), bool((values == values.round()).all())  # labels and counts may agree by chance
    told = (spread.max() if whole else spread.min()) > 0
    expect(told, "the 5 functions are the same at some input: draw each independently")
    again = predictor.functions(5, case.generator(0))(x)
    expect_equal(again, values, "functions differ with equal generators", "draw only from generator=")


def training_progress_is_accepted(case: LearnerCase) -> None:
    """`anneal(progress)` takes 0 to 1, and the loss stays finite (docs/design.md, Learner)."""
    learner: Any = case.learner(training=True)
    if not hasattr(learner, "anneal"):
        skip("it has no anneal(progress), so nothing changes while it trains")
    tasks = case.tasks()
    for progress in (0.0, 0.5, 1.0):
        learner.anneal(progress)
        found = loss(learner, tasks)
        expect(found.isfinite(), f"meta_loss is {found.item()} after anneal({progress})")

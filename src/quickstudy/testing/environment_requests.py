"""Properties of an environment's argument checks: bad arguments raise the right errors.

The contract is in docs/design.md, "The public contract"; its "Habits" describe messages.
"""

import math
from typing import Any

import torch

from quickstudy.rl.environment import choices_of
from quickstudy.testing.checks import skip
from quickstudy.testing.comparing import expect, expect_raises
from quickstudy.testing.environment_case import TASKS, EnvironmentCase, actions_for, is_continuous, mask_of, seeded

ACTIONS = "call quickstudy.rl.envs.checks.check_action(name, action, num_tasks, num_envs, action_space) in step"
CHECKS = "call quickstudy.rl.envs.checks.check_tasks(name, tasks, shapes) in set_tasks"
KEPT = "num_tasks changed though set_tasks raised an error; check tasks before anything is stored"
EARLY = "raise RuntimeError, with what to call first"


def actions_beyond_their_bounds_are_clipped(case: EnvironmentCase) -> None:
    """The environment clips actions beyond the bounds of its Box, as policies have no bounds (docs/acting.md)."""
    env = case.ready()
    if not is_continuous(env):
        skip("its actions are discrete")
    env.reset(generator=seeded(9))
    for size in (3.0, 1e3):
        step = env.step(size * torch.sign(actions_for(env, 1)[0]))
        finite = bool(step.observation.isfinite().all() and step.reward.isfinite().all())
        expect(finite, f"an action of size {size:g} gave NaN or infinity; clip it: action.clamp(low, high)")


def a_step_too_early_is_refused(case: EnvironmentCase) -> None:
    """`step` before `reset`, and `reset` before `set_tasks`, raise RuntimeError (docs/design.md, Environment)."""
    env, other = case.make(), case.ready()
    action = actions_for(other, 1)[0]
    expect_raises(lambda: env.step(action), RuntimeError, "step before set_tasks and reset", EARLY)
    expect_raises(lambda: env.reset(), RuntimeError, "reset before set_tasks", EARLY)
    expect_raises(lambda: other.step(action), RuntimeError, "step before the first reset", EARLY)
    mask = mask_of(other, True)
    expect_raises(lambda: other.reset(mask), RuntimeError, "reset(mask) before the first reset()", EARLY)
    other.reset()
    other.set_tasks(case.tasks(other))
    what = "step after set_tasks without a reset"
    expect_raises(lambda: other.step(action), RuntimeError, what, f"forget the old episodes in set_tasks; {EARLY}")


def wrong_actions_are_refused(case: EnvironmentCase) -> None:
    """Actions of another type, shape or range raise an error (docs/design.md, Habits)."""
    env = case.ready()
    env.reset(generator=seeded(9))
    action = actions_for(env, 1)[0]
    expect_raises(lambda: env.step(action.tolist()), TypeError, "step with a list", ACTIONS)
    expect_raises(lambda: env.step(action[:1]), ValueError, f"step with actions for 1 of {TASKS} tasks", ACTIONS)
    if choices := choices_of(env.action_space):
        expect_raises(
            lambda: env.step(action.float()), TypeError, "step with real numbers as discrete actions", ACTIONS
        )
        beyond = action.clone()
        fewest = choices.index(min(choices))
        beyond.view(*action.shape[:2], -1)[1, -1, fewest] = min(choices)
        what = f"step with action {beyond[1, -1].tolist()} of {env.action_space}"
        expect_raises(lambda: env.step(beyond), ValueError, what, ACTIONS)
        return
    expect_raises(lambda: env.step(action.long()), TypeError, "step with integers as real actions", ACTIONS)
    env.step(action)
    spoiled = action.clone()
    spoiled[1, -1] = math.nan
    cure = "raise quickstudy.rl.EnvironmentFailure (quickstudy.rl.envs.failure) with task, environment, step and seed"
    expect_raises(lambda: env.step(spoiled), (RuntimeError, ValueError), "step with a NaN action", cure)


def tasks_that_are_not_finite_tensors_are_refused(case: EnvironmentCase) -> None:
    """`set_tasks` takes a dictionary of finite tensors (docs/design.md, Habits)."""
    env = case.make()
    tasks = case.tasks(env)
    wrong: dict[str, tuple[Any, type[Exception]]] = {
        "set_tasks with a list": ([tasks], TypeError),
        "set_tasks with an empty dictionary": ({}, ValueError),
    }
    name = next((k for k, v in tasks.items() if v.is_floating_point()), None)
    if name is not None:
        spoiled = tasks[name].clone()
        spoiled[1] = math.nan
        wrong[f"set_tasks where {name} of task 1 is NaN"] = ({**tasks, name: spoiled}, ValueError)
    for what, (given, kind) in wrong.items():
        _expect_tasks_raise(env, given, kind, what)
    expect(env.num_tasks == 0, KEPT)


def tasks_of_other_names_or_shapes_are_refused(case: EnvironmentCase) -> None:
    """A misspelt name raises an error instead of being ignored (docs/design.md, Habits)."""
    env = case.make()
    tasks = case.tasks(env)
    strange = {**tasks, "goat": torch.zeros(TASKS, device="cpu")}
    longer = {k: v[..., None] for k, v in tasks.items()}
    try:
        env.set_tasks(strange)
        env.set_tasks(longer)
    except (TypeError, ValueError, RuntimeError):
        env = case.make()
    else:
        skip("set_tasks takes dictionaries of any names and shapes")
    _expect_tasks_raise(env, strange, ValueError, "set_tasks with a tensor of another name, 'goat'")
    _expect_tasks_raise(env, longer, ValueError, "set_tasks with an axis too many")
    expect(env.num_tasks == 0, KEPT)


def _expect_tasks_raise(env: Any, given: Any, kind: type[Exception], what: str) -> None:
    expect_raises(lambda: env.set_tasks(given), kind, what, CHECKS)


def wrong_masks_are_refused(case: EnvironmentCase) -> None:
    """A mask is a bool tensor `[T, E]` (docs/design.md, Environment)."""
    env = case.ready()
    env.reset()
    shape = (TASKS, env.num_envs)
    wrong = {
        "a mask of real numbers": torch.ones(shape, device="cpu"),
        "a mask without the axis of tasks": torch.ones(env.num_envs, dtype=torch.bool, device="cpu"),
        "a list as mask": [True],
    }
    for name, mask in wrong.items():
        cure = f"expected a bool tensor [T, E] = {list(shape)}: check mask.dtype and mask.shape"
        expect_raises(lambda: env.reset(mask), ValueError, f"reset with {name}", cure)  # noqa: B023


def wrong_requests_are_refused(case: EnvironmentCase) -> None:
    """Bad counts, splits and generators raise an error (docs/design.md, Habits)."""
    env = case.make()
    cure = "call quickstudy.tasks.sampling.split_generator(num_tasks, 0, 1, split, generator)"
    expect_raises(lambda: env.sample_tasks(0), ValueError, "sample_tasks(0)", cure)
    expect_raises(lambda: env.sample_tasks(1, split="dev"), ValueError, "sample_tasks(1, split='dev')", cure)
    env.set_tasks(env.sample_tasks(1))
    cure = "call quickstudy.learner.check_generator(generator)"
    expect_raises(lambda: env.reset(generator=0), TypeError, "reset(generator=0)", cure)

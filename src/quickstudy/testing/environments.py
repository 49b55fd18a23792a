"""`check_environment`: checks of every property of the contract on an environment."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from torch import Tensor

from quickstudy.learner import SPLITS
from quickstudy.rl.environment import Environment, Step, home
from quickstudy.testing import environment_episodes, environment_requests
from quickstudy.testing.checks import (
    Check,
    NotPrepared,
    Property,
    checks_of,
    default_type,
    error_text,
    report_of,
    settings,
)
from quickstudy.testing.comparing import expect, expect_shape, failing, same_tensors
from quickstudy.testing.environment_case import (
    PARTS,
    TASKS,
    EnvironmentCase,
    actions_for,
    differing_part,
    mask_of,
    run,
    seeded,
)
from quickstudy.testing.report import Report

MEMBERS = ("num_envs", "horizon", "observation_space", "action_space", "num_tasks")
FEW = 8  # tasks of which none can be held out
METHODS = ("sample_tasks", "set_tasks", "reset", "step")


def check_environment(
    make: Callable[[], Environment], *, skip: Mapping[str, str] | None = None, raises: bool = True
) -> Report:
    """Check every property of an environment on a class of your own.

    All checks run even if some fail, and take about 40 episodes. The random numbers of torch, numpy and Python are
    restored at the end. Whether actions are discrete or continuous is read from `action_space`.

    Args:
        make: builds a new environment at each call, with no tasks set. A small one is best:
            `lambda: MyEnvironment(num_envs=4, horizon=8)`.
        skip: see `environment_checks`.
        raises: raise `ContractError` if a property fails; False only returns the report.

    Returns:
        The report: `print` shows it as a table.

    Raises:
        ContractError: an AssertionError that lists every property that fails, and why.
        TypeError, ValueError: for bad arguments.

    >>> import quickstudy as qs
    >>> check_environment(lambda: qs.rl.Navigation2D(num_envs=4, horizon=8)).passed
    True
    """
    return report_of(make, environment_checks(make, skip=skip), raises=raises)


def environment_checks(make: Callable[[], Environment], *, skip: Mapping[str, str] | None = None) -> tuple[Check, ...]:
    """Return the properties of an environment, each as a check, for `pytest.mark.parametrize("check", ..., ids=str)`.

    Args:
        make: builds a new environment at each call, with no tasks set.
        skip: reasons for properties that do not hold by definition, by their names.

    >>> import quickstudy as qs
    >>> checks = environment_checks(lambda: qs.rl.Bandit(num_envs=2, horizon=5))
    >>> print(checks[4])
    tasks do not meet
    >>> checks[4]()
    """
    if not callable(make):
        raise TypeError(
            f"make is a {type(make).__name__}; expected a function without arguments that builds a new environment: "
            f"lambda: {type(make).__name__}(...)"
        )
    return checks_of(PROPERTIES, EnvironmentCase(make), skip, lambda: settings(torch.float32, "cpu"))


def it_has_the_members_of_the_contract(case: EnvironmentCase) -> None:
    """Sizes, spaces and methods (docs/design.md, Environment)."""
    env = _built(case)
    missing = [name for name in (*MEMBERS, *METHODS) if not hasattr(env, name)]
    if missing:
        raise NotPrepared(f"{type(env).__name__} has no {', no '.join(missing)}; see quickstudy.rl.Environment")
    for name in ("num_envs", "horizon"):
        size = getattr(env, name)
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise NotPrepared(f"{name} is {size!r}; expected a whole number of at least 1")
    actions = env.action_space
    if not (
        isinstance(actions, Box)
        or (isinstance(actions, Discrete) and actions.start == 0)
        or (isinstance(actions, MultiDiscrete) and len(actions.shape) == 1 and not actions.start.any())
    ):
        raise NotPrepared(
            f"action_space is {actions}; expected gymnasium's Box, or a Discrete or MultiDiscrete (of one axis) that "
            "starts at 0"
        )
    if not isinstance(env.observation_space, Box):
        raise NotPrepared(f"observation_space is {env.observation_space}; expected gymnasium's Box of one environment")
    expect(env.num_tasks == 0, f"num_tasks is {env.num_tasks} before set_tasks; expected 0")
    try:
        env.set_tasks(env.sample_tasks(2, generator=seeded()))
        expect(env.num_tasks == 2, f"num_tasks is {env.num_tasks} after set_tasks with 2 tasks")
        begun = env.reset(generator=seeded())
        pair = isinstance(begun, tuple) and len(begun) == 2
        expect(pair, f"reset returned a {type(begun).__name__}; expected a tuple (observation, info)")
        run(env, actions_for(env))
    except Exception as error:
        raise NotPrepared(f"set_tasks, reset and {env.horizon} steps of 2 tasks: {error_text(error)}") from error


def _built(case: EnvironmentCase) -> Any:
    try:
        first, second = case.make(), case.make()
    except Exception as error:
        raise NotPrepared(f"make() {error_text(error)}") from error
    if first is second:
        raise NotPrepared(
            "make() returned the same environment twice; build a new one at each call, inside the function"
        )
    return first


def shapes_and_types_are_those_of_the_contract(case: EnvironmentCase) -> None:
    """Observations `[T, E, *do]`, rewards and flags `[T, E]`, in the default dtype (docs/design.md, Environment)."""
    for dtype in (torch.float32, torch.float64):
        with default_type(dtype):
            env = case.ready()
            observation, steps = run(env, actions_for(env))
        _check_observation(env, observation, dtype, "reset's observation")
        for step in steps:
            _check_step(env, step, dtype)


def _check_observation(env: Any, observation: Tensor, dtype: torch.dtype, name: str) -> None:
    expect_shape(observation, (TASKS, env.num_envs, *env.observation_space.shape), name)
    expect(observation.dtype == dtype, f"{name} is {observation.dtype} where torch's default is {dtype}")


def _check_step(env: Any, step: Any, dtype: torch.dtype) -> None:
    expect(isinstance(step, Step), f"step returned a {type(step).__name__}; expected quickstudy.rl.Step(...)")
    shape = (TASKS, env.num_envs)
    _check_observation(env, step.observation, dtype, "step's observation")
    expect(step.observation.is_contiguous(), "step's observation is not contiguous; add .contiguous()")
    expect_shape(step.reward, shape, "reward")
    expect(step.reward.dtype == dtype, f"reward is {step.reward.dtype} where torch's default is {dtype}")
    expect(step.reward.isfinite().all(), "reward is NaN or infinite")
    for name in ("terminated", "truncated"):
        flag = getattr(step, name)
        expect_shape(flag, shape, name)
        expect(flag.dtype == torch.bool, f"{name} is {flag.dtype}; expected torch.bool")
    expect(isinstance(step.info, dict), f"info is a {type(step.info).__name__}; expected a dictionary")


def observations_lie_in_their_space(case: EnvironmentCase) -> None:
    """Every observation is in `observation_space` (docs/design.md, Environment)."""
    env = case.ready()
    space = env.observation_space
    observation, steps = run(env, actions_for(env))
    for i, seen in enumerate((observation, *(step.observation for step in steps))):
        for one in seen.flatten(0, 1).cpu().numpy():
            words = f"after {i} steps an observation {one.tolist()} of {one.dtype} is not in observation_space {space}"
            cure = "its bounds must hold what is observed, and its dtype torch's default dtype when it is built"
            expect(space.contains(one), words, cure)


def tasks_are_drawn(case: EnvironmentCase) -> None:
    """`sample_tasks` depends on the seed and the split, and on nothing else (docs/design.md, Environment)."""
    for dtype in (torch.float32, torch.float64):
        with default_type(dtype):
            _check_tasks(case, dtype)


def _check_tasks(case: EnvironmentCase, dtype: torch.dtype) -> None:
    env, seen = case.make(), list[tuple[str, dict[str, Tensor]]]()
    for split in SPLITS:
        for seed in (0, 1):
            tasks = env.sample_tasks(40, split=split, generator=seeded(seed))
            again = case.make().sample_tasks(40, split=split, generator=seeded(seed))
            expect(
                isinstance(tasks, dict) and tasks, f"sample_tasks returned {tasks!r}; expected a dictionary of tensors"
            )
            for name, value in tasks.items():
                expect_shape(value, (40, *value.shape[1:]), f"{name} of 40 tasks")
                wrong = value.is_floating_point() and value.dtype != dtype
                expect(not wrong, f"{name} of the tasks is {value.dtype} where torch's default is {dtype}")
            who = f"sample_tasks(split={split!r}) with seed {seed}"
            expect(same_tensors(tasks, again), f"{who} gave two different draws; draw only from generator=")
            like = [other for other, drawn in seen if same_tensors(tasks, drawn)]
            cure = "give each split a seed of its own (quickstudy.tasks.sampling.split_generator)"
            expect(not like, f"{who} gave the tasks of {', '.join(like)}", cure)
            seen.append((f"split {split!r} with seed {seed}", tasks))
    draws = []
    for _ in range(2):
        torch.manual_seed(3)
        draws.append(env.sample_tasks(5))
    same = same_tensors(*draws)
    expect(same, "sample_tasks without a generator gave two draws after equal torch.manual_seed; draw from torch's own")


def held_out_tasks_are_held_out(case: EnvironmentCase) -> None:
    """No validation or test task is a training task, unless a few are all there are (docs/design.md, Environment)."""
    drawn = {}
    for split, count in (("train", 400), ("validation", 40), ("test", 40)):
        tasks = case.make().sample_tasks(count, split=split, generator=seeded(1))
        rows = torch.cat([value.reshape(count, -1).double().cpu() for value in tasks.values()], 1)
        drawn[split] = set(map(tuple, rows.tolist()))
    if len(set.union(*drawn.values())) <= FEW:
        return  # such as two directions, of which none can be left out
    for split in ("validation", "test"):
        common = len(drawn[split] & drawn["train"])
        words = f"{common} of {len(drawn[split])} {split} tasks are training tasks"
        cure = (
            "give each task of a finite list to one split (quickstudy.tasks.datasets.splits.split_tasks); or skip this "
            "property, if all tasks are meant to be in all splits"
        )
        expect(not common, words, cure)


def the_callers_data_are_safe(case: EnvironmentCase) -> None:
    """Changing tensors that it received or returned does not affect it (docs/design.md, Habits)."""
    env = case.ready()
    actions = actions_for(env)
    expected = run(env, actions)[1]
    tasks = {k: v.clone() for k, v in case.tasks(env).items()}
    env.set_tasks(tasks)
    for value in tasks.values():
        value.copy_(torch.full_like(value, math.nan) if value.is_floating_point() else torch.zeros_like(value))
    env.reset(generator=seeded(9))[0].fill_(math.nan)
    for i, (action, wanted) in enumerate(zip(actions, expected, strict=True), 1):
        given = action.clone()
        found = env.step(given)
        expect(torch.equal(given, action), "step wrote into the action that it was given")
        part = differing_part(found, wanted)
        cure = "set_tasks keeps copies of tasks, and reset and step return copies of the state (tensor.clone())"
        expect(
            not part,
            f"{part} at step {i} changed when the caller wrote into its own tasks, or into tensors returned before",
            cure,
        )
        found.observation.fill_(math.nan)
        found.reward.fill_(math.nan)
        found.terminated.logical_not_()
        found.truncated.logical_not_()


def what_it_returned_stays_as_it_was(case: EnvironmentCase) -> None:
    """Later resets and steps do not change tensors that were returned before (docs/design.md, Environment)."""
    env = case.ready()
    held: list[tuple[str, Tensor, Tensor]] = []

    def hold(name: str, value: Any) -> None:
        if isinstance(value, Tensor):
            held.append((name, value, value.clone()))

    def hold_all(name: str, step: Step) -> None:
        for part, value in (*zip(PARTS, step[:4], strict=True), *step.info.items()):
            hold(f"{part} of {name}", value)

    hold("the observation of reset", env.reset(generator=seeded(9))[0])
    for i, action in enumerate(actions_for(env, env.horizon + 1), 1):
        hold_all(f"step {i}", env.step(action))
    hold("the observation of a reset with a mask", env.reset(mask_of(env, True))[0])
    hold_all("the step after it", env.step(actions_for(env, 1)[0]))
    env.reset()
    env.set_tasks(case.tasks(env, seed=8))
    env.reset()
    cure = "return copies of the environment's own tensors: tensor.clone()"
    for name, value, wanted in held:
        same = torch.allclose(value.double(), wanted.double(), rtol=0, atol=0, equal_nan=True)
        expect(same, f"{name} changed when the environment went on", cure)


def everything_is_on_its_device(case: EnvironmentCase) -> None:
    """All results are on its `device`, whatever torch's default device is (docs/acting.md)."""
    env = case.make()
    place = home(env) or torch.device("cpu")
    cure = "keep the device that the environment was built on, and pass device= wherever a tensor is made"
    try:
        with torch.device("meta"):  # tensors made on it by mistake have no values, so that they are found
            env.set_tasks(case.tasks(env))
            start, steps = run(env, actions_for(env))
    except Exception as error:
        words = f"where torch's default device is another than the environment's, {error_text(error)}"
        raise AssertionError(failing(words, cure)) from error
    parts = {"reset's observation": start} | {f"step's {name}": getattr(steps[-1], name) for name in PARTS}
    for name, value in parts.items():
        expect(value.device.type == place.type, f"{name} is on {value.device}, the environment on {place}", cure)


def its_repr_is_one_line(case: EnvironmentCase) -> None:
    """`repr` is kept in a run's config.json and compared on resume (docs/design.md, Runs)."""
    once, twice = repr(case.make()), repr(case.make())
    cure = "write a __repr__ that names every option"
    expect(" at 0x" not in once, f"its repr is {once!r}, which differs in every run", cure)
    expect(once == twice, f"two environments built alike have different reprs: {once!r}, {twice!r}", cure)
    expect("\n" not in once, "its repr has several lines; a run's config.json takes one", cure)


PROPERTIES: tuple[Property, ...] = (
    it_has_the_members_of_the_contract,
    shapes_and_types_are_those_of_the_contract,
    observations_lie_in_their_space,
    tasks_are_drawn,
    environment_episodes.tasks_do_not_meet,
    environment_episodes.a_batch_is_a_loop,
    environment_episodes.equal_seeds_give_equal_runs,
    environment_episodes.without_a_generator_torch_decides,
    environment_episodes.a_generator_is_the_only_source_of_chance,
    environment_episodes.a_reset_of_some_leaves_the_others,
    environment_episodes.a_reset_of_none_changes_nothing,
    environment_episodes.a_reset_draws_the_same_whatever_the_mask,
    environment_episodes.the_horizon_truncates,
    environment_episodes.what_is_done_stays_done,
    environment_episodes.tasks_can_be_set_and_set_back,
    held_out_tasks_are_held_out,
    the_callers_data_are_safe,
    what_it_returned_stays_as_it_was,
    everything_is_on_its_device,
    environment_requests.actions_beyond_their_bounds_are_clipped,
    environment_requests.a_step_too_early_is_refused,
    environment_requests.wrong_actions_are_refused,
    environment_requests.tasks_that_are_not_finite_tensors_are_refused,
    environment_requests.tasks_of_other_names_or_shapes_are_refused,
    environment_requests.wrong_masks_are_refused,
    environment_requests.wrong_requests_are_refused,
    its_repr_is_one_line,
)

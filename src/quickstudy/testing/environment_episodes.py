"""Properties of an environment's episodes: resets, the horizon, ends, and the independence of tasks.

The contract is in docs/design.md, "The public contract", and in the docstring of `quickstudy.rl.Environment`.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from quickstudy.rl.environment import Step
from quickstudy.testing.checks import default_type, skip
from quickstudy.testing.comparing import expect, expect_close, expect_equal
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

ROWS = "keep the axes [T, E] apart in every operation: no mean, sort or normalisation over them"


def tasks_do_not_meet(case: EnvironmentCase) -> None:
    """Parameters and actions of one task do not affect the others (docs/acting.md, Environments)."""
    env = case.ready()
    tasks, actions = case.tasks(env), actions_for(env)
    _, expected = run(env, actions)
    other = case.tasks(env, 1, seed=77)
    env.set_tasks({k: torch.cat([v[:1], other[k], v[2:]]) for k, v in tasks.items()})
    _, found = run(env, [torch.cat([a[:1], a[1:2].flip(1), a[2:]]) for a in actions])
    for i, (a, b) in enumerate(zip(expected, found, strict=True)):
        for task in (0, 2):
            part = differing_part(a, b, task)
            expect(not part, f"{part} of task {task} changed at step {i + 1} with the parameters of task 1", ROWS)
    same = all(not differing_part(a, b, 1) for a, b in zip(expected, found, strict=True))
    expect(not same, "other parameters and actions in task 1 changed nothing there; does step use what set_tasks gave?")


def a_batch_is_a_loop(case: EnvironmentCase) -> None:
    """A batch equals single environments that draw in turn from one generator (docs/acting.md, Environments)."""
    with default_type(torch.float64):
        _check_loop(case)


def _check_loop(case: EnvironmentCase) -> None:
    env, draw = case.ready(), seeded(9)
    tasks, actions = case.tasks(env), actions_for(env)
    start, steps = run(env, actions)
    singles = []
    for t in range(TASKS):
        single = case.make()
        single.set_tasks({k: v[t : t + 1] for k, v in tasks.items()})
        singles.append(single)
    begun = torch.cat([s.reset(generator=draw)[0] for s in singles])
    turns = [[s.step(action[t : t + 1]) for t, s in enumerate(singles)] for action in actions]
    found = [_joined(turn) for turn in turns]
    if not torch.equal(draw.get_state(), seeded(9).get_state()) and not _alike(begun, start, found, steps):
        skip("it draws random numbers for all tasks at once, so that single tasks get others")
    expect_close(begun, start, "the first observation of a batch differs from that of single tasks", ROWS)
    for i, (one, other) in enumerate(zip(found, steps, strict=True)):
        for name in PARTS:
            what = f"{name} at step {i + 1} of a batch differs from that of single tasks"
            expect_close(getattr(one, name), getattr(other, name), what, ROWS)


def _joined(steps: list[Step]) -> Step:
    """Join the steps of single tasks into one of a batch."""
    parts = {name: torch.cat([getattr(step, name) for step in steps]) for name in PARTS}
    return Step(**parts, info={})


def _alike(begun: Tensor, start: Tensor, found: list[Step], steps: list[Step]) -> bool:
    pairs = [
        (begun, start),
        *((a, b) for x, y in zip(found, steps, strict=True) for a, b in zip(x[:4], y[:4], strict=True)),
    ]
    return all(torch.allclose(a.double(), b.double(), rtol=1e-7, atol=1e-7) for a, b in pairs)


def a_reset_of_some_leaves_the_others(case: EnvironmentCase) -> None:
    """`reset(mask)` begins new episodes where the mask is True, and nowhere else (docs/design.md, Environment)."""
    env = case.ready()
    horizon, early = env.horizon, max(env.horizon - 2, 0)
    start, _ = env.reset(generator=seeded(9))
    last = start
    for action in actions_for(env, early):
        last = env.step(action).observation
    mask = mask_of(env)
    mask[0, ::2] = mask[2, -1] = True
    observation, _ = env.reset(mask)
    what = "observations of environments that the mask does not name changed by reset(mask)"
    expect_equal(observation[~mask], last[~mask], what, "keep their state: torch.where(mask, new, old)")
    steps = [env.step(a) for a in actions_for(env, horizon, seed=6)]
    done = torch.stack([s.terminated | s.truncated for s in steps])
    left = horizon - early
    words = f"environments that reset(mask) did not name ran on after their {horizon} steps: they were reset, too"
    expect(done[left - 1 :, ~mask].all(), words)
    words = f"environments that reset(mask) named were truncated before they had {horizon} steps of their own"
    expect(not any(bool(s.truncated[mask].any()) for s in steps[:-1]), f"{words}: count the steps of each separately")
    expect(done[-1].all(), f"environments that reset(mask) named ran on after {horizon} steps")
    first = env.reset(mask_of(env, True), generator=seeded(9))[0]
    what = "reset with a mask of True differs from reset() with an equal generator"
    expect_equal(first, start, what, "treat a mask of None as one of True")


def a_reset_of_none_changes_nothing(case: EnvironmentCase) -> None:
    """`reset(mask)` with a mask of False leaves every episode as it is (docs/design.md, Environment)."""
    env = case.ready()
    _, steps = run(env, actions_for(env))
    observation, _ = env.reset(mask_of(env))
    what = "observations changed by a reset with a mask of False"
    expect_equal(observation, steps[-1].observation, what, "keep the state where the mask is False")
    after = env.step(actions_for(env)[0])
    part = differing_part(after, steps[-1]._replace(reward=torch.zeros_like(after.reward)))
    expect(not part, f"{part} changed after a reset with a mask of False, though all episodes were done")


def a_reset_draws_the_same_whatever_the_mask(case: EnvironmentCase) -> None:
    """The random numbers after a reset do not depend on its mask (docs/design.md, Determinism)."""
    states = []
    for value in (None, False, True):
        env, draw = case.ready(), seeded(2)
        env.reset(generator=seeded(1))
        env.reset(None if value is None else mask_of(env, value), generator=draw)
        states.append(draw.get_state())
    same = torch.equal(states[0], states[1]) and torch.equal(states[0], states[2])
    words = "a reset draws more or fewer random numbers with another mask"
    expect(same, f"{words}; draw for all environments, then use those that the mask names")


def the_horizon_truncates(case: EnvironmentCase) -> None:
    """An episode that has not terminated is truncated after `horizon` steps (docs/design.md, Environment)."""
    env = case.ready()
    _, steps = run(env, actions_for(env, env.horizon + 2))
    for i, step in enumerate(steps, 1):
        both = bool((step.terminated & step.truncated).any())
        expect(not both, f"an episode is terminated and truncated at step {i}; what terminated is not truncated")
        wanted = ~step.terminated & (i >= env.horizon)
        what = f"truncated at step {i} of a horizon of {env.horizon} is wrong"
        cure = "truncate what has not terminated at step number horizon, where the first step is number 1"
        expect_equal(step.truncated, wanted, what, cure)


def what_is_done_stays_done(case: EnvironmentCase) -> None:
    """After its end an episode keeps its observation, with reward 0, until a reset (docs/design.md, Environment)."""
    env = case.ready()
    _, steps = run(env, actions_for(env, env.horizon + 3))
    done = steps[0].terminated | steps[0].truncated
    for before, after in pairwise(steps):
        done = before.terminated | before.truncated
        what, cure = "the observation of a finished episode changed", "keep the state of finished episodes"
        expect_equal(after.observation[done], before.observation[done], what, cure)
        expect(not after.reward[done].any(), "a finished episode gave a reward; expected 0 until it is reset")
        for name in ("terminated", "truncated"):
            found, wanted = getattr(after, name)[done], getattr(before, name)[done]
            expect_equal(found, wanted, f"{name} of a finished episode changed", "keep both flags until a reset")
    expect(done.all(), f"some episodes are not done after {env.horizon + 2} steps of a horizon of {env.horizon}")


def tasks_can_be_set_and_set_back(case: EnvironmentCase) -> None:
    """Tasks that were set in between, in any number, leave no effect (docs/design.md, Environment)."""
    env = case.ready()
    tasks, actions = case.tasks(env), actions_for(env)
    start, steps = run(env, actions)
    env.set_tasks(case.tasks(env, 2, seed=8))
    run(env, actions_for(env))
    env.set_tasks(tasks)
    _expect_run(start, steps, run(env, actions), "after other tasks were set and these set back")


def equal_seeds_give_equal_runs(case: EnvironmentCase) -> None:
    """All random numbers come from the generator of the last reset that had one (docs/design.md, Environment)."""
    env = case.ready()
    start, steps = run(env, actions_for(env))
    again = case.ready()
    _expect_run(start, steps, run(again, actions_for(again)), "in a new environment with an equal generator")
    _expect_run(start, steps, run(env, actions_for(env)), "in the same environment, reset with an equal generator")


def _expect_run(start: Tensor, steps: list[Step], found: tuple[Tensor, list[Step]], when: str) -> None:
    cure = "draw from the generator that reset was given, and keep nothing from one episode for the next"
    expect_equal(found[0], start, f"the first observation differs {when}", cure)
    for i, (a, b) in enumerate(zip(found[1], steps, strict=True), 1):
        part = differing_part(a, b)
        if part:
            expect_equal(getattr(a, part), getattr(b, part), f"{part} at step {i} differs {when}", cure)


def without_a_generator_torch_decides(case: EnvironmentCase) -> None:
    """Without a generator, random numbers are torch's own (docs/design.md, Determinism)."""
    runs: list[Any] = []
    for _ in range(2):
        env = case.ready()
        torch.manual_seed(4)
        runs.append((env.reset()[0], [env.step(a) for a in actions_for(env)]))
    (start, steps), again = runs
    _expect_run(start, steps, again, "after equal torch.manual_seed, without a generator")


def a_generator_is_the_only_source_of_chance(case: EnvironmentCase) -> None:
    """With a generator nothing is drawn from torch's own random numbers (docs/design.md, Determinism)."""
    env = case.ready()
    before = torch.get_rng_state()
    case.tasks(env)
    untouched = torch.equal(before, torch.get_rng_state())
    expect(untouched, "sample_tasks(generator=...) drew from torch's own random numbers; draw from the generator")
    run(env, actions_for(env))
    words = "reset(generator=...) and step drew from torch's own random numbers, or seeded them"
    expect(torch.equal(before, torch.get_rng_state()), f"{words}; keep the generator and draw from it")

"""What every environment must do. A new environment is one row of `ENVIRONMENTS`."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import gymnasium
import pytest
import torch
from gymnasium.spaces import Discrete
from torch import Tensor

from quickstudy.learner import SPLITS
from quickstudy.rl import (
    Bandit,
    CartPole,
    Environment,
    EnvironmentFailure,
    Navigation2D,
    Step,
    TabularMDP,
    from_gymnasium,
)
from quickstudy.rl.envs.filmed import Filmed

T, E, H = 3, 16, 8  # E as large as torch's own blocks of normal draws, so that a batch can be drawn task by task


def _real_cartpole() -> Any:
    def set_mass(env: Any, task: dict[str, Any]) -> None:
        pole = env.unwrapped
        pole.masspole = task["mass"]
        pole.total_mass = pole.masspole + pole.masscart
        pole.polemass_length = pole.masspole * pole.length

    def masses(num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"mass": 0.1 + torch.rand(num_tasks, generator=generator)}

    return from_gymnasium(lambda: gymnasium.make("CartPole-v1"), set_mass, masses, num_envs=E, horizon=H)


ENVIRONMENTS: dict[str, Callable[[], Any]] = {
    "navigation": lambda: Navigation2D(num_envs=E, horizon=H),
    "navigation_moves": lambda: Navigation2D(num_envs=E, horizon=H, scaled=False, arrival="disc"),
    "navigation_unit_board": lambda: Navigation2D.unit_board(num_envs=E, horizon=H),
    "navigation_semicircle": lambda: Navigation2D.semicircle(num_envs=E, horizon=H),
    "navigation_corners": lambda: Navigation2D.corners(num_envs=E, horizon=H),
    "cartpole": lambda: CartPole(num_envs=E, horizon=H),
    "cartpole_all_varies": lambda: CartPole(
        length=(0.3, 0.7), force_mag=(5.0, 15.0), gravity=(8.0, 11.0), flip=0.5, num_envs=E, horizon=H
    ),
    "bandit": lambda: Bandit(num_envs=E, horizon=H),
    "tabular": lambda: TabularMDP(noise=0.0, num_envs=E, horizon=H),
    "tabular_noisy": lambda: TabularMDP(states=4, actions=2, num_envs=E, horizon=H),
    "filmed": lambda: Filmed(Navigation2D(num_envs=E, horizon=H), which=(0, E - 1), every=H, shrink=30),
    "gymnasium": _real_cartpole,
}
every_environment = pytest.mark.parametrize("name", ENVIRONMENTS)


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def _ready(name: str, seed: int = 0, num_tasks: int = T) -> Any:
    env = ENVIRONMENTS[name]()
    env.set_tasks(env.sample_tasks(num_tasks, generator=_seeded(seed)))
    return env


def _actions(env: Any, steps: int = H, seed: int = 5) -> list[Tensor]:
    shape, draw = (env.num_tasks, env.num_envs), _seeded(seed)
    if isinstance(env.action_space, Discrete):
        return [torch.randint(int(env.action_space.n), shape, generator=draw, device="cpu") for _ in range(steps)]
    return [torch.randn(*shape, *env.action_space.shape, generator=draw, device="cpu") for _ in range(steps)]


def _run(env: Any, actions: list[Tensor], seed: int = 9) -> tuple[Tensor, list[Step]]:
    observation, _ = env.reset(generator=_seeded(seed))
    return observation, [env.step(action) for action in actions]


def _same(a: Step, b: Step, task: int | slice = slice(None)) -> bool:
    return all(torch.equal(x[task], y[task]) for x, y in zip(a[:4], b[:4], strict=True))


@every_environment
def test_fits_the_protocol(name: str) -> None:
    env = ENVIRONMENTS[name]()
    assert isinstance(env, Environment)
    assert env.num_tasks == 0 and env.num_envs == E and env.horizon == H
    env.set_tasks(env.sample_tasks(2, generator=_seeded()))
    assert env.num_tasks == 2


@every_environment
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_types(name: str, dtype: torch.dtype) -> None:
    torch.set_default_dtype(dtype)
    env = _ready(name)
    observation, steps = _run(env, _actions(env))
    shape = (T, E, *env.observation_space.shape)
    assert observation.shape == shape and observation.dtype == dtype
    for step in steps:
        assert step.observation.shape == shape and step.observation.dtype == dtype
        assert step.observation.is_contiguous()
        assert step.reward.shape == (T, E) and step.reward.dtype == dtype
        for flag in (step.terminated, step.truncated):
            assert flag.shape == (T, E) and flag.dtype == torch.bool
        assert isinstance(step.info, dict)


@every_environment
def test_spaces_contain_what_is_observed(name: str) -> None:
    env = _ready(name)
    observation, steps = _run(env, _actions(env))
    for seen in (observation, *(step.observation for step in steps)):
        assert all(env.observation_space.contains(o.numpy()) for o in seen.flatten(0, 1))


@every_environment
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tasks_are_drawn(name: str, dtype: torch.dtype) -> None:
    """`[T, ...]` each in the default dtype; the same for equal seeds and splits, others otherwise."""
    torch.set_default_dtype(dtype)
    env = ENVIRONMENTS[name]()
    seen: list[dict[str, Tensor]] = []
    for split in SPLITS:
        for seed in (0, 1):
            tasks = env.sample_tasks(40, split=split, generator=_seeded(seed))
            again = ENVIRONMENTS[name]().sample_tasks(40, split=split, generator=_seeded(seed))
            assert tasks and all(len(v) == 40 and v.dtype == dtype for v in tasks.values())
            assert tasks.keys() == again.keys() and all(torch.equal(tasks[k], again[k]) for k in tasks)
            assert not any(all(torch.equal(tasks[k], other[k]) for k in tasks) for other in seen)
            seen.append(tasks)
    torch.manual_seed(3)
    drawn = env.sample_tasks(5)
    torch.manual_seed(3)
    assert all(torch.equal(v, drawn[k]) for k, v in env.sample_tasks(5).items())


@every_environment
def test_tasks_do_not_meet(name: str) -> None:
    """Other parameters and other actions in one task change nothing in the others."""
    env = _ready(name)
    tasks, actions = env.tasks, _actions(env)
    _, expected = _run(env, actions)
    other = env.sample_tasks(1, generator=_seeded(77))
    changed = {k: torch.cat([v[:1], other[k], v[2:]]) for k, v in tasks.items()}
    env.set_tasks(changed)
    acted = [torch.cat([a[:1], a[1:2].flip(1), a[2:]]) for a in actions]
    _, found = _run(env, acted)
    assert all(_same(a, b, 0) and _same(a, b, 2) for a, b in zip(expected, found, strict=True))
    assert not all(_same(a, b, 1) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize(
    "name", [name for name in ENVIRONMENTS if name != "tabular_noisy"]
)  # two kinds of draws a step
def test_a_batch_is_a_loop(name: str) -> None:
    """All tasks at once, and one environment for each, taking turns at one generator."""
    torch.set_default_dtype(torch.float64)
    env, draw = _ready(name), _seeded(9)
    actions = _actions(env)
    start, steps = _run(env, actions)
    singles = []
    for t in range(T):
        single = ENVIRONMENTS[name]()
        single.set_tasks({k: v[t : t + 1] for k, v in env.tasks.items()})
        singles.append(single)
    torch.testing.assert_close(torch.cat([s.reset(generator=draw)[0] for s in singles]), start)
    for action, step in zip(actions, steps, strict=True):
        found = [s.step(action[t : t + 1]) for t, s in enumerate(singles)]
        for got, expected in zip(zip(*found, strict=True), step[:4], strict=False):
            torch.testing.assert_close(torch.cat(got[:T]), expected)


@every_environment
def test_equal_seeds_equal_runs(name: str) -> None:
    env, again = _ready(name), _ready(name)
    start, steps = _run(env, _actions(env))
    for other in (again, env):  # a fresh one, and the same one once more
        begun, found = _run(other, _actions(other))
        assert torch.equal(begun, start) and all(_same(a, b) for a, b in zip(steps, found, strict=True))


@every_environment
def test_without_a_generator_torch_decides(name: str) -> None:
    runs = []
    for _ in range(2):
        env = _ready(name)
        torch.manual_seed(4)
        runs.append((env.reset()[0], [env.step(a) for a in _actions(env)]))
    assert torch.equal(runs[0][0], runs[1][0]) and all(_same(a, b) for a, b in zip(runs[0][1], runs[1][1], strict=True))


@every_environment
def test_reset_of_some(name: str) -> None:
    """Only those in the mask begin anew: they are truncated later than the others."""
    env = _ready(name)
    env.reset(generator=_seeded(9))
    steps = [env.step(a) for a in _actions(env, H - 2)]
    mask = torch.zeros(T, E, dtype=torch.bool)
    mask[0, ::2] = mask[2, 3] = True
    observation, _ = env.reset(mask)
    assert torch.equal(observation[~mask], steps[-1].observation[~mask])
    steps = [env.step(a) for a in _actions(env, H, seed=6)]
    done = torch.stack([s.terminated | s.truncated for s in steps])
    assert bool(done[1:, ~mask].all()) and bool(done[-1].all())
    assert not any(bool(s.truncated[mask].any()) for s in steps[:-1])
    first = env.reset(torch.ones(T, E, dtype=torch.bool), generator=_seeded(9))[0]
    assert torch.equal(first, _ready(name).reset(generator=_seeded(9))[0])


@every_environment
def test_reset_of_none_changes_nothing(name: str) -> None:
    env = _ready(name)
    _, steps = _run(env, _actions(env))
    observation, _ = env.reset(torch.zeros(T, E, dtype=torch.bool))
    assert torch.equal(observation, steps[-1].observation)
    assert _same(env.step(_actions(env)[0]), steps[-1]._replace(reward=torch.zeros(T, E)))


@every_environment
def test_a_reset_draws_the_same_whatever_the_mask(name: str) -> None:
    states = []
    for mask in (None, torch.zeros(T, E, dtype=torch.bool), torch.ones(T, E, dtype=torch.bool)):
        env, draw = _ready(name), _seeded(2)
        env.reset(generator=_seeded(1))
        env.reset(mask, generator=draw)
        states.append(draw.get_state())
    assert torch.equal(states[0], states[1]) and torch.equal(states[0], states[2])


@every_environment
def test_the_horizon_truncates(name: str) -> None:
    env = _ready(name)
    _, steps = _run(env, _actions(env, H + 2))
    for i, step in enumerate(steps, 1):
        assert not bool((step.terminated & step.truncated).any())
        assert torch.equal(step.truncated, ~step.terminated & (i >= H))
    assert bool(steps[-1].truncated.any())


@every_environment
def test_done_stays_done(name: str) -> None:
    env = _ready(name)
    _, steps = _run(env, _actions(env, H + 3))
    done = torch.zeros(T, E, dtype=torch.bool)
    for before, after in pairwise(steps):
        done = before.terminated | before.truncated
        assert torch.equal(after.observation[done], before.observation[done])
        assert not bool(after.reward[done].any())
        assert torch.equal(after.terminated[done], before.terminated[done])
        assert torch.equal(after.truncated[done], before.truncated[done])
    assert bool(done.all())


@every_environment
def test_tasks_can_be_set_and_set_back(name: str) -> None:
    env = _ready(name)
    tasks, actions = env.tasks, _actions(env)
    start, steps = _run(env, actions)
    env.set_tasks(env.sample_tasks(2, generator=_seeded(8)))
    _run(env, _actions(env))
    env.set_tasks(tasks)
    again, found = _run(env, actions)
    assert torch.equal(start, again) and all(_same(a, b) for a, b in zip(steps, found, strict=True))


@every_environment
def test_the_callers_data_are_safe(name: str) -> None:
    """Writing into what was given or got changes nothing that comes later."""
    env = _ready(name)
    expected = _run(env, _actions(env))[1]
    tasks = {k: v.clone() for k, v in env.tasks.items()}
    env.set_tasks(tasks)
    for value in tasks.values():
        value.fill_(math.nan)
    env.reset(generator=_seeded(9))[0].fill_(math.nan)
    for action, step in zip(_actions(env), expected, strict=True):
        found = env.step(action)
        assert _same(found, step)
        found.observation.fill_(math.nan)
        found.reward.fill_(math.nan)
        found.terminated.logical_not_()
        found.truncated.logical_not_()


@every_environment
def test_step_too_early(name: str) -> None:
    env = ENVIRONMENTS[name]()
    with pytest.raises(RuntimeError, match=r"call set_tasks\(...\) and reset\(\) first"):
        env.step(torch.zeros(T, E, dtype=torch.long))
    with pytest.raises(RuntimeError, match="reset before set_tasks"):
        env.reset()
    env = _ready(name)
    with pytest.raises(RuntimeError, match=r"call reset\(\) after set_tasks first"):
        env.step(_actions(env)[0])
    with pytest.raises(RuntimeError, match="without a mask first"):
        env.reset(torch.ones(T, E, dtype=torch.bool))
    env.reset()
    env.set_tasks(env.tasks)
    with pytest.raises(RuntimeError, match=r"call reset\(\) after set_tasks first"):
        env.step(_actions(env)[0])


@every_environment
def test_actions_that_cannot_be(name: str) -> None:
    env = _ready(name)
    env.reset(generator=_seeded(9))
    action = _actions(env)[0]
    with pytest.raises(TypeError, match="action is list; expected a tensor"):
        env.step(action.tolist())
    with pytest.raises(ValueError, match=r"action has shape \[1, 16.*\]; expected \[T, E.*\] = \[3, 16"):
        env.step(action[:1])
    if isinstance(env.action_space, Discrete):
        with pytest.raises(TypeError, match=r"action is torch\.float32; expected integers from 0"):
            env.step(action.float())
        action[1, 2] = env.action_space.n
        with pytest.raises(ValueError, match=r"at task 1, environment 2; expected integers from 0"):
            env.step(action)
    else:
        with pytest.raises(TypeError, match=r"action is torch\.int64; expected real numbers"):
            env.step(action.long())
        env.step(action)
        action[1, 2, 0] = math.nan
        with pytest.raises(EnvironmentFailure, match=r", task 1, environment 2, step 1, seed 9: the action is \[nan"):
            env.step(action)


@every_environment
def test_tasks_that_cannot_be(name: str) -> None:
    env = ENVIRONMENTS[name]()
    tasks = env.sample_tasks(T, generator=_seeded())
    key = next(iter(tasks))
    with pytest.raises(TypeError, match="expected a dictionary of tensors"):
        env.set_tasks([tasks])
    with pytest.raises(ValueError, match="tasks hold nothing"):
        env.set_tasks({})
    with pytest.raises(ValueError, match=f"{key} of task 1 is not finite"):
        env.set_tasks(
            tasks
            | {key: torch.where(torch.arange(T).view(-1, *[1] * (tasks[key].dim() - 1)) == 1, math.nan, tasks[key])}
        )
    if name != "gymnasium":  # whose tasks are the user's own
        with pytest.raises(ValueError, match=f"tasks hold .*goat.*; expected {key}"):
            env.set_tasks(tasks | {"goat": torch.zeros(T)})
        with pytest.raises(ValueError, match=f"expected {key}"):
            env.set_tasks({k: v[..., None] for k, v in tasks.items()})
    assert env.num_tasks == 0


@every_environment
@pytest.mark.parametrize(
    "mask", [torch.ones(T, E), torch.ones(E, dtype=torch.bool), [True]], ids=["real", "flat", "list"]
)
def test_masks_that_cannot_be(name: str, mask: Any) -> None:
    env = _ready(name)
    env.reset()
    with pytest.raises(ValueError, match=r"expected a bool tensor \[T, E\] = \[3, 16\]"):
        env.reset(mask)


@every_environment
def test_requests_that_cannot_be(name: str) -> None:
    env = ENVIRONMENTS[name]()
    with pytest.raises(ValueError, match="num_tasks=0"):
        env.sample_tasks(0)
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        env.sample_tasks(1, split="dev")
    env.set_tasks(env.sample_tasks(1))
    with pytest.raises(TypeError, match=r"must be a torch\.Generator"):
        env.reset(generator=0)


@every_environment
def test_repr_tells_environments_apart(name: str) -> None:
    said = repr(ENVIRONMENTS[name]())
    assert "\n" not in said and " at 0x" not in said
    assert sum(repr(make()) == said for make in ENVIRONMENTS.values()) == 1


OWN = {"navigation": Navigation2D, "cartpole": CartPole, "bandit": Bandit, "tabular": TabularMDP}


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("change", [{"num_envs": 0}, {"num_envs": 2.0}, {"horizon": 0}, {"horizon": True}], ids=str)
def test_sizes_that_cannot_be(name: str, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"=.*; expected a whole number of at least 1"):
        OWN[name](**change)


@pytest.mark.parametrize("name", OWN)
def test_the_device_is_the_one_that_was_asked_for(name: str) -> None:
    """Whatever torch's default: here a device without values, on which any mistake would end."""
    with torch.device("meta"):
        env = OWN[name](num_envs=E, horizon=H, device="cpu")
        env.set_tasks(env.sample_tasks(T, generator=_seeded()))
        start, steps = _run(env, _actions(env))
        again, _ = env.reset(torch.ones(T, E, dtype=torch.bool, device="cpu"))
    for value in (start, again, *(part for step in steps for part in step[:4])):
        assert value.device.type == "cpu"

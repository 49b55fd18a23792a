"""What every environment must do. A new environment is one row of `ENVIRONMENTS`."""

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any
from unittest import SkipTest

import gymnasium
import pytest
import torch
from rl.levers import levers
from torch import Tensor

from quickstudy.rl import (
    Ant,
    Bandit,
    CartPole,
    CartPoleSwingUp,
    GaussianBandit,
    GridNavi,
    HalfCheetah,
    Hopper,
    Humanoid,
    Navigation2D,
    Pendulum,
    TabularMDP,
    Walker2d,
    from_gymnasium,
)
from quickstudy.rl.environment import choices_of
from quickstudy.rl.envs.filmed import Filmed
from quickstudy.testing import environment_checks
from quickstudy.testing.environment_case import actions_for, run, seeded

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
    "pendulum": lambda: Pendulum(num_envs=E, horizon=H),
    "pendulum_all_varies": lambda: Pendulum(gravity=(8.0, 11.0), max_torque=(1.0, 3.0), num_envs=E, horizon=H),
    "swing_up": lambda: CartPoleSwingUp(num_envs=E, horizon=H),
    "swing_up_all_varies": lambda: CartPoleSwingUp(
        gravity=(8.0, 11.0), max_force=(5.0, 15.0), start="anywhere", num_envs=E, horizon=H
    ),
    "bandit": lambda: Bandit(num_envs=E, horizon=H),
    "gaussian_bandit": lambda: GaussianBandit(num_envs=E, horizon=H),
    "gridnavi": lambda: GridNavi(num_envs=E, horizon=H),
    "tabular": lambda: TabularMDP(noise=0.0, num_envs=E, horizon=H),
    "tabular_noisy": lambda: TabularMDP(states=4, actions=2, num_envs=E, horizon=H),
    "filmed": lambda: Filmed(Navigation2D(num_envs=E, horizon=H), which=(0, E - 1), every=H, shrink=30),
    "gymnasium": _real_cartpole,
    "gymnasium_multi_discrete": lambda: levers(E, H),
}
if find_spec("mujoco"):  # the extra `mujoco`
    ENVIRONMENTS |= {
        "cheetah": lambda: HalfCheetah(num_envs=E, horizon=H),
        "cheetah_direction": lambda: HalfCheetah("direction", frame_skip=1, num_envs=E, horizon=H),
        "ant": lambda: Ant(directions="all", num_envs=E, horizon=H),
        "ant_velocity": lambda: Ant("velocity", num_envs=E, horizon=H),
        "ant_goal": lambda: Ant("goal", num_envs=E, horizon=H),
        "hopper": lambda: Hopper(num_envs=E, horizon=H),
        "walker": lambda: Walker2d(num_envs=E, horizon=H),
        "humanoid": lambda: Humanoid(num_envs=E, horizon=H),
    }
every_environment = pytest.mark.parametrize("name", ENVIRONMENTS)
# properties that do not hold by definition, and why
SKIP = {
    "gridnavi": {"held out tasks are held out": "as published, each of the 21 goals is in every split"},
    "cheetah_direction": {"held out tasks are held out": "there are two directions"},
}
CHECKS = {
    name: {check.name: check for check in environment_checks(make, skip=SKIP.get(name))}
    for name, make in ENVIRONMENTS.items()
}
PROPERTIES = list(CHECKS["navigation"])
DISCRETE = {
    "cartpole",
    "cartpole_all_varies",
    "bandit",
    "gaussian_bandit",
    "gridnavi",
    "tabular",
    "tabular_noisy",
    "gymnasium",
    "gymnasium_multi_discrete",
}
CONTINUOUS = [name for name in ENVIRONMENTS if name not in DISCRETE]
# which properties do not apply to an environment, for want of what they are about
WITHOUT = {
    "actions beyond their bounds are clipped": frozenset(ENVIRONMENTS) - frozenset(CONTINUOUS),
    "a batch is a loop": {"tabular_noisy"},  # two kinds of draws a step
    "held out tasks are held out": set(SKIP),
    "tasks of other names or shapes are refused": {
        "gymnasium",
        "gymnasium_multi_discrete",
    },  # whose tasks are the user's own
}


@every_environment
@pytest.mark.parametrize("property", PROPERTIES)
def test_environment_keeps_the_contract(name: str, property: str) -> None:
    """A property that does not apply is one of those that the table says."""
    if name in WITHOUT.get(property, ()):
        with pytest.raises(SkipTest):
            CHECKS[name][property]()
        return
    try:
        CHECKS[name][property]()
    except SkipTest as reason:
        pytest.fail(f"not checked: {reason}")


def test_the_table_knows_its_names() -> None:
    assert len(PROPERTIES) >= 25 and set(WITHOUT) <= set(PROPERTIES)


def _ready(name: str) -> Any:
    env = ENVIRONMENTS[name]()
    env.set_tasks(env.sample_tasks(T, generator=seeded()))
    return env


def _mistakes(name: str) -> list[tuple[Callable[[], Any], str]]:
    """Calls that are refused, and words of the message."""
    fresh, unset, env = ENVIRONMENTS[name](), _ready(name), _ready(name)
    env.reset(generator=seeded(9))
    tasks, action = fresh.sample_tasks(T, generator=seeded()), actions_for(env)[0]
    key = next(iter(tasks))
    spoiled = tasks[key].clone()
    spoiled[1] = math.nan
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: fresh.step(action), r"call set_tasks\(...\) and reset\(\) first"),
        (lambda: fresh.reset(), "reset before set_tasks"),
        (lambda: unset.step(action), r"call reset\(\) after set_tasks first"),
        (lambda: unset.reset(torch.ones(T, E, dtype=torch.bool)), "without a mask first"),
        (lambda: env.step(action.tolist()), "action is list; expected a tensor"),
        (lambda: env.step(action[:1]), r"action has shape \[1, 16.*\]; expected \[T, E.*\] = \[3, 16"),
        (lambda: fresh.set_tasks([tasks]), "expected a dictionary of tensors"),
        (lambda: fresh.set_tasks({}), "tasks hold nothing"),
        (lambda: fresh.set_tasks(tasks | {key: spoiled}), f"{key} of task 1 is not finite"),
        (lambda: env.reset(torch.ones(T, E)), r"expected a bool tensor \[T, E\] = \[3, 16\]"),
        (lambda: fresh.sample_tasks(0), "num_tasks=0"),
        (lambda: fresh.sample_tasks(1, split="dev"), "unknown split 'dev'; choose one of train, validation, test"),
        (lambda: env.reset(generator=0), r"must be a torch\.Generator"),
    ]
    if choices := choices_of(env.action_space):
        beyond = action.clone()
        beyond[1, 2] = max(choices)
        calls += [
            (lambda: env.step(action.float()), r"action is torch\.float32; expected integers from 0"),
            (lambda: env.step(beyond), r"at task 1, environment 2; expected integers from 0"),
        ]
    else:
        beyond = action.clone()
        beyond[1, 2, 0] = math.nan
        calls += [
            (lambda: env.step(action.long()), r"action is torch\.int64; expected real numbers"),
            (lambda: env.step(beyond), r", task 1, environment 2, step 0, seed 9: the action is \[nan"),
        ]
    if not name.startswith("gymnasium"):  # whose tasks are the user's own
        calls += [
            (lambda: fresh.set_tasks(tasks | {"goat": torch.zeros(T)}), f"tasks hold .*goat.*; expected {key}"),
            (lambda: fresh.set_tasks({k: v[..., None] for k, v in tasks.items()}), f"expected {key}"),
        ]
    return calls


@every_environment
def test_what_errors_say(name: str) -> None:
    """Which error is raised belongs to the contract; the words are the package's own."""
    for call, words in _mistakes(name):
        with pytest.raises((TypeError, ValueError, RuntimeError), match=words):
            call()


@every_environment
def test_repr_tells_environments_apart(name: str) -> None:
    said = repr(ENVIRONMENTS[name]())
    assert sum(repr(make()) == said for make in ENVIRONMENTS.values()) == 1


OWN = {
    "navigation": Navigation2D,
    "cartpole": CartPole,
    "pendulum": Pendulum,
    "swing_up": CartPoleSwingUp,
    "bandit": Bandit,
    "gaussian_bandit": GaussianBandit,
    "grid": GridNavi,
    "tabular": TabularMDP,
}


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
        env.set_tasks(env.sample_tasks(T, generator=seeded()))
        start, steps = run(env, actions_for(env))
        again, _ = env.reset(torch.ones(T, E, dtype=torch.bool, device="cpu"))
    for value in (start, again, *(part for step in steps for part in step[:4])):
        assert value.device.type == "cpu"

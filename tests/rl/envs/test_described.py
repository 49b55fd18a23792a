"""Environments and their tasks as a run remembers them: a resume with others is refused, and the option is named."""

import functools
from typing import Any

import gymnasium
import pytest
import torch
from gymnasium import wrappers
from rl.worlds import Points

import quickstudy as qs
from quickstudy.rl.envs.described import described, described_function


def masses(num_tasks: int, generator: torch.Generator, low: float = 0.1) -> Any:
    return {"mass": low + torch.rand(num_tasks, generator=generator)}


def setter(scale: float) -> Any:
    def set_mass(env: Any, task: Any) -> None:
        env.unwrapped.masspole = scale * task["mass"]

    return set_mass


def real(
    make: Any = lambda: gymnasium.make("CartPole-v1"), sampler: Any = masses, scale: float = 1.0, **options: Any
) -> Any:
    return qs.rl.from_gymnasium(make, setter(scale), sampler, **{"num_envs": 1, "horizon": 4, **options})


class Own(Points):
    """Neither `repr` nor `config` names its options, but its tasks do."""

    def __init__(self, low: float = -1.0, **options: Any):
        super().__init__(**options)
        self.low = low

    def sample_tasks(self, num_tasks: int, *, split: str = "train", generator: Any = None) -> Any:
        return {"goal": self.low + torch.rand(num_tasks, 2, generator=generator)}


class Named(Own):
    def __repr__(self) -> str:
        return f"Named(radius={self.radius})"


class Configured(Own):
    def config(self) -> Any:
        return {"radius": self.radius, "inner": {"spread": self.spread}}


def bandit(**options: Any) -> Any:
    return qs.rl.Bandit(arms=2, num_envs=2, horizon=3, **options)


CARTS = {"num_envs": 1, "horizon": 3}
CHANGES = {  # the environment of the run, another one, and what the message says
    "an option of ours": (
        lambda: qs.rl.CartPole(**CARTS),
        lambda: qs.rl.CartPole(masscart=(0.5, 3.0), **CARTS),
        "environment.masscart was [0.1, 3.0] and is now [0.5, 3.0]",
    ),
    "the horizon": (
        lambda: qs.rl.CartPole(**CARTS),
        lambda: qs.rl.CartPole(num_envs=1, horizon=5),
        "environment.horizon was 3 and is now 5",
    ),
    "inside a wrapper": (
        lambda: qs.rl.Informed(qs.rl.CartPole(**CARTS), ("masspole",)),
        lambda: qs.rl.Informed(qs.rl.CartPole(gravity=5.0, **CARTS), ("masspole",)),
        "environment.environment.gravity was 9.8 and is now 5.0",
    ),
    "gymnasium's argument": (
        real,
        lambda: real(lambda: gymnasium.make("CartPole-v1", sutton_barto_reward=True)),
        "environment.kwargs.sutton_barto_reward was None and is now True",
    ),
    "an attribute": (
        real,
        lambda: real(lambda: changed(gymnasium.make("CartPole-v1"))),
        "environment.CartPoleEnv.gravity was 9.8 and is now 1.6",
    ),
    "a wrapper": (
        real,
        lambda: real(lambda: wrappers.ClipReward(gymnasium.make("CartPole-v1"), -1, 1)),
        "environment.ClipReward was None and is now",
    ),
    "gymnasium's horizon": (real, lambda: real(horizon=5), "environment.horizon was 4 and is now 5"),
    "a number that set_task takes": (
        real,
        lambda: real(scale=2.0),
        "environment.set_task.scale was 1.0 and is now 2.0",
    ),
    "the sampler's default": (
        real,
        lambda: real(sampler=functools.partial(masses, low=0.3)),
        "task_distribution.cpu.train.mass was [",
    ),
    "the list of tasks": (
        lambda: real(sampler={"mass": torch.arange(9.0)}),
        lambda: real(sampler={"mass": torch.arange(9.0) + 1}),
        "task_distribution.cpu.train.mass was [",
    ),
    "tasks that nothing names": (Own, lambda: Own(low=0.0), "task_distribution.cpu.train.goal was ["),
    "a repr": (
        Named,
        lambda: Named(radius=0.9),
        "environment.repr was 'Named(radius=0.3)' and is now 'Named(radius=0.9)'",
    ),
    "a config": (
        Configured,
        lambda: Configured(start=0.7),
        "environment.inner.spread was 0.1 and is now 0.7",
    ),
    "probabilities": (bandit, lambda: bandit(probability=0.5), "environment.probability was [0.0, 1.0] and is now 0.5"),
}


def changed(env: Any) -> Any:
    env.unwrapped.gravity = 1.6
    return env


def learner_for(env: Any) -> Any:
    torch.manual_seed(0)
    size = env.observation_space.shape[0]
    if isinstance(env.action_space, gymnasium.spaces.Discrete):
        return qs.rl.MAMLVPG(qs.rl.CategoricalPolicy(qs.nets.MLP(size, [4], 2)), lr=0.1)
    return qs.rl.MAMLVPG(qs.rl.GaussianPolicy(qs.nets.MLP(size, [4], 2), 2), lr=0.1)


@pytest.mark.parametrize("name", CHANGES)
def test_another_environment_is_not_resumed(tmp_path: Any, name: str) -> None:
    make, other, says = CHANGES[name]
    fit = functools.partial(qs.rl.fit, steps=1, tasks=2, out=tmp_path / "run")
    env = make()
    fit(learner_for(env), env)
    again = make()
    assert fit(learner_for(again), again, exist="resume").steps == 1
    env = other()
    with pytest.raises(ValueError, match="is another one: ") as caught:
        fit(learner_for(env), env, exist="resume")
    assert says in str(caught.value)


def test_functions_are_known_by_their_name_and_numbers() -> None:
    def outer(scale: float, words: Any) -> Any:
        def inner(a: Any, b: float = 2.0, *, c: Any = (1, 2)) -> Any:
            return scale, words, a, b, c

        return inner

    assert described_function(outer(3.0, torch.ones(1))) == {"name": "inner", "scale": 3.0, "b": 2.0, "c": [1, 2]}
    partial = functools.partial(functools.partial(outer(3.0, "x"), 7), b=5)
    assert described_function(partial) == {
        "name": "inner",
        "0": 7,
        "b": 2.0,
        "scale": 3.0,
        "words": "x",
        "c": [1, 2],
    } | {"b": 5}

    class Sets:
        def __call__(self, env: Any, task: Any) -> None: ...

    assert described_function(Sets()) == {"name": "Sets"}
    assert described_function(print)["name"] == "print"


def test_descriptions_are_json_of_the_options() -> None:
    found = described(qs.rl.Informed(qs.rl.Navigation2D(num_envs=2, horizon=5), ("goal",)))
    assert found["show"] == ["goal"] and found["environment"]["horizon"] == 5
    assert described(Points()) == {"repr": "<rl.worlds.Points object>"}


def test_a_run_of_an_earlier_version_is_resumed(tmp_path: Any) -> None:
    import json

    env = bandit()
    fit = functools.partial(qs.rl.fit, steps=1, tasks=2, out=tmp_path / "run")
    fit(learner_for(env), env)
    file = tmp_path / "run/config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in config.items() if k not in ("environment", "task_distribution")}))
    assert fit(learner_for(env), env, exist="resume").steps == 1
    with pytest.raises(ValueError, match="is another one: family was 'Bandit"):
        fit(learner_for(env), bandit(probability=0.5), exist="resume")

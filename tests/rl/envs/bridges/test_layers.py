"""Wrappers of gymnasium environments: those that learn are refused, and options are known by name."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import wrappers

import quickstudy as qs
from quickstudy.rl.envs.bridges.layers import check_keeps_no_statistics, layers, options_of


def cartpole(**options: Any) -> Any:
    return gymnasium.make("CartPole-v1", **options)


class Running:
    """Somebody's own running statistics."""

    mean, var, count = 0.0, 1.0, 0

    def update(self, x: Any) -> None:
        self.count += 1


class OwnScaling(gymnasium.ObservationWrapper[Any, Any, Any]):
    def __init__(self, env: Any):
        super().__init__(env)
        self.scaler = Running()

    def observation(self, observation: Any) -> Any:
        self.scaler.update(observation)
        return observation


LEARN = {
    "observations": (wrappers.NormalizeObservation, r"NormalizeObservation keeps running statistics \(obs_rms\)"),
    "rewards": (wrappers.NormalizeReward, r"NormalizeReward keeps .*RewardScale"),
    "own": (OwnScaling, r"OwnScaling keeps running statistics \(scaler\).*NormalizedObservations"),
    "inside": (
        lambda env: wrappers.TimeAwareObservation(wrappers.ClipReward(wrappers.NormalizeReward(env), -1, 1)),
        "NormalizeReward keeps",
    ),
}


@pytest.mark.parametrize("name", LEARN)
def test_wrappers_that_learn_are_refused(name: str) -> None:
    wrap, says = LEARN[name]
    with pytest.raises(ValueError, match=f"^CartPole-v1: {says}"):
        qs.rl.from_gymnasium(lambda: wrap(cartpole()), lambda e, t: None, {"mass": torch.ones(5)})


def frozen(env: Any) -> Any:
    env = wrappers.NormalizeObservation(env)
    env.update_running_mean = False
    return env


@pytest.mark.parametrize(
    "wrap",
    [
        frozen,
        wrappers.RecordEpisodeStatistics,
        lambda env: wrappers.FrameStackObservation(env, 2),
        wrappers.TimeAwareObservation,
        lambda env: wrappers.TransformReward(env, np.tanh),
    ],
    ids=["frozen", "records", "stacks", "time", "transforms"],
)
def test_wrappers_that_do_not_learn_are_taken(wrap: Any) -> None:
    check_keeps_no_statistics("CartPole-v1", wrap(cartpole()))


def test_layers_go_inwards() -> None:
    env = wrappers.TimeAwareObservation(cartpole())
    assert layers(env)[0] is env and layers(env)[-1] is env.unwrapped
    assert layers(env.unwrapped) == [env.unwrapped]


class Slope(gymnasium.Env[Any, Any]):
    """No `spec`: its options are its attributes."""

    def __init__(self, friction: float = 0.1, size: Any = (3, 4)):
        self.friction, self.size, self.gains = friction, size, np.array([1.0, 2.0])
        self.start = np.random.default_rng().normal()  # differs from copy to copy
        self.render_mode, self._hidden, self.log = None, 3, []
        self.observation_space, self.action_space = gymnasium.spaces.Box(-1, 1, (1,)), gymnasium.spaces.Discrete(2)


def test_options_are_known_by_name() -> None:
    found = options_of(Slope(0.3), Slope(0.3))
    assert found == {"Slope": {"friction": 0.3, "size": [3, 4], "gains": [1.0, 2.0], "log": []}}
    found = options_of(cartpole(sutton_barto_reward=True), cartpole(sutton_barto_reward=True))
    assert found["id"] == "CartPole-v1" and found["kwargs"]["sutton_barto_reward"] is True
    assert found["CartPoleEnv"]["gravity"] == 9.8 and "TimeLimit" in found

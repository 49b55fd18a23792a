"""Benchmarks of Meta-World: a stand-in with the same attributes, and the real one where it is installed."""

from collections import Counter
from types import SimpleNamespace
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
import torch

import quickstudy as qs
from quickstudy.rl.envs.bridges.metaworld import tasks_of
from quickstudy.rl.episodes import Episodes

SIZE, LENGTH = 3, 8


class Reach(gymnasium.Env[Any, Any]):
    """A hand on a line is to reach a goal that it does not see."""

    max_path_length = LENGTH
    observation_space = gymnasium.spaces.Box(-5.0, 5.0, (SIZE,), dtype=np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), dtype=np.float32)
    sign = 1.0

    def __init__(self, reward_function_version: str = "v2"):
        self.version, self.goal = reward_function_version, None

    def set_task(self, task: Any) -> None:
        assert task.kind is type(self)
        self.goal = task.goal

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        assert self.goal is not None
        self.place, self.count = 0.0, 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.count < LENGTH
        self.count += 1
        self.place += 0.2 * float(action[0])
        off = abs(self.place - self.sign * self.goal)
        reward = -off if self.version == "v2" else -(off**2)
        return self._seen(), reward, False, self.count == LENGTH, {"success": float(off < 0.1), "note": "words"}

    def _seen(self) -> Any:
        return np.array([self.place, self.sign, 0.0])


class Push(Reach):
    sign = -1.0


class Benchmark:
    """Two environments for training with 10 goals each, and one for test with 6."""

    train_classes: ClassVar[dict[str, Any]] = {"reach": Reach, "push": Push}
    test_classes: ClassVar[dict[str, Any]] = {"reach": Reach}

    def __init__(self) -> None:
        self.train_tasks = [self._task(name, g) for name in self.train_classes for g in range(10)]
        self.test_tasks = [self._task("reach", 20 + g) for g in range(6)]

    def _task(self, name: str, goal: int) -> Any:
        kind = {**self.train_classes, **self.test_classes}[name]
        return SimpleNamespace(env_name=name, goal=goal / 10, kind=kind)


def _drawn(env: Any, number: int, split: Any, seed: int = 0) -> list[int]:
    return env.sample_tasks(number, split=split, generator=torch.Generator().manual_seed(seed))["task"].int().tolist()


def test_tasks_are_even_over_environments_and_held_out() -> None:
    env = qs.rl.from_metaworld(Benchmark(), num_envs=2, validation_goals=3)
    train, validation, test = (_drawn(env, 2000, split) for split in ("train", "validation", "test"))
    assert set(train) == {*range(7), *range(10, 17)}
    assert set(validation) == {*range(7, 10), *range(17, 20)} and set(test) == set(range(20, 26))
    assert Counter(place < 10 for place in train) == {True: 1000, False: 1000}
    assert all(Counter(p < 10 for p in _drawn(env, 4, "train", seed)) == {True: 2, False: 2} for seed in range(20))
    assert min(Counter(train).values()) > 2000 / 14 - 4 * (2000 / 14) ** 0.5


def test_an_arm_is_of_the_class_and_goal_of_its_task() -> None:
    env = qs.rl.from_metaworld(Benchmark(), num_envs=2, reward="v1")
    assert env.horizon == LENGTH and env.observation_space.shape == (SIZE,)
    for places in ([3, 14, 25], [14, 3, 0]):  # arms change their class
        env.set_tasks({"task": torch.tensor(places, dtype=torch.get_default_dtype())})
        observation, _ = env.reset(generator=torch.Generator().manual_seed(0))
        signs = [-1.0 if 10 <= place < 20 else 1.0 for place in places]
        assert observation[:, :, 1].tolist() == [[sign, sign] for sign in signs]
        step = env.step(torch.ones(3, 2, 2))
        goals = [sign * tasks_of(Benchmark())[place].goal for sign, place in zip(signs, places, strict=True)]
        assert step.reward[:, 0].tolist() == pytest.approx([-((0.2 - goal) ** 2) for goal in goals], abs=1e-6)
        assert set(step.info) == {"success"}


class Lucky(Reach):
    """Success at the first step in every second episode of a goal."""

    episodes = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.lucky = seed is not None and seed % 2 == 0
        return super().reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, _ = super().step(action)
        return observation, reward, terminated, truncated, {"success": float(self.lucky and self.count == 1)}


def test_success_is_counted_over_a_fixed_number_of_episodes() -> None:
    """Half of the episodes succeed at once; an evaluation that counts the first that end would tell more than half."""

    class Halves(Benchmark):
        train_classes: ClassVar[dict[str, Any]] = {"lucky": Lucky}
        test_classes = train_classes

        def __init__(self) -> None:
            self.train_tasks = [self._task("lucky", g) for g in range(10)]
            self.test_tasks = [self._task("lucky", g) for g in range(6)]

    env = qs.rl.from_metaworld(Halves(), num_envs=50)
    learner = qs.rl.MAMLTRPO(qs.rl.GaussianPolicy(qs.nets.MLP(SIZE, [4], 2), 2))
    found = qs.rl.evaluate(learner, env, tasks=6, steps=0)
    assert found["success/steps=0"].mean == pytest.approx(0.5, abs=4 * 0.5 / 300**0.5)


def test_what_cannot_be() -> None:
    with pytest.raises(TypeError, match="benchmark is a str without train_classes"):
        qs.rl.from_metaworld("ML10")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="reward='v3'"):
        qs.rl.from_metaworld(Benchmark(), reward="v3")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="validation_goals=10; an environment has 10 goals"):
        qs.rl.from_metaworld(Benchmark(), validation_goals=10)
    with pytest.raises(TypeError, match="RL2; expected one that adapts by gradient steps"):
        qs.rl.MetaWorldAgent(qs.rl.RL2.of(qs.rl.Bandit(), width=4))


def _official(agent: Any, env: Any, episodes: int) -> Any:
    """What Meta-World's evaluation does with an agent up to the adaptation, on an environment of ours with E = 1."""
    agent.init()
    chance, played = torch.Generator().manual_seed(3), []
    for _ in range(episodes):
        observation, _ = env.reset(generator=chance)
        for _ in range(LENGTH):
            seen = observation[:, 0].double().numpy()
            action, more = agent.adapt_action(seen)
            step = env.step(torch.as_tensor(action).unsqueeze(1))
            flags = [part[:, 0].numpy() for part in step[1:4]]
            told = dict(zip(("reward", "terminated", "truncated"), flags, strict=True))
            played.append(SimpleNamespace(observation=seen, action=action, aux_policy_outputs=more, **told))
            agent.step(played[-1])
            observation = step.observation
    agent.adapt()
    return played


def test_the_agent_adapts_as_the_learner_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same episodes, given to the actor as a record of two episodes a row."""
    torch.manual_seed(0)
    env = qs.rl.from_metaworld(Benchmark(), num_envs=1)
    env.set_tasks({"task": torch.tensor([1.0, 12.0, 23.0])})
    learner = qs.rl.MAMLTRPO(qs.rl.GaussianPolicy(qs.nets.MLP(SIZE, [4], 2), 2), lr=0.5)
    agent = qs.rl.MetaWorldAgent(learner)
    played = _official(agent, env, episodes=2)

    def row(name: str) -> torch.Tensor:
        values = [torch.as_tensor(getattr(step, name)) for step in played]
        value = torch.stack(values, 1).unsqueeze(1)
        return value if value.dtype == torch.bool else value.float()

    log_prob = torch.stack([torch.as_tensor(step.aux_policy_outputs["log_prob"]) for step in played], 1).unsqueeze(1)
    seen, done = row("observation"), row("truncated")
    following = torch.cat([seen[:, :, 1:], seen[:, :, -1:]], 2)
    following[:, :, LENGTH - 1] = seen[:, :, LENGTH - 1]
    time = torch.arange(LENGTH).repeat(2).expand(3, 1, -1)
    assert done[0, 0].nonzero().flatten().tolist() == [LENGTH - 1, 2 * LENGTH - 1]
    episodes = Episodes(
        seen, row("action"), row("reward"), following, log_prob, row("terminated"), done, done == done, time
    )
    adapted, x = learner.actor().adapt(episodes), torch.randn(3, 1, SIZE)
    assert agent.eval_action(x[:, 0].numpy()) == pytest.approx(
        learner.policy.mode(adapted(x))[:, 0].detach().numpy(), abs=1e-6
    )
    before = learner.policy.mode(learner.actor()(x))[:, 0]
    assert float((torch.as_tensor(agent.eval_action(x[:, 0].numpy())) - before).abs().max()) > 1e-3
    agent.init()
    assert agent.eval_action(x[:, 0].numpy()) == pytest.approx(before.detach().numpy(), abs=1e-6)


def test_the_real_benchmark() -> None:
    metaworld = pytest.importorskip("metaworld", reason="the extra `metaworld` is not installed")
    env = qs.rl.from_metaworld(metaworld.ML1("reach-v3", seed=0), num_envs=1, horizon=5)
    env.set_tasks(env.sample_tasks(3, generator=torch.Generator().manual_seed(0)))
    observation, _ = env.reset()
    assert observation.shape == (3, 1, 39) and not observation[..., -3:].any()  # the goal is hidden
    assert "success" in env.step(torch.zeros(3, 1, 4)).info

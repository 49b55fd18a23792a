"""Environments that hand out their own buffers are recorded rightly, and wrong answers are named with their step."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from rl.worlds import Points
from torch import Tensor

import quickstudy as qs
from quickstudy.decide.living import live
from quickstudy.rl.environment import Step
from quickstudy.rl.envs.filmed import Filmed
from quickstudy.rl.envs.stepping import check_drawn


class Buffered:
    """Another environment, whose answers are always the same tensors, and which writes into actions and tasks."""

    def __init__(self, env: Any):
        self.env, self.buffers = env, dict[str, Tensor]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def put(self, name: str, value: Tensor) -> Tensor:
        return self.buffers.setdefault(name, torch.empty_like(value)).copy_(value)

    def reset(self, mask: Tensor | None = None, *, generator: Any = None) -> Any:
        observation = self.put("observation", self.env.reset(mask, generator=generator)[0])
        for name, value in self.buffers.items():  # a new episode clears what the last step left
            if name != "observation":
                value.zero_()
        return observation, {}

    def step(self, action: Tensor) -> Step:
        step = self.env.step(action.clone())
        action.zero_()
        info = {"success": self.put("success", (step.reward > -0.5).float())}
        return Step(*(self.put(name, getattr(step, name)) for name in Step._fields[:4]), info)


def board(**options: Any) -> Any:
    env = qs.rl.Navigation2D(**{"num_envs": 3, "horizon": 6, **options})
    env.set_tasks(env.sample_tasks(2, generator=torch.Generator().manual_seed(0)))
    return env


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize(
    "options", [{}, {"restart": True, "steps": 20, "keep_unfinished": True}], ids=["once", "again"]
)
def test_a_rollout_records_what_was_seen_before_each_step(options: Any) -> None:
    policy = qs.rl.GaussianPolicy(qs.nets.MLP(2, [8], 2), 2)
    expected = qs.rl.rollout(board(horizon=4), policy, generator=seeded(), **options)
    found = qs.rl.rollout(Buffered(board(horizon=4)), policy, generator=seeded(), **options)
    for a, b in zip(found[:9], expected[:9], strict=True):
        assert torch.equal(a, b)
    real = found.mask & ~found.done
    assert torch.equal(found.observation[:, :, 1:][real[:, :, :-1]], found.next_observation[:, :, :-1][real[:, :, :-1]])
    assert (found.next_observation != found.observation).any()
    assert torch.equal(found.info["success"] > 0, (expected.reward > -0.5) & expected.mask)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_arrays_that_were_handed_out_stay(mode: AutoresetMode) -> None:
    runs = []
    for make in (board, lambda **options: Buffered(board(**options))):
        envs = qs.rl.VectorEnv(make(horizon=3), autoreset_mode=mode)
        held = [envs.reset(seed=3)[0]]
        draw = np.random.default_rng(0)
        for _ in range(8):
            action = draw.normal(size=(6, 2)).astype(np.float32)
            given = action.copy()
            *parts, info = envs.step(action)
            assert np.array_equal(action, given)
            held += parts
            if "final_obs" in info:
                held += list(info["final_obs"])
            if mode is AutoresetMode.DISABLED and (done := parts[2] | parts[3]).any():
                held.append(envs.reset(options={"reset_mask": done})[0])
        runs.append(held)
    for a, b in zip(*runs, strict=True):
        assert (a is None) == (b is None) and (a is None or np.array_equal(a, b))


class Remembers:
    """An agent that keeps what it sees, and hands out one buffer for its actions."""

    def __init__(self, actions: int | None):
        self.moments, self.actions, self.draw = list[Any](), actions, seeded()
        self.buffer: Tensor | None = None

    def act(self, state: Tensor) -> Tensor:
        if self.actions is None:
            drawn = torch.randn(len(state), 2, generator=self.draw)
        else:
            drawn = torch.randint(self.actions, (len(state),), generator=self.draw)
        self.buffer = drawn if self.buffer is None else self.buffer.copy_(drawn)
        return self.buffer

    def see(self, moment: Any) -> None:
        self.moments.append(moment)

    def rest(self) -> None:
        pass


def one(kind: str) -> Any:
    env: Any = qs.rl.CartPole(num_envs=1, horizon=7) if kind == "cart" else qs.rl.Navigation2D(num_envs=1, horizon=7)
    env.set_tasks(env.sample_tasks(2, generator=torch.Generator().manual_seed(0)))
    return env


@pytest.mark.parametrize("kind", ["cart", "point"])
def test_an_agent_sees_each_change(kind: str) -> None:
    """With discrete and with continuous actions."""
    actions = 2 if kind == "cart" else None
    plain, buffered = Remembers(actions), Remembers(actions)
    live(one(kind), plain, episodes=2, generator=seeded())
    live(Buffered(one(kind)), buffered, episodes=2, generator=seeded())
    for a, b in zip(buffered.moments, plain.moments, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
        assert (a.following != a.state).any(1).all()
    if kind == "point":
        assert len({tuple(m.action.flatten().tolist()) for m in buffered.moments}) == len(buffered.moments) == 14


@pytest.mark.parametrize(
    ("kind", "action", "says"),
    [
        ("cart", torch.tensor([0.6, 1.7]), r"torch.float32 \[2\]; .*Discrete\(2\): expected integers \[2\]"),
        ("cart", torch.tensor([True, False]), r"torch.bool \[2\]"),
        ("cart", torch.tensor([[0], [1]]), r"torch.int64 \[2, 1\]"),
        ("point", torch.zeros(2, 2, dtype=torch.long), r"torch.int64 \[2, 2\]; .*expected real numbers \[2, 2\]"),
        ("point", torch.zeros(2), r"torch.float32 \[2\]; .*expected real numbers \[2, 2\]"),
    ],
    ids=["real", "bool", "an axis more", "whole", "an axis less"],
)
def test_actions_of_another_kind_are_refused_not_converted(kind: str, action: Tensor, says: str) -> None:
    agent = Remembers(2)
    agent.act = lambda state: action  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=f"the agent's action is {says}"):
        live(one(kind), agent, episodes=1)


def test_films_hold_copies_of_the_pictures() -> None:
    class Canvas(Buffered):
        picture = np.zeros((2, 2, 3), np.uint8)

        def render(self, task: int = 0, environment: int = 0) -> Any:
            self.picture += 1
            return self.picture

    filmed = Filmed(Canvas(board()))
    filmed.reset(generator=seeded())
    for _ in range(3):
        filmed.step(torch.ones(2, 3, 2))
    assert filmed.films[0][:, 0, 0, 0].tolist() == [1, 2, 3, 4]
    pictures = qs.rl.VectorEnv(Canvas(board()), render_mode="rgb_array").render()
    assert pictures is not None and len({int(p[0, 0, 0]) for p in pictures}) == 6


class Faulty(Points):
    """Answers as it should until its third step."""

    def __init__(self, fault: Any):
        super().__init__(radius=0.0)
        self.fault = fault

    def step(self, action: Tensor) -> Any:
        step = super().step(action)
        return self.fault(step) if len(self.actions) == 3 else step


def raises(step: Step) -> Step:
    raise RuntimeError("CUDA error: device-side assert")


FAULTS = {
    "raises": (raises, r"step failed: RuntimeError\('CUDA error"),
    "raises another": (lambda step: {}[3], r"step failed: KeyError\(3\)"),
    "four values": (lambda step: step[:4], r"step returned a tuple of 4; expected quickstudy.rl.Step\("),
    "one value": (lambda step: step.observation, r"step returned a Tensor"),
    "an array": (lambda step: step._replace(observation=step.observation.numpy()), r"observation is a ndarray"),
    "a number": (lambda step: step._replace(reward=1.0), r"reward is a float; expected a tensor \[3, 4\]"),
    "a reward that broadcasts": (
        lambda step: step._replace(reward=step.reward[:, :1]),
        r"reward has shape \[3, 1\]; expected \[T, E, ...\] = \[3, 4\]",
    ),
    "an observation that broadcasts": (
        lambda step: step._replace(observation=step.observation[..., :1]),
        r"observation has shape \[3, 4, 1\]; expected \[T, E, ...\] = \[3, 4, 2\]",
    ),
    "another type": (
        lambda step: step._replace(observation=step.observation.double()),
        r"the observation is torch.float64, and after reset it was torch.float32",
    ),
    "whole rewards": (lambda step: step._replace(reward=step.reward.long()), r"the reward is torch.int64"),
    "ends as numbers": (
        lambda step: step._replace(terminated=step.terminated.float()),
        r"terminated is torch.float32; expected torch.bool",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_answer_says_where(name: str) -> None:
    fault, says = FAULTS[name]
    env, policy = Faulty(fault), qs.rl.GaussianPolicy(qs.nets.MLP(2, [4], 2), 2)
    env.set_tasks(env.sample_tasks(3))
    with pytest.raises(qs.rl.EnvironmentFailure, match=f"^Faulty, all tasks, step 2, seed 1: {says}") as caught:
        qs.rl.rollout(env, policy, generator=seeded())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("reset", "says"),
    [
        (lambda found: found[0], r"reset returned a Tensor; expected \(observation, info\)"),
        (lambda found: (found[0][:, 0], {}), r"reset's observation has shape \[3, 2\]; .* = \[3, 4, 2\]"),
        (lambda found: (None, {}), r"reset's observation is a NoneType"),
        (lambda found: 1 / 0, r"reset failed: ZeroDivisionError"),
    ],
    ids=["old", "fewer axes", "nothing", "raises"],
)
def test_a_wrong_reset_says_so(reset: Any, says: str) -> None:
    env = Points()
    env.set_tasks(env.sample_tasks(3))
    own = env.reset
    env.reset = lambda mask=None, *, generator=None: reset(own(mask, generator=generator))  # type: ignore[method-assign]
    with pytest.raises(qs.rl.EnvironmentFailure, match=f"Points, all tasks, step 0, no seed.*{says}"):
        qs.rl.rollout(env, qs.rl.GaussianPolicy(qs.nets.MLP(2, [4], 2), 2))


@pytest.mark.parametrize("value", [torch.inf, -torch.inf])
@pytest.mark.parametrize("part", ["observation", "reward"])
def test_infinity_is_the_environments(part: str, value: float) -> None:
    """And no sign that the policy's weights diverged."""

    def spoil(step: Step) -> Step:
        getattr(step, part)[1, 2] = value
        return step

    env = Faulty(spoil)
    env.set_tasks(env.sample_tasks(3))
    says = (
        f"the environment's {part} is {value} in task 1, environment 2, step {2 + (part == 'observation')}; look at its"
    )
    policy = qs.rl.GaussianPolicy(
        torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 2)), 2
    )
    with pytest.raises(ValueError, match=says):
        qs.rl.rollout(env, policy)


def test_observations_of_another_type_than_the_weights() -> None:
    policy = qs.rl.GaussianPolicy(qs.nets.MLP(2, [4], 2), 2).double()
    with pytest.raises(
        ValueError, match="observations are torch.float32 after reset, and the policy's weights are torch.float64"
    ):
        qs.rl.rollout(board(), policy)


@pytest.mark.parametrize(
    ("tasks", "says"),
    [
        ({"goal": torch.zeros(2, 2)}, r"sample_tasks\(3\) returned goal of shape \[2, 2\]; expected \[3, ...\]"),
        ({"goal": torch.zeros(3, 2), "mass": torch.tensor(1.0)}, r"returned mass of shape \[\]"),
        ([{"goal": 1.0}] * 3, r"sample_tasks returned a list; expected a dictionary of tensors \[3, ...\]"),
        ({"goal": np.zeros((3, 2))}, "sample_tasks returned a dict"),
    ],
    ids=["fewer", "a scalar", "a list", "arrays"],
)
def test_other_tasks_than_asked_for_are_named(tasks: Any, says: str) -> None:
    with pytest.raises(ValueError, match=f"^Navigation2D.*{says}"):
        check_drawn(board(), tasks, 3)

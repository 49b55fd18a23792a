"""The cart and its pole, beside gymnasium's own."""

import math
from typing import Any

import gymnasium
import pytest
import torch
from torch import Tensor

from quickstudy.rl import CartPole, Simulator
from quickstudy.rl.envs.cartpole import PHYSICS

STANDARD = {"masscart": 1.0, "masspole": 0.1, "length": 0.5, "force_mag": 10.0, "gravity": 9.8}
TASKS: list[dict[str, float]] = [
    STANDARD,
    STANDARD | {"masscart": 0.1, "masspole": 1.0},
    STANDARD | {"masscart": 3.0, "masspole": 0.01},
    STANDARD | {"length": 0.25, "gravity": 3.7},
    STANDARD | {"length": 1.5, "force_mag": 17.0},
    STANDARD | {"force_mag": -10.0},
]


def _as_tensors(tasks: list[dict[str, float]]) -> dict[str, Tensor]:
    return {k: torch.tensor([task[k] for task in tasks]) for k in PHYSICS}


def _theirs(task: dict[str, float], state: Tensor) -> Any:
    """gymnasium's environment with this physics, in this state; what follows from masses and lengths follows again."""
    env: Any = gymnasium.make("CartPole-v1").unwrapped
    for name, value in task.items():
        setattr(env, name, value)
    env.total_mass = env.masspole + env.masscart
    env.polemass_length = env.masspole * env.length
    env.reset(seed=0)
    env.state = state.numpy().copy()
    return env


def _chosen(state: Tensor, random: bool) -> Tensor:
    """At random, or such that the standard pole stays up."""
    return torch.randint(2, state.shape[:2]) if random else (3 * state[..., 2] + state[..., 3] > 0).long()


@pytest.mark.parametrize("balancing", [False, True], ids=["random", "balancing"])
def test_step_by_step_as_gymnasium(balancing: bool) -> None:
    """Random pushes, side by side to the end; balanced, for long, each step from our own state: rounding grows fast."""
    torch.set_default_dtype(torch.float64)
    ours = CartPole(num_envs=4, horizon=200)
    ours.set_tasks(_as_tensors(TASKS))
    state, _ = ours.reset(generator=torch.Generator().manual_seed(0))
    theirs = [[_theirs(task, state[t, e]) for e in range(4)] for t, task in enumerate(TASKS)]
    running = torch.ones(len(TASKS), 4, dtype=torch.bool)
    lived = 0
    for _ in range(200):
        action = _chosen(state, random=not balancing)
        step = ours.step(action)
        for t, e in running.nonzero().tolist():
            other = theirs[t][e]
            if balancing:
                other.state = state[t, e].numpy().copy()
            _, reward, terminated, _, _ = other.step(int(action[t, e]))
            expected, tolerance = torch.from_numpy(other.state), 1e-13 if balancing else 1e-10
            torch.testing.assert_close(step.observation[t, e], expected, rtol=tolerance, atol=tolerance)
            assert bool(step.terminated[t, e]) is terminated and step.reward[t, e].item() == reward == 1.0
            lived += 1
        running, state = ~step.terminated, step.observation
    assert bool(step.terminated.any()) and lived > 400
    assert bool(step.truncated[0].all()) is balancing


def test_ends_where_gymnasium_does() -> None:
    """A hair within and beyond each edge."""
    torch.set_default_dtype(torch.float64)
    lean = 12 * 2 * math.pi / 360
    states = [
        [sign * place * (1 + hair) for place in places]
        for sign in (1, -1)
        for hair in (1e-9, -1e-9)
        for places in ((2.4, 0.0, 0.0, 0.0), (0.0, 0.0, lean, 0.0))
    ]
    _, _, ended = CartPole().dynamics(
        _as_tensors([STANDARD]), torch.tensor([states]), torch.ones(1, 8, dtype=torch.long)
    )
    expected = [_theirs(STANDARD, torch.tensor(state)).step(1)[2] for state in states]
    assert ended[0].tolist() == expected and sum(expected) == 4


def test_a_fall_costs_what_comes_after_it() -> None:
    env = CartPole.standard(num_envs=2, horizon=200)
    env.set_tasks(env.sample_tasks(1))
    env.reset()
    steps = [env.step(torch.tensor([[1, 0]])) for _ in range(20)]
    total = torch.stack([s.reward for s in steps]).sum(0)
    assert bool(steps[-1].terminated.all()) and bool((total < 12).all()) and bool((total > 7).all())


def test_two_tasks_differ() -> None:
    """In every part of the physics, from the same state by the same pushes."""
    env = CartPole(num_envs=1)
    for name in PHYSICS:
        env.set_tasks(_as_tensors([STANDARD, STANDARD | {name: 1.3 * STANDARD[name]}]))
        state = torch.tensor([0.0, 0.1, 0.05, 0.2]).expand(2, 1, 4)
        for _ in range(3):
            state = env.dynamics(env.tasks, state, torch.ones(2, 1, dtype=torch.long))[0]
        assert bool(((state[0] - state[1])[0, [1, 3]].abs() > 1e-5).all()), name


def test_a_reversed_force_is_the_other_action() -> None:
    env = CartPole(num_envs=3)
    env.set_tasks(_as_tensors([STANDARD, STANDARD | {"force_mag": -10.0}]))
    state = (torch.rand(1, 3, 4) / 10).expand(2, 3, 4)
    action = torch.tensor([[0, 1, 1], [1, 0, 0]])
    following, _, _ = env.dynamics(env.tasks, state, action)
    assert torch.equal(following[0], following[1])


def test_physics_is_drawn_from_its_ranges() -> None:
    env = CartPole(masscart=(0.5, 1.5), length=(0.3, 0.4), force_mag=(5.0, 6.0), flip=0.25)
    tasks = env.sample_tasks(4000, generator=torch.Generator().manual_seed(0))
    assert tasks["masscart"].min() > 0.5 and tasks["masscart"].max() < 1.5
    assert tasks["masscart"].mean() == pytest.approx(1.0, abs=0.03)
    assert 0.3 <= float(tasks["length"].min()) and float(tasks["length"].max()) <= 0.4
    assert bool((tasks["gravity"] == 9.8).all())
    assert tasks["force_mag"].abs().min() >= 5 and tasks["force_mag"].abs().max() <= 6
    assert (tasks["force_mag"] < 0).float().mean() == pytest.approx(0.25, abs=0.03)
    assert len({frozenset(v[:2].tolist()) for v in CartPole.standard().sample_tasks(2).values()}) == 5


def test_starts_as_gymnasium() -> None:
    env = CartPole(num_envs=1000)
    env.set_tasks(env.sample_tasks(2))
    start, _ = env.reset()
    assert start.abs().max() <= 0.05 and start.std() == pytest.approx(0.1 / math.sqrt(12), rel=0.03)


def test_a_step_is_the_dynamics_and_the_dynamics_take_any_shape() -> None:
    env = CartPole(num_envs=5)
    assert isinstance(env, Simulator)
    env.set_tasks(env.sample_tasks(3))
    state, _ = env.reset()
    action = torch.randint(2, (3, 5))
    expected, _, _ = env.dynamics(env.tasks, state, action)
    torch.testing.assert_close(env.step(action).observation, expected)
    many, reward, ended = env.dynamics(env.tasks, state[:, None].expand(3, 4, 5, 4), action[:, None].expand(3, 4, 5))
    torch.testing.assert_close(many[:, 1], expected)
    assert reward.shape == ended.shape == (3, 4, 5)
    torch.testing.assert_close(env.dynamics(env.tasks, state[:, 0], action[:, 0])[0], expected[:, 0])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"masscart": 0.0}, "masscart=0.0; every value must be above 0"),
        ({"length": (-1.0, 1.0)}, "every value must be above 0"),
        ({"gravity": -9.8}, "every value must be at least 0"),
        ({"masspole": (2.0, 1.0)}, "low <= high"),
        ({"flip": 1.5}, "flip=1.5; expected a share of tasks"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_options_are_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        CartPole(**change)


def test_bad_masses_are_refused() -> None:
    env = CartPole()
    with pytest.raises(ValueError, match="masspole of task 1 is 0; expected a value above 0"):
        env.set_tasks(_as_tensors([STANDARD, STANDARD | {"masspole": 0.0}]))


def test_the_dynamics_can_be_differentiated() -> None:
    torch.set_default_dtype(torch.float64)
    env, action = CartPole(), torch.tensor([[0, 1, 1]])
    state = (torch.rand(1, 3, 4) - 0.5).requires_grad_()
    physics = tuple(v.requires_grad_() for v in _as_tensors([STANDARD]).values())

    def following(state: Tensor, *physics: Tensor) -> Tensor:
        return env.dynamics(dict(zip(PHYSICS, physics, strict=True)), state, action)[0]

    assert torch.autograd.gradcheck(following, (state, *physics))

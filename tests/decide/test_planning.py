"""Planning: what an exhaustive search finds, what is reproducible, what is refused."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.decide.models import Simulated, World
from quickstudy.decide.objective import Balance
from quickstudy.decide.planning import cross_entropy, mppi

PLANNERS: dict[str, Any] = {
    "cem": lambda **kw: cross_entropy(elites=5, **kw),
    "mppi": lambda **kw: mppi(temperature=0.05, **kw),
}
every_planner = pytest.mark.parametrize("name", PLANNERS)


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Walk:
    """s' = s + (action - 1), actions 0, 1, 2."""

    def imagine(self, generator: torch.Generator | None = None) -> World:
        return lambda state, action: state[None, :, None, :] + (action - 1).cumsum(0).unsqueeze(-1)


def _near(aim: Tensor) -> Any:
    """Worth of walks that end near `aim [T]`, and go little on the way."""
    return lambda states: -((states[-1, ..., 0] - aim[:, None]) ** 2) - 0.01 * states[..., 0].abs().sum(0)


@every_planner
def test_it_finds_the_best_of_all_sequences(name: str) -> None:
    aim = torch.tensor([3.0, -2.0, 0.0])
    planner = PLANNERS[name](horizon=4, candidates=60, iterations=8, actions=3)
    plan = planner.plan(Walk(), torch.zeros(3, 1), _near(aim), generator=_seeded())
    everything = torch.tensor(list(product(range(3), repeat=4)), dtype=torch.float32).T  # [H, 81]
    worth = _near(aim)(Walk().imagine()(torch.zeros(3, 1), everything[:, None].expand(-1, 3, -1)))
    torch.testing.assert_close(plan.value, worth.max(1).values)
    assert plan.action.tolist() == plan.sequence[:, 0].tolist()
    torch.testing.assert_close(plan.chance.sum(-1), torch.ones(3, 4))


@every_planner
def test_a_better_first_guess_is_never_lost(name: str) -> None:
    planner = PLANNERS[name](horizon=6, candidates=8, iterations=3, actions=3)
    objective, draw = _near(torch.tensor([6.0])), _seeded()
    plan = planner.plan(Walk(), torch.zeros(1, 1), objective, None, draw)
    good = plan._replace(sequence=torch.full((1, 6), 2.0))
    assert planner.plan(Walk(), torch.zeros(1, 1), objective, good, draw).sequence.tolist() == [[2.0] * 6]


@every_planner
def test_equal_seeds_give_equal_plans_and_tasks_are_independent(name: str) -> None:
    env = qs.rl.CartPole()
    tasks, planner = env.sample_tasks(3, generator=_seeded()), PLANNERS[name](horizon=6, candidates=10)
    state = 0.1 * torch.randn(3, 4, generator=_seeded(1))
    plans = [planner.plan(Simulated(env, tasks), state, Balance.cartpole(), None, _seeded(2)) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*plans, strict=True))
    other = {k: torch.cat([v[:2], 2 * v[2:]]) for k, v in tasks.items()}
    changed = planner.plan(Simulated(env, other), state, Balance.cartpole(), None, _seeded(2))
    assert torch.equal(changed.chance[:2], plans[0].chance[:2]) and not torch.equal(changed.value[2], plans[0].value[2])


def test_the_objective_counts_until_a_limit_is_left() -> None:
    states = torch.zeros(5, 1, 3, 4)
    states[2, 0, 1, 0], states[0, 0, 2, 2] = -2.5, 0.3
    torch.testing.assert_close(Balance.cartpole()(states), torch.tensor([[5.0, 2.0, 0.0]]))


def test_the_objective_wants_the_pole_to_lean_towards_the_middle() -> None:
    objective = Balance.cartpole(lean=(0.05, 0.1))
    states = torch.tensor([1.0, 0.5, 0.0, 0.0]).repeat(5, 1, 3, 1)
    states[..., 2] = torch.tensor([-0.1, 0.0, 0.1])
    towards, upright, away = objective(states)[0].tolist()
    assert towards == pytest.approx(5.0) and towards > upright > away > 0
    miss = 3 * (0.1 / (12 * torch.pi / 180)) ** 2
    assert upright == pytest.approx(5 / (1 + miss))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cross_entropy(horizon=0), "horizon=0; expected a whole number of at least 1"),
        (lambda: mppi(actions=1), "actions=1; expected a whole number of at least 2"),
        (lambda: cross_entropy(elites=20, candidates=10), "elites=20 and candidates=10"),
        (lambda: cross_entropy(keep=1.5), "keep=1.5; expected a share"),
        (lambda: mppi(temperature=0.0), "temperature=0.0; expected a number above 0"),
    ],
)
def test_bad_settings(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_non_finite_values_are_named() -> None:
    planner = mppi(horizon=2, candidates=3)
    state = torch.zeros(2, 4)
    state[1, 2] = torch.nan
    env = qs.rl.CartPole()
    model = Simulated(env, env.sample_tasks(2))
    with pytest.raises(ValueError, match="the state of task 1 is"):
        planner.plan(model, state, Balance.cartpole())
    with pytest.raises(ValueError, match=r"state is \[2\]; expected \[T, ds\]"):
        planner.plan(model, state[:, 0], Balance.cartpole())
    env.set_tasks(env.sample_tasks(2))
    broken = {k: torch.stack([v[0], torch.nan * v[1]]) for k, v in env.tasks.items()}
    with pytest.raises(ValueError, match="outputs are not finite for task 1"):
        planner.plan(Simulated(env, broken), torch.zeros(2, 4), lambda states: states.sum((0, 3)))

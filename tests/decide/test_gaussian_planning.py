"""Planning of real actions, beside exact optima: Riccati's of a linear system, and the bounds of the box."""

from typing import Any

import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary
from torch import Tensor

import quickstudy as qs
from quickstudy.decide.control import Control, Known
from quickstudy.decide.living import live
from quickstudy.decide.models import Simulated, World
from quickstudy.decide.objective import LearnedReturn
from quickstudy.decide.planning import GaussianPlanner, Planner, cross_entropy, mppi

PLANNERS: dict[str, Any] = {
    "cem": lambda **kw: cross_entropy(**{"elites": 20, "spread": 0.5} | kw),
    "mppi": lambda **kw: mppi(**{"temperature": 0.2, "spread": 0.06} | kw),
}
every_planner = pytest.mark.parametrize("name", PLANNERS)
HORIZON = 8


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Linear:
    """s' = A s + B a with the reward -(s'^T s' + a^T R a) as a further column, for T systems A, B."""

    def __init__(self, a: Tensor, b: Tensor, r: Tensor):
        self.a, self.b, self.r = a, b, r

    @classmethod
    def drawn(cls, tasks: int, inputs: int = 1) -> "Linear":
        a = 0.9 * torch.eye(2) + 0.1 * torch.randn(tasks, 2, 2, generator=_seeded(5))
        return cls(a, torch.rand(tasks, 2, inputs, generator=_seeded(6)), 0.5 * torch.eye(inputs))

    def next(self, state: Tensor, action: Tensor) -> Tensor:
        """States `[T, K, 2]` after actions `[T, K, da]`."""
        return state @ self.a.mT + action @ self.b.mT

    def imagine(self, generator: torch.Generator | None = None) -> World:
        def world(state: Tensor, action: Tensor) -> Tensor:
            now, states = state[:, None].expand(-1, action.shape[2], -1), []
            for step in action:
                now = self.next(now, step)
                cost = now.square().sum(-1) + (step @ self.r * step).sum(-1)
                states.append(torch.cat([now, -cost[..., None]], -1))
            return torch.stack(states)

        return world

    def riccati(self, state: Tensor, horizon: int) -> Tensor:
        """The least cost `[T]` of `horizon` steps from `state [T, 2]`."""
        p = torch.zeros_like(self.a)
        for _ in range(horizon):
            q = torch.eye(2) + p  # the cost of the next state
            gain = torch.linalg.solve(self.r + self.b.mT @ q @ self.b, self.b.mT @ q @ self.a)
            closed = self.a - self.b @ gain
            p = closed.mT @ q @ closed + gain.mT @ self.r @ gain
        return torch.einsum("ti,tij,tj->t", state, p, state)


def _total(states: Tensor) -> Tensor:
    return states[..., -1].sum(0)


def _box(bound: float, components: int = 1) -> Box:
    return Box(-bound, bound, (components,))


@every_planner
@pytest.mark.parametrize("correlation", [0.0, 0.3])
@pytest.mark.parametrize("inputs", [1, 2])
def test_the_cost_is_riccatis(name: str, inputs: int, correlation: float) -> None:
    model, state = Linear.drawn(4, inputs), torch.randn(4, 2, generator=_seeded(1))
    options = {"space": _box(2.0, inputs), "horizon": HORIZON, "candidates": 300, "correlation": correlation}
    planner = PLANNERS[name](**options, iterations=60, floor=0.0)
    plan = planner.plan(model, state, _total, generator=_seeded())
    least = model.riccati(state, HORIZON)
    assert plan.action.shape == (4, inputs) and torch.equal(plan.action, plan.sequence[:, 0])
    assert bool((-plan.value >= least * 0.9999).all()) and bool((-plan.value <= 1.05 * least).all())
    again = _total(model.imagine()(state, plan.sequence.transpose(0, 1).unsqueeze(2)))[:, 0]
    torch.testing.assert_close(again, plan.value)


@every_planner
def test_the_optimum_at_a_bound_is_found_and_no_bound_is_left(name: str) -> None:
    """A point that is far from its aim has to go as fast as it may, up in one component and down in the other."""
    model = Linear(torch.eye(2)[None], torch.eye(2)[None], torch.zeros(2, 2))
    low, high = torch.tensor([-0.1, -0.3]), torch.tensor([0.2, 0.4])
    planner = PLANNERS[name](space=Box(low.numpy(), high.numpy()), horizon=5, spread=1.0, iterations=20)
    plan = planner.plan(model, torch.tensor([[-90.0, 80.0]]), _total, generator=_seeded())
    for part in (plan.sequence, plan.mean, plan.action):
        assert bool(((part >= low - 1e-6) & (part <= high + 1e-6)).all())
    torch.testing.assert_close(plan.action[0], torch.tensor([0.2, -0.3]), rtol=0, atol=0.02)


@every_planner
def test_warm_starts_help(name: str) -> None:
    """With few candidates, on a cart that is pushed to its place: less is lost to the best possible pushes."""
    a, b = torch.tensor([[1.0, 0.3], [0.0, 1.0]]), torch.tensor([[0.0], [0.3]])
    model, costs = Linear(a.expand(10, 2, 2), b.expand(10, 2, 1), 0.5 * torch.eye(1)), {}
    few = {"elites": 4} if name == "cem" else {}
    planner = PLANNERS[name](space=_box(2.0), horizon=HORIZON, candidates=20, iterations=1, **few)
    for warm in (True, False):
        state, plan, draw, total = torch.tensor([4.0, 0.0]).expand(10, 2), None, _seeded(), torch.zeros(10)
        for _ in range(25):
            plan = planner.plan(model, state, _total, plan if warm else None, draw)
            following = model.next(state[:, None], plan.action[:, None])[:, 0]
            total += following.square().sum(-1) + 0.5 * plan.action.square().sum(-1)
            state = following
        costs[warm] = total - model.riccati(torch.tensor([4.0, 0.0]).expand(10, 2), 25)
    assert costs[True].mean() < 0.9 * costs[False].mean()


@every_planner
def test_a_better_first_guess_is_never_lost(name: str) -> None:
    model, state = Linear.drawn(3), torch.ones(3, 2)
    many = PLANNERS[name](space=_box(2.0), horizon=HORIZON, candidates=300, iterations=30)
    good = many.plan(model, state, _total, generator=_seeded())
    known = torch.cat([good.sequence[:, :-1], good.sequence[:, -2:-1]], 1)  # as it is after it was shifted
    worth = _total(model.imagine()(state, known.transpose(0, 1).unsqueeze(2)))[:, 0]
    held = good._replace(sequence=torch.cat([known[:, :1], known[:, :-1]], 1), mean=0 * good.mean)
    few = PLANNERS[name](space=_box(2.0), horizon=HORIZON, candidates=20, iterations=2)
    assert bool((few.plan(model, state, _total, held, _seeded()).value >= worth - 1e-5).all())


@every_planner
def test_equal_seeds_give_equal_plans_and_tasks_are_independent(name: str) -> None:
    model, state = Linear.drawn(3), torch.randn(3, 2, generator=_seeded(1))
    planner = PLANNERS[name](space=_box(2.0), horizon=HORIZON, candidates=30, correlation=0.3)
    one, same = (planner.plan(model, state, _total, None, _seeded(2)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    other = Linear(torch.cat([model.a[:2], 2 * model.a[2:]]), model.b, model.r)
    changed = planner.plan(other, state, _total, None, _seeded(2))
    for a, b in zip(one, changed, strict=True):
        torch.testing.assert_close(a[:2], b[:2])
    assert not torch.equal(one.value[2], changed.value[2])


def test_noise_is_standard_at_each_step_and_correlated_between_steps() -> None:
    planner = mppi(space=_box(1.0, 2), horizon=6, candidates=20_000, correlation=0.7)
    noise = planner._noise(torch.zeros(1, 6, 2), _seeded())
    torch.testing.assert_close(noise.std(2), torch.ones(6, 1, 2), rtol=0, atol=0.03)
    for lag in (1, 3):
        found = (noise[lag:] * noise[:-lag]).mean(2)
        torch.testing.assert_close(found, torch.full_like(found, 0.7**lag), rtol=0, atol=0.03)
    assert not (noise[..., 0] * noise[..., 1]).mean().abs() > 0.01


def test_control_walks_to_the_goal() -> None:
    """In an environment with real actions, whose reward is a column of the model's."""
    env = qs.rl.Navigation2D(num_envs=1, horizon=20)
    env.set_tasks({"goal": torch.tensor([[0.4, -0.3], [-0.2, 0.5]])})
    encoding = qs.decide.Encoding(torch.ones(2), torch.ones(2), 0, torch.tensor(1.0), action_scale=torch.ones(2))
    planner = mppi(space=env.action_space, horizon=5, candidates=100, temperature=0.01)
    agent = Control(
        Known(Simulated(env, env.tasks, reward=True)), planner, LearnedReturn(encoding), generator=_seeded()
    )
    life = live(env, agent, episodes=1, generator=_seeded())
    # straight on by 0.1 sqrt(2) a step at most: 0.5, 0.4, 0.3 ... stays below 2 in all
    assert bool((life.returns[0] > -2.5).all())


def test_the_kind_of_planner_is_that_of_the_space() -> None:
    assert isinstance(mppi(), Planner) and mppi(space=Discrete(3)).actions == 3
    assert isinstance(cross_entropy(space=_box(2.0)), GaussianPlanner)
    assert cross_entropy(space=_box(2.0)).refit and not mppi(space=_box(2.0)).refit


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mppi(space=_box(1.0), horizon=0), "horizon=0; expected a whole number of at least 1"),
        (lambda: mppi(space=_box(1.0), keep=1.5), "keep=1.5; expected a share"),
        (lambda: mppi(space=_box(1.0), floor=-0.1), "floor=-0.1; expected a share"),
        (lambda: mppi(space=_box(1.0), spread=0.0), "spread=0.0; expected a number above 0"),
        (lambda: mppi(space=_box(1.0), spread=float("nan")), "spread=nan; expected a number above 0"),
        (lambda: mppi(space=_box(1.0), correlation=1.0), "correlation=1.0; expected a number of at least 0 and below"),
        (lambda: cross_entropy(space=_box(1.0), elites=20, candidates=10), "elites=20 and candidates=10"),
        (lambda: mppi(space=_box(torch.inf)), "expected a Box of one axis with bounds"),
        (lambda: mppi(space=Box(-1.0, 1.0, (2, 2))), "expected a Box of one axis with bounds"),
        (lambda: mppi(space=Discrete(3, start=1)), "expected actions that start at 0"),
        (lambda: GaussianPlanner(weigh=mppi().weigh, low=(1.0,), high=(1.0,), refit=True), "each low below its high"),
        (
            lambda: GaussianPlanner(weigh=mppi().weigh, low=(0.0, 0.0), high=(1.0,), refit=True),
            "as many finite numbers",
        ),
        (lambda: GaussianPlanner(weigh=mppi().weigh, low=(), high=(), refit=True), "as many finite numbers"),
    ],
)
def test_bad_settings(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_another_space_is_refused() -> None:
    with pytest.raises(TypeError, match="expected the environment's action space, a Box or Discrete"):
        cross_entropy(space=MultiBinary(2))


def test_non_finite_values_are_named() -> None:
    model, planner, state = Linear.drawn(2), mppi(space=_box(1.0), candidates=3), torch.zeros(2, 2)
    with pytest.raises(ValueError, match="the state of task 1 is"):
        planner.plan(model, torch.tensor([[0.0, 0.0], [0.0, torch.nan]]), _total)
    with pytest.raises(ValueError, match=r"state is \[2\]; expected \[T, ds\]"):
        planner.plan(model, state[:, 0], _total)
    model.a[1] = torch.nan
    with pytest.raises(ValueError, match="outputs are not finite for task 1"):
        planner.plan(model, state, _total)

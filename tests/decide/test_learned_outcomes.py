"""Reward and end as outputs: what a family gives, what a world tells, and the return that needs nothing else."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.decide.control import Adapting, Control, Known
from quickstudy.decide.encoding import Encoding
from quickstudy.decide.ensemble import Ensemble
from quickstudy.decide.living import live
from quickstudy.decide.models import Learned, Simulated
from quickstudy.decide.moment import Moment
from quickstudy.decide.objective import Balance, LearnedReturn
from quickstudy.decide.planning import mppi
from quickstudy.decide.transitions import Transitions

CARTS = qs.rl.CartPole(num_envs=1)
ENCODING = Encoding(torch.ones(4), torch.ones(4), 2, torch.tensor(2.0), True)


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Slide:
    """s' = s + push (2a - 1) / 10, reward -3 s'², over where |s'| > 1."""

    num_envs, horizon = 1, 50

    def sample_tasks(self, num_tasks: int, *, split: str = "train", generator: Any = None) -> dict[str, Tensor]:
        return {"push": 0.5 + torch.rand(num_tasks, generator=generator)}

    def dynamics(self, tasks: dict[str, Tensor], state: Tensor, action: Tensor, generator: Any = None) -> Any:
        push = tasks["push"].view(-1, *[1] * (action.dim() - 1)) / 10
        following = state + (push * (2 * action.to(state) - 1)).unsqueeze(-1)
        return following, -3 * following[..., 0].square(), following[..., 0].abs() > 1


SLIDES: Any = {"near": (0.1,), "wide": (1.0,), "feedback": (1.0,)}


@pytest.mark.parametrize(("reward", "end"), [(True, False), (False, True), (True, True)])
def test_outcomes_follow_the_change_of_state(reward: bool, end: bool) -> None:
    env: Any = Slide()
    family = Transitions(env, **SLIDES, reward=reward, end=end, noise=0.0)
    tasks = family.sample(100, support=12, query=64, split="test", generator=_seeded())
    assert tasks.query.y.shape == (100, 64, family.dy) and family.dy == family.encoding.dy == 1 + reward + end
    assert family.dx == family.encoding.dx == 2
    encoding = family.encoding
    for examples in (tasks.support, tasks.query):
        state, action = examples.x[..., :1], (examples.x[..., 1] + 1) / 2
        following, brought, terminated = env.dynamics(tasks.info, state, action)
        columns = [(following - state) / encoding.change_scale]
        columns += [brought.unsqueeze(-1) / encoding.reward_scale] if reward else []
        columns += [terminated.float().unsqueeze(-1)] if end else []
        torch.testing.assert_close(examples.y, torch.cat(columns, -1))
    if end:  # is seen from both sides
        assert 0.01 < tasks.query.y[..., -1].mean() < 0.5
    if reward:
        assert 0.2 < float(tasks.query.y[..., 1].square().mean()) < 2


@pytest.mark.parametrize("end", [False, True])
def test_further_outputs_do_not_change_the_others(end: bool) -> None:
    plain, more = Transitions(CARTS), Transitions(CARTS, reward=True, end=end, noise=0.0)
    torch.testing.assert_close(plain.encoding.state_scale, more.encoding.state_scale)
    one, two = (f.sample(3, support=20, query=30, generator=_seeded()) for f in (plain, more))
    assert torch.equal(one.support.x, two.support.x)
    assert torch.equal(one.query.x, two.query.x) != end  # ends are looked for further out
    if not end:
        assert torch.equal(one.query.y, two.query.y[..., :4]) and (two.query.y[..., 4] == 1).all()


def test_only_outcomes_are_noisy() -> None:
    quiet, noisy = (Transitions(CARTS, reward=True, end=True, noise=noise) for noise in (0.0, 0.2))
    one, two = (f.sample(20, support=30, query=60, generator=_seeded()) for f in (quiet, noisy))
    for plain, other in ((one.support, two.support), (one.query, two.query)):
        assert torch.equal(plain.x, other.x) and torch.equal(plain.y[..., :4], other.y[..., :4])
        noise = other.y[..., 4:] - plain.y[..., 4:]
        torch.testing.assert_close(noise.std((0, 1)), torch.full((2,), 0.2), atol=0.02, rtol=0)


def test_the_learned_return_is_that_of_a_loop() -> None:
    states = torch.randn(9, 3, 7, 6, generator=_seeded())
    states[..., 5] = torch.rand(9, 3, 7, generator=_seeded(1)) * 0.6
    objective = LearnedReturn(ENCODING, 0.9)
    found = objective(states)
    for t in range(3):
        for k in range(7):
            total, alive = 0.0, True
            for h in range(9):
                total += 0.9**h * float(states[h, t, k, 4]) * alive
                alive = alive and not states[h, t, k, 5] > 0.5
            assert float(found[t, k]) == pytest.approx(total, abs=1e-5)
    endless = LearnedReturn(ENCODING._replace(end=False), 0.5)(states[..., :5])
    torch.testing.assert_close(endless, (states[..., 4] * 0.5 ** torch.arange(9).view(-1, 1, 1)).sum(0))


def test_with_the_true_outcomes_it_is_the_return_of_the_environment() -> None:
    env = qs.rl.CartPole(num_envs=5, horizon=500)
    env.set_tasks(env.sample_tasks(2, generator=_seeded()))
    observation, _ = env.reset(generator=_seeded())
    action = torch.randint(2, (60, 2, 5), generator=_seeded())
    world = Simulated(env, env.tasks, reward=True, end=True).imagine()
    objective = LearnedReturn(Transitions(env, reward=True, end=True).encoding)
    found = objective(world(observation, action))
    returns = sum(env.step(step).reward for step in action)
    torch.testing.assert_close(found, returns)
    assert found.max() < 60


def test_learned_outcomes_are_in_the_environments_units() -> None:
    encoding, horizon = ENCODING._replace(state_scale=torch.full((4,), 2.0)), 6
    learner = qs.NeuralProcess(encoding.dx, encoding.dy, width=8, latent=4)
    predictor = learner.adapt(qs.Examples(torch.zeros(3, 0, 5), torch.zeros(3, 0, 6)))
    start = 0.1 * torch.randn(3, 2, 4, generator=_seeded())  # a state of each candidate's own
    action = torch.randint(2, (horizon, 3, 2), generator=_seeded())
    states = Learned(predictor, encoding).imagine(_seeded(4))(start, action)
    function, now = predictor.functions(1, _seeded(4)), start
    for step in range(horizon):
        output = function(encoding.inputs(now, action[step]))[0]
        now = encoding.following(now, output)
        expected = torch.cat([now, 2 * output[..., 4:5], output[..., 5:]], -1)
        torch.testing.assert_close(states[step], expected)
    assert torch.equal(Balance.cartpole()(states), Balance.cartpole()(states[..., :4]))


def test_planning_maximises_the_learned_return() -> None:
    env: Any = Slide()
    family = Transitions(env, **SLIDES, reward=True, end=True)
    model = Simulated(env, env.sample_tasks(2, generator=_seeded()), reward=True, end=True)
    planner = mppi(horizon=5, candidates=50, iterations=4, temperature=0.05)
    state = torch.tensor([[0.6], [-0.6]])
    assert planner.plan(model, state, LearnedReturn(family.encoding), None, _seeded()).action.tolist() == [0, 1]


@pytest.mark.parametrize("name", ["cnp", "ensemble"])
def test_agents_pass_outcomes_to_their_knowledge(name: str) -> None:
    family = Transitions(CARTS, reward=True, end=True)
    env = qs.rl.CartPole(num_envs=1, horizon=40)
    env.set_tasks(env.sample_tasks(2, generator=_seeded()))
    knowledge: Any = (
        Adapting(qs.CNP(family.dx, family.dy, width=8), family.encoding, 2, every=10)
        if name == "cnp"
        else Ensemble(family.encoding, 2, members=2, hidden=(8,), steps=2, batch=4)
    )
    planner, objective = mppi(horizon=3, candidates=4, iterations=1), LearnedReturn(family.encoding)
    life = live(env, Control(knowledge, planner, objective, generator=_seeded()), episodes=1, generator=_seeded())
    if name == "cnp":
        assert torch.equal(knowledge.predictor.state.seen, life.returns[0])
    else:
        y = torch.cat([e.y for e in knowledge._seen], 1)
        mask = torch.cat([e.real() for e in knowledge._seen], 1)
        assert torch.equal((y[..., 5] * mask).sum(1), torch.ones(2)) and (y[..., 4][mask] == 1).all()


def test_bad_input_is_named() -> None:
    state, one, all_real = torch.zeros(2, 4), torch.ones(2), torch.ones(2, dtype=torch.bool)
    known = Known(Simulated(CARTS, CARTS.sample_tasks(2)))
    known.see(Moment(state, one, one, state, one, all_real))
    knowledge = Adapting(qs.CNP(5, 6, width=8), ENCODING, 2)
    with pytest.raises(ValueError, match=re.escape("reward is missing; expected [2, 1]")):
        ENCODING.examples(state[:, None], one[:, None], state[:, None], all_real[:, None])
    with pytest.raises(ValueError, match=re.escape("terminated is [3, 1]; expected [2, 1]")):
        knowledge.see(Moment(state, one, one, state, torch.ones(3), all_real))
    with pytest.raises(ValueError, match="reward of transition 0 of task 1 is nan"):
        knowledge.see(Moment(state, one, torch.tensor([0.0, torch.nan]), state, one, all_real))
    knowledge.see(
        Moment(state, one, torch.tensor([0.0, torch.nan]), state, one, all_real & torch.tensor([True, False]))
    )
    with pytest.raises(ValueError, match="noise=-1; expected a finite number of at least 0"):
        Transitions(CARTS, noise=-1)
    with pytest.raises(ValueError, match="no reward among its outputs"):
        LearnedReturn(Transitions(CARTS).encoding)
    with pytest.raises(ValueError, match=r"discount=1\.5; expected a number from 0 to 1"):
        LearnedReturn(ENCODING, 1.5)
    with pytest.raises(ValueError, match="states have 4 columns; expected 6"):
        LearnedReturn(ENCODING)(torch.zeros(3, 2, 5, 4))

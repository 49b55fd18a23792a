"""An actor-critic in imagination: what it imagines, that it learns by it, and that no task feels another."""

from typing import Any

import pytest
import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.decide.actor_critic import ActorCritic, shared_start
from quickstudy.decide.control import Adapting, Known
from quickstudy.decide.ensemble import Ensemble
from quickstudy.decide.living import live
from quickstudy.decide.models import Fixed, Simulated
from quickstudy.decide.moment import Moment
from quickstudy.decide.objective import Balance, LearnedReturn
from quickstudy.decide.transitions import Transitions

FAMILY = Transitions(qs.rl.CartPole(), lanes=4)
SCALE = FAMILY.encoding.state_scale
TINY: dict[str, Any] = {"horizon": 6, "futures": 4, "functions": 2, "updates": 2, "epochs": 2, "hidden": (8,)}


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _carts(num_tasks: int = 3, horizon: int = 12) -> Any:
    env = qs.rl.CartPole(num_envs=1, horizon=horizon)
    env.set_tasks(env.sample_tasks(num_tasks, generator=_seeded()))
    return env


def _agent(knowledge: Any, num_tasks: int = 3, objective: Any = None, **options: Any) -> ActorCritic:
    objective = Balance.cartpole() if objective is None else objective
    return ActorCritic(knowledge, objective, SCALE, num_tasks, generator=_seeded(), **(TINY | options))


def _lived(agent: ActorCritic, tasks: int = 3, other: float = 1.0, steps: int = 8) -> None:
    """Some transitions of a nonsense world, the last task's scaled by `other`."""
    scale = torch.cat([torch.ones(tasks - 1, 1), torch.tensor([[other]])])
    for step in range(steps):
        state, following = 0.1 * scale * torch.randn(2, tasks, 4, generator=_seeded(step))
        everywhere = torch.ones(tasks, dtype=torch.bool)
        agent.see(Moment(state, agent.act(state), torch.ones(tasks), following, ~everywhere, everywhere))
    agent.rest()


def test_it_learns_to_balance_in_the_true_physics() -> None:
    env = _carts(2, horizon=200)
    knowledge, options = Known(Simulated(env, env.tasks)), {"functions": 1, "hidden": (32,), "epochs": 4}
    agent = _agent(knowledge, 2, horizon=30, futures=16, updates=25, first=0, **options)
    returns = live(env, agent, episodes=4, generator=_seeded(3)).returns.mean(1)
    assert returns[0] < 100 and returns[-1] > 190


def test_imagined_rollouts_follow_the_model() -> None:
    env = _carts()
    agent = _agent(Known(Simulated(env, env.tasks)), horizon=40, known=0.0)
    first, second = agent.imagine(), agent.imagine()
    following, _, over = env.dynamics(env.tasks, first.observation, first.action)
    torch.testing.assert_close(first.next_observation, following)
    assert torch.equal(first.terminated, over) and over.any() and not first.truncated.any()
    reward, _ = Balance.cartpole().steps(following)
    torch.testing.assert_close(first.reward, reward)
    goes_on = (first.observation[:, :, 1:] == first.next_observation[:, :, :-1]).all(-1)
    begins = (first.observation[:, :, 1:].abs() <= 0.05).all(-1)
    assert torch.equal(goes_on, ~over[:, :, :-1]) and begins[over[:, :, :-1]].all()
    came_to = first.next_observation[:, :, -1][~over[:, :, -1]]
    assert torch.equal(second.observation[:, :, 0][~over[:, :, -1]], came_to)


def test_rollouts_start_at_observed_states() -> None:
    env = _carts()
    agent = _agent(Known(Simulated(env, env.tasks)), known=1.0, memory=3, first=0)
    for step in range(5):
        mask = torch.tensor([True, step < 2, False])
        state = torch.full((3, 4), 0.01 * step) + 1
        agent.see(Moment(state, torch.zeros(3), torch.zeros(3), state, mask, mask))
    begin = agent._start_states(50)[..., 0]
    assert {round(v, 2) for v in begin[:, 0].flatten().tolist()} == {1.02, 1.03, 1.04}
    assert {round(v, 2) for v in begin[:, 1].flatten().tolist()} == {1.0, 1.01}
    assert begin[:, 2].abs().max() <= 0.05


def test_rollouts_terminate_outside_the_trained_region() -> None:
    env = _carts()
    endless = Balance(torch.full((4,), torch.inf), torch.zeros(1, 4))
    endless.limit[0] = 1e9
    agent = _agent(Known(Simulated(env, env.tasks)), objective=endless, horizon=100, reach=1.5)
    found = agent.imagine()
    far = (found.next_observation.abs() > 1.5 * SCALE).any(-1)
    assert far.any() and torch.equal(found.terminated, far)


@pytest.mark.parametrize("name", ["np", "cnp", "maml", "ensemble", "fixed"])
def test_it_works_with_every_kind_of_knowledge(name: str) -> None:
    learners: dict[str, Any] = {
        "np": lambda: qs.NeuralProcess(5, 4, width=8, latent=4),
        "cnp": lambda: qs.CNP(5, 4, width=8),
        "maml": lambda: qs.MAML(qs.nets.MLP(5, [8], 4), lr=0.01, steps=1),
    }
    knowledge: Any
    if name == "ensemble":
        knowledge = Ensemble(FAMILY.encoding, 3, members=2, hidden=(8,), steps=2, batch=4, generator=_seeded())
    elif name == "fixed":
        knowledge = Known(Fixed(qs.nets.MLP(5, [8], 4), FAMILY.encoding))
    else:
        knowledge = Adapting(learners[name](), FAMILY.encoding, 3, generator=_seeded())
    life = live(_carts(), _agent(knowledge), episodes=2, generator=_seeded())
    assert life.returns.shape == (2, 3) and (life.returns >= 5).all()  # whichever way it is pushed


def test_reward_and_end_can_be_learned() -> None:
    family = Transitions(qs.rl.CartPole(), lanes=4, reward=True, end=True)
    learner = qs.CNP(family.dx, family.dy, width=8)
    agent = _agent(Adapting(learner, family.encoding, 3), objective=LearnedReturn(family.encoding))
    life = live(_carts(), agent, episodes=2, generator=_seeded())
    assert torch.equal(agent.knowledge.predictor.state.seen, life.returns.sum(0))  # type: ignore[attr-defined]
    found = agent.imagine()
    inputs = family.encoding.inputs(found.observation.flatten(1, 2), found.action.flatten(1, 2))
    output = agent.knowledge.predictor(inputs).mean  # type: ignore[attr-defined]
    reward, end = family.encoding.outcomes(output).unflatten(1, found.reward.shape[1:]).unbind(-1)
    torch.testing.assert_close(found.reward, reward)
    assert torch.equal(found.terminated, (end > 0.5) | (found.next_observation.abs() > 3 * SCALE).any(-1))


@pytest.mark.parametrize("name", ["simulator", "np", "ensemble"])
def test_tasks_are_independent(name: str) -> None:
    env, agents = _carts(), []
    torch.manual_seed(0)
    learner = qs.NeuralProcess(5, 4, width=8, latent=4)
    for other in (1.0, 3.0):
        made: dict[str, Any] = {
            "simulator": lambda: Known(Simulated(env, env.tasks)),
            "np": lambda: Adapting(learner, FAMILY.encoding, 3, generator=_seeded()),
            "ensemble": lambda: Ensemble(FAMILY.encoding, 3, members=2, hidden=(8,), steps=3, generator=_seeded()),
        }
        agents.append(_agent(made[name](), known=1.0))
        _lived(agents[-1], other=other)
        agents[-1].rest()
    for networks in ("policy", "critic"):
        for one, two in zip(*(getattr(a.actors, networks).parameters() for a in agents), strict=True):
            assert torch.equal(one[:2], two[:2]) and not torch.equal(one[2], two[2])


def test_all_tasks_can_start_from_shared_weights() -> None:
    env = _carts(1)
    start = shared_start(Known(Simulated(env, env.tasks)), Balance.cartpole(), SCALE, generator=_seeded(), **TINY)
    many = _carts()
    agent = _agent(Known(Simulated(many, many.tasks)), initial=start, first=0)
    state = 0.1 * torch.randn(1, 5, 4, generator=_seeded())
    expected = start.log_probs(state).expand(3, -1, -1)
    torch.testing.assert_close(agent.actors.log_probs(state.expand(3, -1, -1)), expected)
    agent.act(torch.zeros(3, 4))
    torch.testing.assert_close(agent.actors.log_probs(state.expand(3, -1, -1)), expected)


def test_it_trains_before_it_acts() -> None:
    env = _carts()
    one, two = (_agent(Known(Simulated(env, env.tasks)), **options) for options in ({}, {"first": 0}))
    before: Tensor = one.actors.policy.parameters()[0].detach().clone()
    for agent in (one, two):
        agent.act(torch.zeros(3, 4))
    assert not torch.equal(one.actors.policy.parameters()[0], before)
    assert torch.equal(two.actors.policy.parameters()[0], before)


def test_bad_input_is_named() -> None:
    env = _carts()
    knowledge = Known(Simulated(env, env.tasks))
    with pytest.raises(ValueError, match="futures=4, functions=3"):
        _agent(knowledge, functions=3)
    with pytest.raises(ValueError, match=r"known=1\.5"):
        _agent(knowledge, known=1.5)
    with pytest.raises(ValueError, match=r"near=\(0\.1,\).*expected .* 4 numbers in near"):
        _agent(knowledge, near=(0.1,))
    with pytest.raises(ValueError, match="horizon=0; expected a whole number of at least 1"):
        _agent(knowledge, horizon=0)
    broken = {k: torch.stack([v[0], v[1], torch.nan * v[2]]) for k, v in env.tasks.items()}
    with pytest.raises(ValueError, match="the model's rollouts of task 2 are not finite"):
        _agent(Known(Simulated(env, broken))).act(torch.zeros(3, 4))

"""Control by a learned model: knowledge that grows, lives that are lived, rivals that learn."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.data import Examples
from quickstudy.decide.control import Adapting, Control, Known
from quickstudy.decide.dqn import DQN
from quickstudy.decide.ensemble import Ensemble
from quickstudy.decide.living import live
from quickstudy.decide.models import Fixed, Learned, Simulated
from quickstudy.decide.moment import Moment
from quickstudy.decide.objective import Balance
from quickstudy.decide.planning import mppi
from quickstudy.decide.ppo import PPO
from quickstudy.decide.reinforce import Reinforce
from quickstudy.decide.transitions import Transitions

FAMILY = Transitions(qs.rl.CartPole(), lanes=4)
LEARNERS: dict[str, Any] = {
    "np": lambda: qs.NeuralProcess(5, 4, width=8, latent=4),
    "cnp": lambda: qs.CNP(5, 4, width=8),
    "maml": lambda: qs.MAML(qs.nets.MLP(5, [8], 4), lr=0.01, steps=1),
}


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _carts(num_tasks: int = 3, horizon: int = 12) -> Any:
    env = qs.rl.CartPole(num_envs=1, horizon=horizon)
    env.set_tasks(env.sample_tasks(num_tasks, generator=_seeded()))
    return env


def _control(knowledge: Any, seed: int = 0) -> Control:
    planner = mppi(horizon=8, candidates=20, iterations=2)
    return Control(knowledge, planner, Balance.cartpole(), generator=_seeded(seed))


def test_a_plan_follows_one_function() -> None:
    tasks = FAMILY.sample(3, support=5, query=1, generator=_seeded())
    predictor = LEARNERS["np"]().adapt(tasks.support)
    world = Learned(predictor, FAMILY.encoding).imagine(_seeded(4))
    action = torch.ones(6, 3, 2)
    states = world(torch.zeros(3, 4), action)
    assert torch.equal(states, world(torch.zeros(3, 4), action))
    function = predictor.functions(1, _seeded(4))
    now = torch.zeros(3, 2, 4)
    for step in range(6):
        now = FAMILY.encoding.following(now, function(FAMILY.encoding.inputs(now, action[step]))[0])
        torch.testing.assert_close(states[step], now)


def test_the_true_simulator_is_the_environment() -> None:
    env = _carts()
    observation, _ = env.reset(generator=_seeded())
    action = torch.randint(2, (5, 3, 1), generator=_seeded())
    states = Simulated(env, env.tasks).imagine()(observation[:, 0], action)
    for step in range(5):
        torch.testing.assert_close(states[step], env.step(action[step]).observation)


@pytest.mark.parametrize("name", LEARNERS)
def test_the_support_set_holds_the_observed_transitions(name: str) -> None:
    learner = LEARNERS[name]()
    knowledge = Adapting(learner, FAMILY.encoding, 3, every=2, generator=_seeded())
    states = torch.randn(6, 3, 4, generator=_seeded())
    mask = torch.tensor([[True, True, True], [True, False, True], [True, False, False]])
    for step in range(3):
        knowledge.see(_moment(states[step], torch.ones(3), states[step + 1], mask[step]))
    knowledge.rest()
    encode = FAMILY.encoding.examples
    whole = encode(states[:3].transpose(0, 1), torch.ones(3, 3), states[1:4].transpose(0, 1), mask.T)
    x = torch.randn(3, 5, 5, generator=_seeded(1))
    expected = learner.adapt(whole, generator=_seeded())(x).mean
    torch.testing.assert_close(knowledge.predictor(x).mean, expected)


def test_later_transitions_are_ignored() -> None:
    knowledge = Adapting(LEARNERS["cnp"](), FAMILY.encoding, 2, most=3)
    everywhere = torch.ones(2, dtype=torch.bool)
    for step in range(5):
        knowledge.see(_moment(torch.full((2, 4), float(step)), torch.ones(2), torch.zeros(2, 4), everywhere))
    assert knowledge.predictor.state.seen.tolist() == [3.0, 3.0]


def test_live_returns_the_return_of_every_episode() -> None:
    lives = []
    for _ in range(2):
        env = _carts()
        lives.append(live(env, _control(Known(Simulated(env, env.tasks))), episodes=2, generator=_seeded(3)))
    assert torch.equal(lives[0].returns, lives[1].returns)
    assert lives[0].returns.tolist() == [[12.0] * 3] * 2 and lives[0].decisions == 2 * 3 * 12
    assert len(lives[0].seconds) == 2 and lives[0].seconds[0] < lives[0].seconds[1]


@pytest.mark.parametrize("name", LEARNERS)
def test_an_untrained_model_still_acts(name: str) -> None:
    env = _carts()
    life = live(env, _control(Adapting(LEARNERS[name](), FAMILY.encoding, 3)), episodes=1, generator=_seeded())
    assert life.returns.shape == (1, 3) and (life.returns >= 8).all()
    fixed = Known(Fixed(qs.nets.MLP(5, [8], 4), FAMILY.encoding))
    assert live(env, _control(fixed), episodes=1, generator=_seeded()).returns.shape == (1, 3)


def test_an_ensemble_learns_each_task_from_its_own_transitions() -> None:
    def trained(other: float) -> Ensemble:
        ensemble = Ensemble(FAMILY.encoding, 2, members=2, hidden=(16,), steps=150, lr=1e-2, generator=_seeded())
        env, scale = qs.rl.CartPole(), torch.tensor([1.0, other]).unsqueeze(1)
        tasks = env.sample_tasks(2, generator=_seeded())
        for _ in range(40):
            state = 0.1 * scale * torch.randn(2, 4, generator=_seeded(len(ensemble._seen)))
            action = (state[:, 0] > 0).float()
            ensemble.see(_moment(state, action, env.dynamics(tasks, state, action)[0], torch.ones(2, dtype=torch.bool)))
        ensemble.rest()
        return ensemble

    one, two = trained(1.0), trained(2.0)
    x = torch.zeros(2, 2, 3, 5)
    torch.testing.assert_close(one.networks(x)[:, 0], two.networks(x)[:, 0])
    assert not torch.equal(one.networks(x)[:, 1], two.networks(x)[:, 1])
    seen = one._seen
    x, y = torch.cat([e.x for e in seen], 1), torch.cat([e.y for e in seen], 1)
    assert (one.networks(x.expand(2, -1, -1, -1))[..., :4] - y).square().mean() < 0.2 * y.square().mean()


@pytest.mark.parametrize("make", [DQN, PPO, Reinforce])
def test_model_free_rivals_learn_that_one_action_pays(make: Any) -> None:
    """Action 1 pays in task 0, action 0 in task 1; one step an episode."""
    options = {"explore_steps": 100, "batch": 16, "follow": 0.1} if make is DQN else {}
    agent = make(torch.ones(1), 2, hidden=(16,), lr=1e-2, generator=_seeded(), **options)
    state, everywhere = torch.zeros(2, 1), torch.ones(2, dtype=torch.bool)
    for _ in range(150):
        for _ in range(1 if make is DQN else 10):
            action = agent.act(state)
            reward = (action == torch.tensor([1, 0])).float()
            agent.see(Moment(state, action, reward, state, everywhere, everywhere))
        agent.rest()
    chosen = torch.stack([agent.act(state) for _ in range(50)]).float().mean(0)
    assert chosen[0] > 0.8 and chosen[1] < 0.2


@pytest.mark.parametrize("other", ["rewards", "states", "length"])
def test_tasks_of_dqn_are_independent(other: str) -> None:
    agents = [DQN(torch.ones(2), 2, hidden=(8,), batch=4, generator=_seeded()) for _ in range(2)]
    for agent, changed in zip(agents, (False, True), strict=True):
        for step in range(30):
            state, following = torch.randn(2, 2, 2, generator=_seeded(step))
            reward, mask = torch.rand(2, generator=_seeded(step)), torch.ones(2, dtype=torch.bool)
            if changed and other == "rewards":
                reward[1] += 1
            if changed and other == "states":
                following[1] += 1
            if changed and other == "length":
                mask[1] = step < 10
            agent.see(Moment(state, agent.act(state), reward, following, torch.zeros(2, dtype=torch.bool), mask))
    for networks in ("values", "targets"):
        for one, two in zip(*(getattr(a, networks).parameters() for a in agents), strict=True):
            assert torch.equal(one[0], two[0]) and not torch.equal(one[1], two[1])


def _moment(state: torch.Tensor, action: torch.Tensor, following: torch.Tensor, mask: torch.Tensor) -> Moment:
    """Without a reward or an end."""
    return Moment(state, action, torch.zeros_like(action), following, torch.zeros_like(mask), mask)


def test_bad_input_is_named() -> None:
    encoding, ones = FAMILY.encoding, torch.ones(2, dtype=torch.bool)
    knowledge = Adapting(LEARNERS["cnp"](), encoding, 2)
    with pytest.raises(ValueError, match="transition 0 of task 1 is .* expected finite observations"):
        knowledge.see(_moment(torch.tensor([[0.0] * 4, [torch.nan] * 4]), torch.ones(2), torch.zeros(2, 4), ones))
    with pytest.raises(ValueError, match=re.escape("states [2, 1, 3]")):
        knowledge.see(_moment(torch.zeros(2, 3), torch.ones(2), torch.zeros(2, 3), ones))
    with pytest.raises(ValueError, match="every=0; expected a whole number of at least 1"):
        Adapting(LEARNERS["cnp"](), encoding, 2, every=0)
    with pytest.raises(ValueError, match=r"follow=1\.5; expected a number from 0 to 1"):
        DQN(torch.ones(4), 1, follow=1.5)
    with pytest.raises(ValueError, match="batch=0; expected a whole number of at least 1"):
        DQN(torch.ones(4), 1, batch=0)
    env = qs.rl.CartPole(num_envs=2)
    with pytest.raises(ValueError, match="num_envs=2; live needs one environment of each task"):
        live(env, DQN(torch.ones(4), 1), episodes=1)


def test_an_environment_that_gives_nan_is_named() -> None:
    class Broken:
        def __init__(self, env: Any):
            self.env = env

        def __getattr__(self, name: str) -> Any:
            return getattr(self.env, name)

        def step(self, action: Tensor) -> Any:
            step = self.env.step(action)
            step.observation[1] = torch.nan
            return step

    with pytest.raises(ValueError, match="the environment of task 1 gave the observation .* after 3 decisions"):
        live(Broken(_carts()), DQN(torch.ones(4), 3), episodes=1)


def test_transitions_follow_the_dynamics() -> None:
    env = qs.rl.CartPole(flip=0.5)
    family = Transitions(env, both_signs=True, lanes=3)
    tasks = family.sample(4, support=30, query=10, split="test", generator=_seeded())
    assert tasks.query.x.shape == (4, 10, family.dx) and tasks.support.y.shape == (4, 30, family.dy)
    encoding = family.encoding
    for examples in (tasks.support, tasks.query):
        state, action = examples.x[..., :4] * encoding.state_scale, (examples.x[..., 4] + 1) / 2
        following = env.dynamics(tasks.info, state, action)[0]
        torch.testing.assert_close(encoding.examples(state, action, following), Examples(examples.x, examples.y))
    state = tasks.support.x[..., :4] * encoding.state_scale
    following = state + tasks.support.y * encoding.change_scale
    goes_on = (state[:, 1:] - following[:, :-1]).abs().amax(-1) < 1e-4
    begins = (state.abs() <= 0.05).all(-1)
    assert (goes_on | begins[:, 1:]).all() and begins[:, 0].all()
    with pytest.raises(ValueError, match="expected as many numbers in each as a state has"):
        Transitions(env, wide=(1.0, 1.0))

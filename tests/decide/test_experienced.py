"""Transitions of environments that can only be stepped: equal to their dynamics, held out, for any kind of action."""

from typing import Any

import gymnasium
import pytest
import torch
from gymnasium.spaces import Box
from rl.levers import levers

import quickstudy as qs
from quickstudy.decide import Adapting, Balance, Control, Experienced, Fixed, Known, Moment, Transitions, live, mppi
from quickstudy.decide.models import Learned
from quickstudy.testing import family_checks


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def set_mass(env: Any, task: Any) -> None:
    pole = env.unwrapped
    pole.masspole = task["mass"]
    pole.total_mass = pole.masspole + pole.masscart
    pole.polemass_length = pole.masspole * pole.length


def masses(num_tasks: int, generator: torch.Generator) -> Any:
    return {"mass": 0.1 + torch.rand(num_tasks, generator=generator)}


def real_cart(num_envs: int = 3) -> Any:
    return qs.rl.from_gymnasium(lambda: gymnasium.make("CartPole-v1"), set_mass, masses, num_envs=num_envs, horizon=30)


def set_length(env: Any, task: Any) -> None:
    env.unwrapped.l = task["length"]


def real_pendulum(num_envs: int = 3) -> Any:
    lengths = {"length": torch.linspace(0.5, 1.5, 20)}
    return qs.rl.from_gymnasium(
        lambda: gymnasium.make("Pendulum-v1"), set_length, lengths, num_envs=num_envs, horizon=30
    )


ENVIRONMENTS = {
    "cart": lambda: qs.rl.CartPole(num_envs=4, horizon=20),
    "point": lambda: qs.rl.Navigation2D(num_envs=4, horizon=20),
    "table": lambda: qs.rl.TabularMDP(states=4, actions=3, num_envs=4, horizon=20),
    "real cart": real_cart,
    "real pendulum": real_pendulum,
    "levers": levers,
}
EXTRA = {"point": 2, "table": 3, "real pendulum": 1, "levers": 4}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_any_environment_gives_tasks(name: str) -> None:
    env = ENVIRONMENTS[name]()
    family = Transitions.from_environment(env, reward=True, end=True)
    ds = env.observation_space.shape[0]
    tasks = family.sample(3, support=25, query=11, generator=seeded())
    assert tasks.support.x.shape == (3, 25, ds + EXTRA.get(name, 1)) == (3, 25, family.dx)
    assert tasks.query.y.shape == (3, 11, ds + 2) == (3, 11, family.dy)
    assert set(tasks.info) == set(env.sample_tasks(1, generator=seeded()))
    assert all(part.isfinite().all() for part in (*tasks.support[:2], *tasks.query[:2]))


@pytest.mark.parametrize("name", ["cart", "point"])
def test_transitions_are_those_of_the_dynamics(name: str) -> None:
    """An oracle: what the environment's own equations say of these states and actions; and episodes begin anew."""
    env = ENVIRONMENTS[name]()
    family = Experienced(env)
    tasks, encoding = family.sample(3, support=40, query=40, generator=seeded()), family.encoding
    ds = encoding.ds
    for points in (tasks.support, tasks.query):
        state = points.x[..., :ds] * encoding.state_scale
        action: Any = points.x[..., ds:]
        action = (action[..., 0] > 0).long() if name == "cart" else action * encoding.action_scale
        following, _, _ = env.dynamics(tasks.info, state, action)
        torch.testing.assert_close(encoding.following(state, points.y), following, rtol=1e-4, atol=1e-5)
    own = tasks.support.x[..., :ds] * encoding.state_scale
    then = encoding.following(own, tasks.support.y)
    breaks = (own[:, 1:] - then[:, :-1]).abs().amax(-1) > 1e-4
    assert bool(breaks.any()) and breaks.float().mean() < 0.2


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_smaller_sets_are_the_first_points_of_larger_ones(name: str) -> None:
    family = Experienced(ENVIRONMENTS[name]())
    small = family.sample(2, support=5, query=4, split="test", generator=seeded(3))
    large = family.sample(2, support=25, query=30, split="test", generator=seeded(3))
    for a, b in ((small.support, large.support), (small.query, large.query)):
        assert torch.equal(a.x, b.x[:, : a.x.shape[1]]) and torch.equal(a.y, b.y[:, : a.y.shape[1]])


CHECKS = {check.name: check for check in family_checks(lambda: Experienced(qs.rl.CartPole(num_envs=3, horizon=20)))}


@pytest.mark.parametrize("name", CHECKS)
def test_it_keeps_the_contract_of_families(name: str) -> None:
    CHECKS[name]()


def test_actions_cover_their_bounds_and_some_are_held() -> None:
    family = Experienced(qs.rl.Navigation2D(num_envs=20, horizon=50))
    x = family.sample(100, support=50, query=1, generator=seeded()).support.x[..., 2:] * family.encoding.action_scale
    assert -1 <= x.min() < -0.9 and 0.9 < x.max() <= 1
    held = (x[:, 1:] == x[:, :-1]).all(-1).float().mean(1)
    assert held.min() < 0.3 and held.max() > 0.7


def test_a_process_learns_a_gymnasium_cart_and_controls_it() -> None:
    """The whole way: transitions, a learner, a planner, a life."""
    family = Transitions.from_environment(real_cart())
    process = qs.NeuralProcess(family.dx, family.dy, width=8, latent=4)
    with pytest.warns(UserWarning, match="kept in memory"):
        qs.fit(process, family, steps=3, tasks=4, support=(0, 20), query=16)
    env = real_cart(num_envs=1)
    env.set_tasks(env.sample_tasks(2, generator=seeded()))
    agent = Control(Adapting(process, family.encoding, num_tasks=2), mppi(candidates=8, horizon=4), Balance.cartpole())
    life = live(env, agent, episodes=1, generator=seeded())
    assert life.returns.shape == (1, 2) and (life.returns >= 8).all()


def test_continuous_actions_reach_model_and_environment() -> None:
    """An agent that is given a model of a pendulum, and acts on it by real torques."""
    family = Experienced(real_pendulum())
    encoding, env = family.encoding, real_pendulum(num_envs=1)
    env.set_tasks(env.sample_tasks(2, generator=seeded()))
    learner = qs.CNP(family.dx, family.dy, width=8)
    knowledge, torques = Adapting(learner, encoding, 2), list[Any]()

    class Torques:
        def act(self, state: Any) -> Any:
            candidates = torch.linspace(-2, 2, 5).reshape(1, 1, 5, 1).expand(3, 2, 5, 1)
            states = knowledge.model().imagine()(state, candidates)
            assert states.shape == (3, 2, 5, 3)
            torques.append(candidates[0, torch.arange(2), states[-1, ..., 0].argmax(1)])
            return torques[-1]

        def see(self, moment: Moment) -> None:
            knowledge.see(moment)

        def rest(self) -> None:
            knowledge.rest()

    life = live(env, Torques(), episodes=1, generator=seeded())
    assert life.returns.shape == (1, 2) and (life.returns < 0).all() and torques[0].shape == (2, 1)
    assert knowledge.predictor.state.seen.tolist() == [30.0, 30.0]
    still = Known(Fixed(qs.nets.MLP(family.dx, [4], family.dy), encoding)).model().imagine()
    with torch.no_grad():
        assert still(torch.zeros(2, 3), torch.zeros(4, 2, 6, 1)).shape == (4, 2, 6, 3)
    assert Learned(knowledge.predictor, encoding).imagine()(torch.zeros(2, 3), torch.zeros(4, 2, 6, 1)).isfinite().all()


def test_actions_with_several_discrete_components_are_encoded_and_acted() -> None:
    family = Experienced(levers())
    encoding, env = family.encoding, levers(1)
    features = encoding.features(torch.tensor([[2, 0], [0, 1]]))
    assert features.tolist() == [[0, 0, 1, -1], [1, 0, 0, 1]]  # three choices, then two
    env.set_tasks({"goal": torch.zeros(2)})
    knowledge = Adapting(qs.CNP(family.dx, family.dy, width=8), encoding, 2)

    class Pushes:
        def act(self, state: Any) -> Any:
            return torch.tensor([[2, 0], [0, 1]])

        def see(self, moment: Moment) -> None:
            knowledge.see(moment)

        def rest(self) -> None:
            knowledge.rest()

    life = live(env, Pushes(), episodes=1, generator=seeded())
    assert life.returns.shape == (1, 2) and knowledge.predictor.state.seen.tolist() == [8.0, 8.0]
    with pytest.raises(TypeError, match="MultiDiscrete"):
        mppi(space=env.action_space)


def test_bad_input_is_refused() -> None:
    with pytest.raises(TypeError, match="GymnasiumEnvironment has no dynamics.*use Transitions.from_environment"):
        Transitions(real_cart())
    with pytest.raises(ValueError, match="num_envs=1; expected at least 2"):
        Experienced(qs.rl.CartPole(num_envs=1))
    endless = qs.rl.Navigation2D(num_envs=2)
    endless.action_space = Box(-torch.inf, torch.inf, (2,))
    with pytest.raises(ValueError, match="expected a Box of one axis with bounds"):
        Experienced(endless)
    pictures = qs.rl.Navigation2D(num_envs=2)
    pictures.observation_space = Box(0, 1, (4, 4))
    with pytest.raises(ValueError, match="expected vectors"):
        Experienced(pictures)
    encoding = Experienced(qs.rl.Navigation2D(num_envs=2, horizon=5)).encoding
    with pytest.raises(ValueError, match=r"actions \[3, 1\] .*expected \[T, N, 2\], \[T, N, 2\] and \[T, N, 2\]"):
        encoding.examples(torch.zeros(3, 1, 2), torch.zeros(3, 1), torch.zeros(3, 1, 2))

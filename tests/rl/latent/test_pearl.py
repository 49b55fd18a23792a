"""PEARL: its belief knows no order, its tasks are fixed, each loss trains its own parts, and it learns to ask first."""

from typing import Any

import pytest
import torch
from gymnasium.spaces import Box
from rl.worlds import World
from torch import Tensor

import quickstudy as qs
from quickstudy.rl.latent import pearl as module
from quickstudy.rl.latent.belief import Belief
from quickstudy.rl.latent.pearl import PEARL


class Signs(World):
    """Every task has a sign, and pays sign times action, three times."""

    def __init__(self, num_envs: int = 1):
        super().__init__(num_envs, 3)
        self.observation_space, self.action_space = Box(-1, 1, (1,)), Box(-1, 1, (1,))
        self.drawn: list[int] = []

    def sample_tasks(self, num_tasks: int, *, split: str = "train", generator: Any = None) -> dict[str, Tensor]:
        self.drawn.append(num_tasks)
        return {"sign": torch.where(torch.arange(num_tasks) % 2 == 0, 1.0, -1.0)}

    def start(self, shape: tuple[int, int]) -> Tensor:
        return torch.zeros(*shape, 1)

    def seen(self) -> Tensor:
        return self.state

    def move(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        reward = self.tasks["sign"][:, None] * action[..., 0]
        return self.state, reward, torch.zeros_like(reward, dtype=torch.bool)


def board(tasks: int = 3, envs: int = 2) -> Any:
    env = qs.rl.Navigation2D(num_envs=envs, horizon=5)
    env.set_tasks(env.sample_tasks(tasks, generator=torch.Generator().manual_seed(0)))
    return env


def learner(env: Any, **options: Any) -> PEARL:
    torch.manual_seed(0)
    small: dict[str, Any] = {"hidden": [8], "train_tasks": 5, "gradient_steps": 2, "meta_batch": 4, "batch": 8}
    return PEARL.of(env, **{**small, "context": 8, **options})


def same(one: Belief, two: Belief) -> bool:
    return all(torch.allclose(a, b, atol=1e-5) for a, b in zip(one, two, strict=True))


def test_the_belief_knows_no_order_and_grows_with_every_episode() -> None:
    env = board()
    actor = learner(env).actor()
    one, two = (actor.rollout(env, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    both = actor.adapt(one).adapt(two).belief(3)
    assert same(both, actor.adapt(two).adapt(one).belief(3)) and not same(both, actor.adapt(one).belief(3))
    joined = type(one)(*(torch.cat([a, b], 1) for a, b in zip(one[:9], two[:9], strict=True)))
    assert same(both, actor.adapt(joined).belief(3))
    backwards = type(one)(*(part.flip(2) for part in one[:9]))
    assert same(actor.adapt(one).belief(3), actor.adapt(backwards).belief(3))
    spoilt = one._replace(mask=one.mask & (one.time < 3), reward=torch.where(one.time < 3, one.reward, 99.0))
    cut = type(one)(*(part[:, :, :3] for part in one[:9]))
    assert same(actor.adapt(spoilt).belief(3), actor.adapt(cut).belief(3))


def test_every_episode_has_a_latent_variable_of_its_own() -> None:
    env = qs.rl.Navigation2D(num_envs=4, horizon=3)
    env.set_tasks({"goal": torch.zeros(2, 2)})
    made = learner(env)
    with torch.no_grad():
        made.policy.network.layers[-1].weight.mul_(30)
    made.policy.log_std_range = (-20.0, -19.0)  # without noise of its own
    first = made.actor().rollout(env, generator=torch.Generator().manual_seed(0)).action[:, :, 0]
    assert len(first.flatten(0, 1).unique(dim=0)) == 8
    mean = made.actor().rollout(env, generator=torch.Generator().manual_seed(0), greedy=True).action[:, :, 0]
    assert len(mean.flatten(0, 1).unique(dim=0)) == 1
    outputs = made.actor()(torch.zeros(2, 4, 2))
    torch.testing.assert_close(made.policy.mode(outputs), mean)


def test_the_training_tasks_are_drawn_once() -> None:
    env = Signs()
    env.set_tasks(env.sample_tasks(2))
    made = learner(env)
    transitions = []
    for seed in range(3):
        env.set_tasks({"sign": torch.full((2,), 7.0)})
        transitions.append(made.update(env, generator=torch.Generator().manual_seed(seed))["transitions"])
        assert set(env.tasks["sign"].tolist()) <= {1.0, -1.0}
    assert env.drawn == [2, 5] and transitions == [5 * 2 * 3, 2 * 2 * 3, 2 * 2 * 3]


def gradients(made: PEARL, env: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    made.target_rate = 0.0  # so that all steps have the same targets

    def step() -> None:
        found.update({name: None if p.grad is None else p.grad.clone() for name, p in made.named_parameters()})

    made.optimizer.step = step  # type: ignore[method-assign, assignment]
    made._step(torch.Generator().manual_seed(5))
    return found


def test_each_loss_trains_its_own_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    env = board()
    made = learner(env, kl=0.0)
    made.update(env, generator=torch.Generator().manual_seed(0))
    whole = gradients(made, env)
    monkeypatch.setattr(
        module, "policy_loss", lambda *a, **o: (sum(p.sum() for p in made.policy.parameters()), torch.ones(3))
    )
    without = gradients(made, env)
    monkeypatch.undo()
    critic = module.critic_loss
    monkeypatch.setattr(module, "critic_loss", lambda *a, **o: 0 * critic(*a, **o))
    alone = gradients(made, env)
    for name in whole:
        if name.startswith(("encoder", "critic")):
            assert torch.equal(whole[name], without[name]) and float(alone[name].abs().sum()) == 0, name
            assert float(whole[name].abs().sum()) > 0, name
        elif name.startswith("policy"):
            assert torch.equal(whole[name], alone[name]) and bool((without[name] == 1).all()), name
        elif name.startswith("target"):
            assert whole[name] is None


@pytest.mark.parametrize(("entropy", "sign"), [(-50.0, 1), (50.0, -1)])
def test_the_temperature_moves_the_entropy_where_it_is_wanted(entropy: float, sign: int) -> None:
    env = board()
    made = learner(env, entropy=entropy)
    made.update(env, generator=torch.Generator().manual_seed(0))
    found = gradients(made, env)["log_temperature"]
    assert float(found) * sign > 0  # a descent step lowers the temperature where the entropy is above what is wanted


def test_the_wanted_entropy_is_in_units_of_the_actions() -> None:
    small, large = (qs.rl.Navigation2D(num_envs=1, scaled=False, reach=reach, horizon=3) for reach in (1.0, 2.0))
    one, two = (float(learner(env)._wanted_entropy()) for env in (small, large))
    assert one == -2.0 and two == pytest.approx(-2 + 2 * torch.tensor(2.0).log().item())


def test_it_learns_to_try_and_then_to_know() -> None:
    """Who does not know the sign earns 0, and who knows it 3."""
    env = Signs()
    env.set_tasks(env.sample_tasks(4))
    made = learner(env, hidden=[16], latent=2, outer_lr=1e-2, discount=0.5, gradient_steps=30, batch=16, kl=0.01)
    returns = []
    for seed in range(8):
        metrics = made.update(env, generator=torch.Generator().manual_seed(seed))
        returns.append((metrics["return_0"], metrics["return_1"]))
    env.set_tasks(env.sample_tasks(100))
    first, second = (e.returns() for e in made.practise(env, generator=torch.Generator().manual_seed(99)).episodes)
    assert abs(float(first.mean())) < 0.8 and float(second.mean()) > 1.3


def test_equal_generators_give_equal_updates() -> None:
    results = []
    for _ in range(2):
        env = board()
        made = learner(env)
        for seed in (3, 4):
            made.update(env, generator=torch.Generator().manual_seed(seed))
        results.append([p.detach().clone() for p in made.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_messages() -> None:
    with pytest.raises(ValueError, match=r"needs actions in a Box .*; RL2 and VariBAD take any actions"):
        PEARL.of(qs.rl.GridNavi())
    env = board()
    actor = learner(env).actor()
    actor = actor.adapt(actor.rollout(env))
    with pytest.raises(ValueError, match="has adapted to 3 tasks, and is given 4"):
        actor.rollout(board(4))
    for name in ("latent", "episodes", "train_tasks", "capacity", "gradient_steps", "meta_batch", "batch", "context"):
        with pytest.raises(ValueError, match=f"{name}=0|at least 1"):
            learner(env, **{name: 0})
    with pytest.raises(ValueError, match=r"discount=1.5; expected a number from 0 to 1"):
        learner(env, discount=1.5)


def test_transitions_are_of_one_environment() -> None:
    board, rare = qs.rl.Navigation2D(num_envs=2, horizon=5), qs.rl.Navigation2D.semicircle(num_envs=2, horizon=5)
    for env in (board, rare):
        env.set_tasks(env.sample_tasks(2, generator=torch.Generator().manual_seed(0)))
    made = PEARL.of(board, hidden=[8], train_tasks=2, gradient_steps=1)
    made.update(board)
    goals = rare.tasks["goal"].clone()
    with pytest.raises(ValueError, match="transitions belong to one environment: make a new learner"):
        made.update(rare)
    assert torch.equal(rare.tasks["goal"], goals)
    other = qs.rl.Navigation2D(num_envs=3, horizon=5)
    other.set_tasks(other.sample_tasks(2))
    made.update(other)  # another number of environments
    for entropy in (float("nan"), "x"):
        with pytest.raises(ValueError, match="entropy="):
            PEARL.of(board, entropy=entropy)

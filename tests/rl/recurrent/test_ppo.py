"""PPO on trials: its advantages against sums by hand, its first step against the policy gradient."""

from typing import Any

import pytest
import torch
from rl.made import episodes as made_up
from torch import Tensor

import quickstudy as qs
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.recurrent.critic import Critic
from quickstudy.rl.recurrent.memory import MemoryNetwork
from quickstudy.rl.recurrent.ppo import PPO, generalised_advantages


def settings(**changes: Any) -> PPO:
    plain: dict[str, Any] = {"discount": 0.9, "gae_lambda": 0.7, "clip": 0.2, "epochs": 1, "minibatches": 1}
    return PPO(**{**plain, "entropy": 0.0, "value": 1e-12, "max_norm": 1e9, **changes})


def naive_advantages(episodes: Episodes, value: Tensor, discount: float, decay: float, row: tuple[int, int]) -> Tensor:
    real = episodes.mask[row].nonzero().flatten().tolist()
    found = []
    for place in range(len(real)):
        total = 0.0
        for later in range(place, len(real)):
            following = value[later + 1] if later + 1 < len(real) else 0.0
            delta = episodes.reward[row][real[later]] + discount * following - value[later]
            total = total + (discount * decay) ** (later - place) * delta
        found.append(total)
    return torch.stack(found)  # type: ignore[arg-type]


def test_advantages_go_on_over_the_ends_of_episodes() -> None:
    episodes = made_up()
    memory = MemoryNetwork(observations=2, actions=2, discrete=False, width=4)
    reading = memory.reading([episodes], memory.initial(12))
    value = torch.randn(12, 12, generator=torch.Generator().manual_seed(0))
    found = generalised_advantages(reading, value, 0.9, 0.7)
    assert bool((found[~reading.mask] == 0).all())
    for t, e in ((0, 0), (1, 3), (2, 2)):
        row = 4 * t + e
        wanted = naive_advantages(episodes, value[row], 0.9, 0.7, (t, e))
        torch.testing.assert_close(found[row][reading.mask[row]], wanted)


def test_the_first_step_is_the_policy_gradient() -> None:
    """At the policy that acted, the ratio is 1, and its gradient that of mean log pi A."""
    env = qs.rl.Bandit(arms=3, num_envs=2, horizon=6)
    env.set_tasks(env.sample_tasks(3, generator=torch.Generator().manual_seed(0)))
    torch.manual_seed(0)
    made = qs.rl.RL2.of(env, width=8, episodes=1)
    practice = made.practise(env, generator=torch.Generator().manual_seed(0))
    reading = made.memory.reading(list(practice.episodes), made.memory.initial(6))
    features, parameters = made._features(reading).detach(), list(made.policy.parameters())
    critic, ppo = Critic(8), settings()
    advantage = generalised_advantages(reading, critic(features).detach(), 0.9, 0.7)
    advantage = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8)
    log_prob = made.policy.log_prob(made.policy(features), reading.action)
    wanted = torch.autograd.grad((log_prob * advantage).mean(), parameters)
    before = [p.detach().clone() for p in parameters]
    said = ppo.improve(
        reading._replace(inputs=features),
        lambda some: some.inputs,
        policy=made.policy,
        critic=critic,
        optimizer=torch.optim.SGD(parameters, lr=1.0),
        parameters=parameters,
        generator=torch.Generator().manual_seed(0),
    )
    for old, new, gradient in zip(before, parameters, wanted, strict=True):
        torch.testing.assert_close(new - old, gradient, rtol=1e-3, atol=1e-6)
    assert said["clipped"] == 0 and abs(said["kl"]) < 1e-6


@pytest.mark.parametrize("name", ["discount", "gae_lambda", "clip", "epochs", "minibatches", "value", "max_norm"])
def test_bad_settings(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=-1"):
        settings(**{name: -1})

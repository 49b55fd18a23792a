"""Policies and values of many tasks, and PPO on them: gradients, advantages, who learns from what."""

from typing import Any

import pytest
import torch
from torch import Tensor

from quickstudy.decide.actors import Actors, Experience
from quickstudy.decide.moment import Moment
from quickstudy.decide.ppo import PPO
from quickstudy.rl.episodes import Episodes


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _actors(num_tasks: int = 3, **options: Any) -> Actors:
    actors = Actors(torch.tensor([1.0, 2.0]), num_tasks, hidden=(8,), generator=_seeded(), **options)
    with torch.no_grad():  # away from the even chances it begins with
        for parameter in actors.policy.parameters():
            parameter += 0.5 * torch.randn(parameter.shape, generator=_seeded(parameter.numel()))
    return actors


def _experience(actors: Actors, count: int = 20) -> Experience:
    state = torch.randn(3, count, 2, generator=_seeded(1))
    action, log_prob = actors.draw(state)
    advantage, aim = torch.randn(2, 3, count, generator=_seeded(2))
    mask = torch.rand(3, count, generator=_seeded(3)) < 0.7
    return Experience(state, action, log_prob, advantage, aim, mask)


def test_at_ratio_one_the_gradient_is_the_policy_gradient() -> None:
    actors = _actors()
    seen = _experience(actors)
    found = torch.autograd.grad(actors.loss(seen).sum(), actors.policy.parameters())
    log_prob = actors.log_probs(seen.state).gather(-1, seen.action.unsqueeze(-1))[..., 0]
    gain = (log_prob * seen.advantage * seen.mask).sum(1) / seen.mask.sum(1)
    for one, two in zip(found, torch.autograd.grad(-gain.sum(), actors.policy.parameters()), strict=True):
        torch.testing.assert_close(one, two)


def test_ratios_beyond_the_clip_have_no_gradient() -> None:
    actors = _actors()
    seen = _experience(actors)
    up, down = seen.log_prob - 0.5, seen.log_prob + 0.5  # ratios of 1.65 and 0.61
    for old, sign in ((up, 1.0), (down, -1.0)):
        clipped = seen._replace(log_prob=old, advantage=sign * seen.advantage.abs())
        gradients = torch.autograd.grad(actors.loss(clipped).sum(), actors.policy.parameters())
        assert all((g == 0).all() for g in gradients)
        back = seen._replace(log_prob=old, advantage=-sign * seen.advantage.abs())
        assert any((g != 0).any() for g in torch.autograd.grad(actors.loss(back).sum(), actors.policy.parameters()))


def test_entropy_and_value_are_in_the_loss() -> None:
    plain, wide = _actors(discount=0.9), _actors(discount=0.9, entropy=0.3)
    seen = _experience(plain)
    chance = plain.log_probs(seen.state).exp()
    entropy = (torch.distributions.Categorical(chance).entropy() * seen.mask).sum(1) / seen.mask.sum(1)
    torch.testing.assert_close(plain.loss(seen) - wide.loss(seen), 0.3 * entropy)
    value = plain.value(seen.state)
    quiet = seen._replace(advantage=torch.zeros_like(seen.aim))
    miss = (((value - seen.aim) / 10).square() * seen.mask).sum(1) / seen.mask.sum(1)
    torch.testing.assert_close(plain.loss(quiet), miss)


def test_actions_are_drawn_by_their_chances() -> None:
    actors = _actors(actions=3)
    state = torch.randn(3, 1, 2, generator=_seeded()).expand(-1, 20_000, -1)
    action, log_prob = actors.draw(state)
    chance = actors.log_probs(state[:, :1])[:, 0].exp()
    shares = torch.nn.functional.one_hot(action, 3).float().mean(1)
    torch.testing.assert_close(shares, chance.detach(), atol=0.015, rtol=0)
    torch.testing.assert_close(log_prob.exp(), chance.gather(1, action).detach())
    assert torch.equal(actors.best(state)[:, 0], chance.argmax(1))


def test_tasks_can_start_from_one_tasks_weights() -> None:
    one, many = _actors(1), _actors(3)
    many.copy_(one)
    state = torch.randn(1, 5, 2, generator=_seeded())
    torch.testing.assert_close(many.log_probs(state.expand(3, -1, -1)), one.log_probs(state).expand(3, -1, -1))


def _live(agent: PPO, other: float = 1.0, short: int = 3) -> None:
    """Two episodes of three tasks; task 0's ends by itself, task 1's is cut off, task 2's lasts `short` steps."""
    for episode in range(2):
        for step in range(5):
            mask = torch.tensor([step < 4, True, step < short])
            scale = torch.tensor([1.0, 1.0, other]).unsqueeze(1)
            state, following = scale * torch.randn(2, 3, 2, generator=_seeded(10 * episode + step))
            terminated = torch.tensor([step == 3, False, step == short - 1])
            action = agent.act(state)
            agent.see(Moment(state, action, torch.full((3,), step + 1.0), following, terminated, mask))
        agent.rest()


def test_ppo_learns_from_advantages_as_a_loop_finds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = PPO(torch.ones(2), 3, hidden=(8,), generator=_seeded(), gae_lambda=0.8, discount=0.9)
    told: list[Episodes] = []
    monkeypatch.setattr(agent.actors, "learn", lambda episodes, epochs: told.append(episodes))
    _live(agent)
    assert len(told) == 1 and told[0].mask.sum((1, 2)).tolist() == [8, 10, 6]
    found = agent.actors.experience(told[0])
    value, later = (agent.actors.value(s[:, 0]).detach() for s in (told[0].observation, told[0].next_observation))
    for task, length in enumerate((4, 5, 3)):
        expected: list[Tensor] = []
        for episode in range(2):
            after = torch.zeros(())
            for step in reversed(range(length)):
                place = 5 * episode + step
                last = step == length - 1
                beyond = later[task, place] * (task == 1) if last else value[task, place + 1]
                delta = step + 1 + 0.9 * beyond - value[task, place]
                after = delta + 0.9 * 0.8 * after * (not last)
                expected.insert(length * episode, after)
        above, mask = torch.stack(expected), found.mask[task]
        torch.testing.assert_close((found.aim - value)[task][mask], above)
        torch.testing.assert_close(found.advantage[task][mask], (above - above.mean()) / above.std(correction=0))


def test_tasks_are_independent() -> None:
    agents = [PPO(torch.ones(2), 3, hidden=(8,), episodes=1, generator=_seeded()) for _ in range(3)]
    _live(agents[0])
    _live(agents[1], other=5.0)
    _live(agents[2], short=1)
    for other in agents[1:]:
        for networks in ("policy", "critic"):
            pairs = zip(*(getattr(a.actors, networks).parameters() for a in (agents[0], other)), strict=True)
            for one, two in pairs:
                assert torch.equal(one[:2], two[:2]) and not torch.equal(one[2], two[2])


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="episodes=0; expected a whole number of at least 1"):
        PPO(torch.ones(2), 3, episodes=0)
    with pytest.raises(ValueError, match="actions=1; expected a whole number of at least 2"):
        PPO(torch.ones(2), 3, actions=1)
    with pytest.raises(ValueError, match="discount=1; expected a number from 0 to 1 .discount: below 1."):
        PPO(torch.ones(2), 3, discount=1)
    with pytest.raises(ValueError, match=r"entropy=-0\.1"):
        Actors(torch.ones(2), 3, entropy=-0.1)

"""The losses of soft actor-critic against sums by hand, and what their gradients reach."""

import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.rl.latent.sac import TwinCritic, critic_loss, follow, policy_loss
from quickstudy.rl.latent.task_replay import Stored
from quickstudy.rl.policies.squashed_gaussian import SquashedGaussianPolicy

TASKS, BATCH, LATENT = 2, 3, 2


def parts() -> tuple[TwinCritic, TwinCritic, SquashedGaussianPolicy, Stored, Tensor]:
    torch.manual_seed(0)
    critic, target = TwinCritic(3 + LATENT + 1, [8]), TwinCritic(3 + LATENT + 1, [8])
    policy = SquashedGaussianPolicy(qs.nets.MLP(3 + LATENT, [8], 2), [-2.0], [2.0])
    random = lambda *shape: torch.randn(TASKS, BATCH, *shape)  # noqa: E731
    batch = Stored(random(3), random(1).clamp(-1, 1), random(3), random(), random() > 0.5)
    return critic, target, policy, batch, random(LATENT).requires_grad_()


def test_the_target_stops_where_an_episode_terminates() -> None:
    critic, target, policy, batch, latent = parts()
    noise = torch.randn(TASKS, BATCH, 1)
    loss = critic_loss(critic, target, policy, batch, latent, noise=noise, discount=0.9, temperature=0.3)
    wanted = torch.zeros(())
    for t in range(TASKS):
        for n in range(BATCH):
            s, after, m = batch.observation[t, n], batch.next_observation[t, n], latent[t, n]
            with torch.no_grad():
                outputs = policy(torch.cat([after, m]))
                action = policy.act(outputs, noise[t, n])
                values = torch.stack([net(torch.cat([after, m, action]))[0] for net in target.networks])
                y = batch.reward[t, n]
                if not batch.terminated[t, n]:
                    y = y + 0.9 * (values.min() - 0.3 * policy.log_prob(outputs, action))
            for network in critic.networks:
                error = network(torch.cat([s, m, batch.action[t, n]]))[0] - y
                wanted = wanted + error.square() / (TASKS * BATCH)
    torch.testing.assert_close(loss, wanted, rtol=1e-4, atol=1e-5)
    assert batch.terminated.any() and not batch.terminated.all()
    ours, by_hand = (torch.autograd.grad(value, latent, retain_graph=True)[0] for value in (loss, wanted))
    torch.testing.assert_close(ours, by_hand, rtol=1e-3, atol=1e-5)
    loss.backward()
    assert all(p.grad is None for p in (*policy.parameters(), *target.parameters()))
    assert all(p.grad is not None for p in critic.parameters())


def test_the_policy_trusts_the_smaller_value() -> None:
    critic, _, policy, batch, latent = parts()
    noise, temperature = torch.randn(TASKS, BATCH, 1), torch.tensor(0.3)
    loss, log_prob = policy_loss(
        critic, policy, batch.observation, latent.detach(), noise=noise, temperature=temperature
    )
    features = torch.cat([batch.observation, latent.detach()], -1)
    action = policy.act(policy(features), noise)
    both = [network(torch.cat([features, action], -1)).squeeze(-1) for network in critic.networks]
    torch.testing.assert_close(log_prob, policy.log_prob(policy(features), action), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(loss, (0.3 * log_prob - torch.minimum(*both)).mean(), rtol=1e-4, atol=1e-5)
    moved = [p.detach().clone() for p in policy.parameters()]
    for _ in range(30):
        loss, _ = policy_loss(critic, policy, batch.observation, latent.detach(), noise=noise, temperature=temperature)
        gradients = torch.autograd.grad(loss, list(policy.parameters()))
        with torch.no_grad():
            for p, gradient in zip(policy.parameters(), gradients, strict=True):
                p.sub_(0.05 * gradient)
    after, _ = policy_loss(critic, policy, batch.observation, latent.detach(), noise=noise, temperature=temperature)
    assert float(after.detach()) < float(loss.detach()) + 1e-6
    assert not any(map(torch.equal, moved, policy.parameters()))


def test_targets_follow() -> None:
    critic, target, *_ = parts()
    before = [p.clone() for p in target.parameters()]
    follow(target, critic, 0.25)
    for old, new, p in zip(before, critic.parameters(), target.parameters(), strict=True):
        torch.testing.assert_close(p, 0.75 * old + 0.25 * new)

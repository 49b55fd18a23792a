"""The MDP of `worlds.Chain` by enumeration: returns, their derivatives, and every trajectory as data.

A policy is `CategoricalPolicy(Linear(3, 2))`: one parameter vector theta `[8]`, the weight's rows and then the bias.
All that is exact here is made from probabilities and torch.autograd alone, without the library.
"""

import itertools

import torch
from rl.worlds import Chain
from torch import Tensor, nn

from quickstudy.rl.decisions import Decisions
from quickstudy.rl.practice import Practice

# (first action, state it led to, second action)
TRAJECTORIES = list(itertools.product((0, 1), (1, 2), (0, 1)))
EYE = torch.eye(3, dtype=torch.float64)


def flat(policy: nn.Module) -> Tensor:
    """theta."""
    return torch.cat([p.detach().flatten() for p in policy.parameters()])


def log_pi(theta: Tensor, state: int, action: int) -> Tensor:
    logits = theta[:6].reshape(2, 3)[:, state] + theta[6:]
    return logits[action] - logits.logsumexp(0)


def world_probability(a0: int, s1: int) -> float:
    return Chain.ahead[a0] if s1 == 1 else 1 - Chain.ahead[a0]


def log_policy(theta: Tensor, trajectory) -> Tensor:
    """Of the actions of a trajectory, `[2]`."""
    a0, s1, a1 = trajectory
    return torch.stack([log_pi(theta, 0, a0), log_pi(theta, s1, a1)])


def probability(theta: Tensor, trajectory) -> Tensor:
    return log_policy(theta, trajectory).sum().exp() * world_probability(*trajectory[:2])


def rewards(reward: Tensor, trajectory) -> tuple[Tensor, Tensor]:
    a0, s1, a1 = trajectory
    return reward[0, a0], reward[s1, a1]


def to_go(reward: Tensor, trajectory) -> Tensor:
    """R_t, `[2]`."""
    first, second = rewards(reward, trajectory)
    return torch.stack([first + second, second])


def expected_return(theta: Tensor, reward: Tensor) -> Tensor:
    """J."""
    return sum(probability(theta, tau) * sum(rewards(reward, tau)) for tau in TRAJECTORIES)


def scores(theta: Tensor, trajectory) -> Tensor:
    """g_t, `[2, 8]`."""
    return torch.autograd.functional.jacobian(lambda x: log_policy(x, trajectory), theta)


def curvatures(theta: Tensor, trajectory) -> Tensor:
    """grad g_t, `[2, 8, 8]`."""
    return torch.stack(
        [torch.autograd.functional.hessian(lambda x: log_policy(x, trajectory)[t], theta) for t in (0, 1)]
    )


def predicted(theta: Tensor, reward: Tensor, baseline: Tensor, estimator: str, past: float | None) -> Tensor:
    """The Hessian that theory gives the estimator of J, term by term."""

    def term(tau):
        g, h = scores(theta, tau), curvatures(theta, tau)
        a = to_go(reward, tau) - baseline[[0, tau[1]]]
        if estimator in ("maml", "emaml"):
            return a[0] * h[0] + a[1] * h[1]
        square = sum(a[t] * (h[t] + torch.outer(g[t], g[t])) for t in (0, 1))
        cross = torch.outer(g[1], g[0]) + torch.outer(g[0], g[1])
        return square + {"lvc": 0.0, "dice": 1.0, "loaded_dice": past}[estimator] * a[1] * cross

    return sum(probability(theta, tau) * term(tau) for tau in TRAJECTORIES)


def data(batch, advantage: Tensor, log_prob: Tensor | None = None) -> Decisions:
    """One task's trajectories as decisions `[E, 2]`, with `advantage [E, 2]`."""
    observation = torch.stack([EYE[[0, s1]] for _, s1, _ in batch])
    action = torch.tensor([[a0, a1] for a0, _, a1 in batch])
    log_prob = torch.zeros(action.shape) if log_prob is None else log_prob
    time = torch.arange(2).expand(action.shape)
    return Decisions(observation, action, log_prob, advantage, torch.ones_like(action, dtype=torch.bool), time)


def everything(weights: Tensor, advantage: Tensor) -> Decisions:
    """All trajectories once, so weighted that the mean over episodes is the expectation."""
    return data(TRAJECTORIES, advantage * weights.detach()[:, None] * len(TRAJECTORIES))


def practised(theta: Tensor, some_rewards: Tensor, rate: float, steps: int = 1) -> Practice:
    """What each task's policy would do in expectation, before and after every step `rate` up grad J. No episodes.

    A learner takes means over transitions, of which an episode has two: it takes these steps with twice the rate, and
    its outer gradient is half of J's.
    """
    thetas, stages = [theta.detach()] * len(some_rewards), []
    for _ in range(steps + 1):
        rows = []
        for mine, reward in zip(thetas, some_rewards, strict=True):
            weights = torch.stack([probability(mine, tau) for tau in TRAJECTORIES])
            row = everything(weights, torch.stack([to_go(reward, tau) for tau in TRAJECTORIES]))
            rows.append(row._replace(log_prob=torch.stack([log_policy(mine, tau) for tau in TRAJECTORIES])))
        stages.append(stacked(rows))
        thetas = [mine + rate * slope(mine, reward) for mine, reward in zip(thetas, some_rewards, strict=True)]
    return Practice((), tuple(stages))


def stacked(rows: list[Decisions]) -> Decisions:
    """Tasks side by side."""
    return Decisions(*(torch.stack(fields) for fields in zip(*rows, strict=True)))


def slope(theta: Tensor, reward: Tensor) -> Tensor:
    """grad J."""
    return torch.autograd.functional.jacobian(lambda x: expected_return(x, reward), theta)

"""The MDP of `worlds.Chain` by enumeration: returns, their derivatives, and every trajectory as data.

A policy is `CategoricalPolicy(Linear(3, 2))`: one parameter vector theta `[8]`, the weight's rows and then the bias.
All that is exact here is made from probabilities and torch.autograd alone, without the library.
"""

import itertools

import torch
from rl.worlds import Chain
from torch import Tensor

from quickstudy.rl.decisions import Decisions

# (first action, state it led to, second action)
TRAJECTORIES = list(itertools.product((0, 1), (1, 2), (0, 1)))
EYE = torch.eye(3, dtype=torch.float64)


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

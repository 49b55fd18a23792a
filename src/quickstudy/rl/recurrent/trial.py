"""Trials: several episodes of the same task, one after another, in which an actor remembers the earlier ones."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from gymnasium.spaces import Discrete
from torch import nn

from quickstudy.nets import MLP
from quickstudy.rl.environment import Environment
from quickstudy.rl.policy import CategoricalPolicy, GaussianPolicy
from quickstudy.rl.practice import Practice
from quickstudy.rl.recurrent.actor import RecurrentActor


def play(
    actor: RecurrentActor, environment: Environment, episodes: int, *, generator: torch.Generator | None = None
) -> Practice:
    """A trial of `episodes` episodes in every environment of every task."""
    found = []
    for k in range(episodes):
        found.append(actor.rollout(environment, generator=generator))
        if k + 1 < episodes:
            actor = actor.adapt(found[-1])
    return Practice(tuple(found), ())


def indifferent_policy(environment: Environment, inputs: int, hidden: Sequence[int] = ()) -> nn.Module:
    """A policy for the environment's actions, at first nearly the same for all `inputs` features."""
    space = environment.action_space
    actions = int(space.n) if isinstance(space, Discrete) else math.prod(space.shape or (1,))
    network = MLP(inputs, list(hidden), actions, activation="tanh")
    with torch.no_grad():
        for parameter in network.layers[-1].parameters():
            parameter.mul_(0.01)
    policy: Any = CategoricalPolicy(network) if isinstance(space, Discrete) else GaussianPolicy(network, actions)
    return policy

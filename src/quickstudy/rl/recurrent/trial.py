"""Trials: several episodes of the same task, one after another, in which an actor remembers the earlier ones."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from gymnasium.spaces import MultiDiscrete
from torch import nn

from quickstudy.nets import MLP
from quickstudy.rl.environment import Environment, choices_of
from quickstudy.rl.policies.multi_discrete import MultiDiscretePolicy
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
    space: Any = environment.action_space
    choices, shape = choices_of(space), space.shape or (1,)
    network = MLP(inputs, list(hidden), sum(choices) or math.prod(shape), activation="tanh")
    with torch.no_grad():
        for parameter in network.layers[-1].parameters():
            parameter.mul_(0.01)
    if isinstance(space, MultiDiscrete):
        return MultiDiscretePolicy(network, choices)
    if choices:
        return CategoricalPolicy(network)
    bounds = {"low": space.low.flatten(), "high": space.high.flatten()} if space.is_bounded() else {}
    return GaussianPolicy(network, math.prod(shape), **bounds)

"""The policy that a recurrent learner begins with: near enough the same for all features, in any action space."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from quickstudy.rl.recurrent.memory import MemoryNetwork
from quickstudy.rl.recurrent.trial import indifferent_policy

SPACES: dict[str, tuple[Any, float, int]] = {  # with the largest action, and the actions that a memory reads
    "arms": (Discrete(4), 3.0, 4),
    "two arms at once": (MultiDiscrete([4, 2]), 3.0, 6),
    "a box": (Box(-20.0, 60.0, (3,)), 60.0, 3),
    "the plane": (Box(-float("inf"), float("inf"), (2,)), 1.0, 2),
}


@torch.no_grad()
@pytest.mark.parametrize("hidden", [[], [8]])
@pytest.mark.parametrize("name", SPACES)
def test_a_new_policy_tries_every_action(name: str, hidden: list[int]) -> None:
    torch.manual_seed(0)
    space, largest, read = SPACES[name]
    world: Any = SimpleNamespace(action_space=space, observation_space=Box(0.0, 1.0, (5,)))
    policy: Any = indifferent_policy(world, 5, hidden)
    outputs = policy(torch.randn(4000, 5))
    action = policy.sample(outputs, torch.Generator().manual_seed(0))
    assert tuple(action.shape[1:]) == space.shape and float(action.max()) >= largest
    memory = MemoryNetwork.of(world, width=2)
    assert memory.actions == read and memory.encoded(action).shape == (4000, read)
    even = {"arms": torch.full((4,), 1000.0), "two arms at once": torch.full((4,), 1000.0)}.get(name)
    if even is not None:
        first = action if action.dim() == 1 else action[:, 0]
        torch.testing.assert_close(first.bincount().float(), even, rtol=0.15, atol=0)
    elif space.is_bounded():
        middle = torch.full((3,), 20.0)
        torch.testing.assert_close(action.mean(0), middle, rtol=0, atol=3.0)
        torch.testing.assert_close(action.std(0), torch.full((3,), 40.0), rtol=0.1, atol=0)

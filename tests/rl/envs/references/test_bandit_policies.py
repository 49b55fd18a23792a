"""Reference policies of bandits: the index against exact dynamic programming, the others against their definitions."""

from functools import lru_cache

import pytest
import torch

from quickstudy.rl.envs.references.bandit import Greedy, Index, Thompson, play


@lru_cache(None)
def with_a_known_arm(won: int, lost: int, left: int, known: float) -> float:
    """The best expected reward with one unknown arm and one that pays `known`."""
    if not left:
        return 0.0
    mean = (1 + won) / (2 + won + lost)
    pull = mean * (1 + with_a_known_arm(won + 1, lost, left - 1, known))
    pull += (1 - mean) * with_a_known_arm(won, lost + 1, left - 1, known)
    return max(left * known, pull)


@pytest.mark.parametrize(("won", "lost", "left"), [(0, 0, 1), (0, 0, 6), (2, 1, 5), (0, 3, 7), (5, 0, 2)])
def test_at_its_index_an_arm_is_worth_a_known_one(won: int, lost: int, left: int) -> None:
    index = float(Index(8, levels=401).table[left, won, lost])
    for known, pays in ((index - 0.01, True), (index + 0.01, False)):
        mean = (1 + won) / (2 + won + lost)
        pull = mean * (1 + with_a_known_arm(won + 1, lost, left - 1, known))
        pull += (1 - mean) * with_a_known_arm(won, lost + 1, left - 1, known)
        assert (pull > left * known) is pays


def test_the_index_of_one_pull_is_the_mean_and_grows_with_the_pulls_left() -> None:
    table = Index(10, levels=1001).table
    for won in range(4):
        for lost in range(4):
            assert float(table[1, won, lost]) == pytest.approx((1 + won) / (2 + won + lost), abs=2e-3)
    assert bool((table[1:, 0, 0].diff() > 0).all())


def test_the_index_policy_earns_what_is_known_of_it() -> None:
    """6.65 of 10 pulls with five arms, where the exact optimum is 6.660; greed has 6.63 and Thompson sampling 5.83."""
    chance = torch.Generator().manual_seed(0)
    bandits = torch.rand(20_000, 5, generator=chance)
    found = {
        name: float(play(policy, bandits, 10, chance).sum(1).mean())
        for name, policy in (("index", Index(10)), ("greedy", Greedy()), ("thompson", Thompson()))
    }
    assert found["index"] == pytest.approx(6.65, abs=0.05)
    assert found["greedy"] == pytest.approx(6.63, abs=0.05) and found["thompson"] == pytest.approx(5.83, abs=0.05)


def test_thompson_sampling_follows_the_posterior() -> None:
    """With 3 of 4 and 1 of 4 successes the first arm is drawn as often as Beta(4, 2) exceeds Beta(2, 4)."""
    won, lost = torch.tensor([[3.0, 1.0]]).repeat(20_000, 1), torch.tensor([[1.0, 3.0]]).repeat(20_000, 1)
    state = torch.get_rng_state()
    chosen = Thompson().choose(won, lost, 5, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), state)
    grid = (torch.arange(10_000) + 0.5).double() / 10_000
    above = torch.distributions.Beta(4.0, 2.0).log_prob(grid).exp().double()
    below = (torch.distributions.Beta(2.0, 4.0).log_prob(grid).exp().double() / 10_000).cumsum(0)
    assert float((chosen == 0).double().mean()) == pytest.approx(float((above * below).mean()), abs=0.01)


def test_equal_arms_are_chosen_in_a_random_order() -> None:
    zero = torch.zeros(3000, 3)
    for policy in (Greedy(), Index(4)):
        counts = policy.choose(zero, zero, 3, torch.Generator().manual_seed(0)).bincount(minlength=3)
        assert int(counts.min()) > 900

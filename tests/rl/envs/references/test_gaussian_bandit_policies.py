"""Reference policies of Gaussian bandits: the index against other integrals, the others against their definitions."""

import math

import pytest
import torch
from scipy import integrate, optimize, stats

from quickstudy.rl.envs.references.gaussian_bandit import Greedy, Index, Thompson, play, posterior_variance


def _moves(n: int, spread: float, noise: float) -> float:
    before, after = (1 / (1 / spread**2 + m / noise**2) for m in (n, n + 1))
    return math.sqrt(before - after)


def _two_left(d: float, n: int, spread: float, noise: float) -> float:
    """The value of one more pull and what may follow it, with two pulls to go: d + E max(0, d + s z)."""
    s = _moves(n, spread, noise)
    return d + d * stats.norm.cdf(d / s) + s * stats.norm.pdf(d / s)


@pytest.mark.parametrize(("n", "spread", "noise"), [(0, 1.0, 1.0), (1, 1.0, 1.0), (0, 2.0, 0.5), (1, 0.3, 2.0)])
def test_the_bonus_of_two_and_three_pulls(n: int, spread: float, noise: float) -> None:
    index = Index(5, spread, noise)
    root = optimize.brentq(lambda d: _two_left(d, n, spread, noise), -5 * spread, 0)
    assert float(index.bonus[2, n]) == pytest.approx(-root, abs=2e-3 * spread)
    s = _moves(n, spread, noise)

    def three_left(d: float) -> float:
        later = integrate.quad(
            lambda z: max(0.0, _two_left(d + s * z, n + 1, spread, noise)) * stats.norm.pdf(z), -8, 8, limit=200
        )
        return d + later[0]

    root = optimize.brentq(three_left, -5 * spread, 0)
    assert float(index.bonus[3, n]) == pytest.approx(-root, abs=2e-3 * spread)


def test_the_bonus_grows_with_the_pulls_left_and_falls_with_those_so_far() -> None:
    bonus = Index(20).bonus
    assert float(bonus[1, 0]) == 0 and bool((bonus[1:, 0].diff() > 0).all())
    assert bool((bonus[10, :11].diff() < 0).all())


def test_the_index_policy_earns_the_most() -> None:
    """With ten pulls of five arms by hand: the best of all is below the mean of the largest mean, 1.163 each pull."""
    chance = torch.Generator().manual_seed(0)
    means = torch.randn(20_000, 5, generator=chance, dtype=torch.float64)
    policies = {"index": Index(10), "greedy": Greedy(), "thompson": Thompson()}
    found = {name: play(policy, means, 10, generator=chance).sum(1) for name, policy in policies.items()}
    mean = {name: float(own.mean()) for name, own in found.items()}
    error = float(found["index"].std()) / 20_000**0.5
    assert 0 < mean["greedy"] < mean["index"] - 2 * error and 0 < mean["thompson"] < mean["index"] - 10 * error
    assert mean["index"] < 11.63


def test_thompson_sampling_follows_the_posterior() -> None:
    """Two arms with posteriors N(0.5, v_4) and N(0, v_1): the first is chosen as often as it exceeds the second."""
    mean, count = torch.tensor([[0.5, 0.0]]).repeat(20_000, 1), torch.tensor([[4.0, 1.0]]).repeat(20_000, 1)
    chosen = Thompson(2.0, 1.5).choose(mean, count, 5, torch.Generator().manual_seed(0))
    sd = math.sqrt(float(posterior_variance(count[0], 2.0, 1.5).sum()))
    assert float((chosen == 0).double().mean()) == pytest.approx(stats.norm.cdf(0.5 / sd), abs=0.012)


def test_beliefs_are_the_posterior() -> None:
    """`play` gives the policy the mean and count that conjugate formulas have."""
    seen = []

    class Watching:
        def choose(self, mean, count, left, generator):
            seen.append((mean.clone(), count.clone()))
            return torch.zeros(len(mean), dtype=torch.long)

    means = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
    rewards = play(Watching(), means, 4, spread=0.7, noise=1.3, generator=torch.Generator().manual_seed(0))
    mean, count = seen[3]
    precision = 1 / 0.7**2 + 3 / 1.3**2
    assert float(mean[0, 0]) == pytest.approx(float(rewards[0, :3].sum()) / 1.3**2 / precision)
    assert count.tolist() == [[3.0, 0.0]] and float(mean[0, 1]) == 0


def test_what_cannot_be() -> None:
    for make in (lambda: Index(0), lambda: Index(3, spread=0.0), lambda: Thompson(noise=-1.0)):
        with pytest.raises(ValueError, match="expected"):
            make()

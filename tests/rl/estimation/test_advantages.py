"""Returns and advantages against a plain loop over single episodes."""

import pytest
import torch
from rl import made

from quickstudy.rl.episodes import Episodes
from quickstudy.rl.estimation.advantages import discounted_returns, gae, standardised


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def one_by_one(found, value, next_value, discount, lam):
    """Sums of deltas over each episode as an array of its own: no masks, no neighbours."""
    expected = torch.zeros_like(found.reward)
    for t, e, first, end in made.split(found):
        reward, v = found.reward[t, e, first:end], value[t, e, first:end]
        beyond = 0.0 if next_value is None or found.terminated[t, e, end - 1] else next_value[t, e, end - 1]
        after = torch.cat([v[1:], torch.tensor([float(beyond)])])
        delta = reward + discount * after - v
        for i in range(len(delta)):
            expected[t, e, first + i] = sum((discount * lam) ** k * delta[i + k] for k in range(len(delta) - i))
    return expected


@pytest.mark.parametrize("bootstrap", [True, False])
@pytest.mark.parametrize(("discount", "lam"), [(1.0, 1.0), (0.9, 0.7), (0.9, 0.0), (0.0, 1.0)])
def test_gae_is_a_sum_over_single_episodes(bootstrap, discount, lam):
    found = made.episodes()
    assert found.terminated.any() and found.truncated.any() and not found.mask.all()
    value, next_value = torch.randn(3, 4, 12), torch.randn(3, 4, 12) if bootstrap else None
    expected = one_by_one(found, value, next_value, discount, lam)
    torch.testing.assert_close(gae(found, value, next_value=next_value, discount=discount, gae_lambda=lam), expected)
    if lam == 1:
        returns = discounted_returns(found, discount=discount, next_value=next_value)
        torch.testing.assert_close(returns - value * found.mask, expected)


def test_padding_may_hold_anything():
    found, value, next_value = made.episodes(), torch.randn(3, 4, 12), torch.randn(3, 4, 12)
    expected = gae(found, value, next_value=next_value)
    bad = lambda x: torch.where(found.mask, x, torch.nan)  # noqa: E731
    spoilt = found._replace(reward=bad(found.reward))
    torch.testing.assert_close(gae(spoilt, bad(value), next_value=bad(next_value)), expected)
    torch.testing.assert_close(standardised(bad(expected), found.mask), standardised(expected, found.mask))


def test_padded_is_unpadded():
    found = made.episodes(steps=12)
    longer = Episodes(*(torch.cat([f, torch.zeros_like(f)], 2) for f in found[:9]))
    value, next_value = torch.randn(2, 3, 4, 12).unbind()
    long = gae(longer, torch.cat([value, value], 2), next_value=torch.cat([next_value] * 2, 2))
    torch.testing.assert_close(long[..., :12], gae(found, value, next_value=next_value))
    assert not long[..., 12:].any()
    torch.testing.assert_close(standardised(long, longer.mask)[..., :12], standardised(long[..., :12], found.mask))


def test_a_row_that_just_stops_is_bootstrapped():
    found = made.episodes()
    open_ended = found._replace(truncated=torch.zeros_like(found.truncated), terminated=found.terminated)
    value, next_value = torch.randn(2, 3, 4, 12).unbind()
    last = found.mask.sum(2, keepdim=True) - 1
    a = gae(found, value, next_value=next_value).gather(2, last)
    b = gae(open_ended, value, next_value=next_value).gather(2, last)
    torch.testing.assert_close(a, b)


def test_tasks_do_not_see_each_other():
    found, value = made.episodes(), torch.randn(3, 4, 12)
    together = standardised(gae(found, value), found.mask)
    for i in range(3):
        alone = Episodes(*(f[i : i + 1] for f in found[:9]))
        torch.testing.assert_close(standardised(gae(alone, value[i : i + 1]), alone.mask)[0], together[i])


def test_standardised_is_so_over_real_transitions():
    found = made.episodes()
    advantage = standardised(7 + 3 * torch.randn(3, 4, 12), found.mask)
    for i in range(3):
        real = advantage[i][found.mask[i]]
        assert abs(real.mean()) < 1e-12 and abs(real.std(correction=0) - 1) < 1e-6
        assert not advantage[i][~found.mask[i]].any()
    assert not standardised(torch.full((3, 4, 12), 2.0), found.mask).any()
    assert not standardised(advantage, torch.zeros_like(found.mask)).any()


def test_bad_input_is_refused():
    found = made.episodes()
    with pytest.raises(ValueError, match=r"discount=1.5"):
        discounted_returns(found, discount=1.5)
    with pytest.raises(ValueError, match="gae_lambda"):
        gae(found, found.reward, gae_lambda=-1)
    with pytest.raises(ValueError, match=r"value has shape \[3, 4, 11\]"):
        gae(found, found.reward[..., 1:])

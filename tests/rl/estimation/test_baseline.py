"""The linear baseline against a least-squares solver, one task at a time; the network learns."""

import pytest
import torch
from rl import made

import quickstudy as qs
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.estimation.advantages import discounted_returns
from quickstudy.rl.estimation.linear_baseline import LinearBaseline
from quickstudy.rl.estimation.network_baseline import NetworkBaseline


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def features(s, t):
    s, tau = s.clamp(-10, 10), t[:, None] / 100
    return torch.cat([s, s**2, tau, tau**2, tau**3, torch.ones_like(tau)], 1)


def test_it_is_ridge_regression_of_each_task():
    found = made.episodes(steps=30)
    found = found._replace(observation=8 * found.observation)  # some are clipped
    returns = discounted_returns(found)
    value = LinearBaseline(ridge=0.1).fit(found, returns)
    fitted, after = value(found.observation, found.time), value(found.next_observation, found.time + 1)
    for i in range(3):
        real = found.mask[i]
        phi = features(found.observation[i][real], found.time[i][real])
        rows = torch.cat([phi, 0.1**0.5 * torch.eye(8)])
        target = torch.cat([returns[i][real], torch.zeros(8)])
        w = torch.linalg.lstsq(rows, target[:, None], driver="gelsd").solution[:, 0]
        torch.testing.assert_close(fitted[i][real], phi @ w)
        expected = features(found.next_observation[i][real], found.time[i][real] + 1) @ w
        torch.testing.assert_close(after[i][real], expected)


def test_a_task_does_not_see_the_others_nor_padding():
    found = made.episodes(steps=30)
    returns = discounted_returns(found)
    value = LinearBaseline().fit(found, returns)(found.observation, found.time)
    other = found._replace(observation=found.observation.clone())
    other.observation[1:] = 100 * torch.randn_like(other.observation[1:])
    other.observation[0][~found.mask[0]] = torch.nan
    changed = returns.clone()
    changed[1:] += 50
    changed[0][~found.mask[0]] = torch.nan
    again = LinearBaseline().fit(other, changed)(found.observation, found.time)
    torch.testing.assert_close(again[0], value[0])
    assert (again[1] - value[1]).abs().max() > 1


def test_singular_systems_are_solved_with_more_ridge():
    found = made.episodes(steps=30)
    x = 9.0 + 0 * found.observation  # constant features: of rank one up to the ridge
    found = found._replace(observation=torch.where(found.mask[..., None], x, 0))
    returns = 1e3 + discounted_returns(found)
    fitted = LinearBaseline(ridge=1e-300).fit(found, returns)(found.observation, found.time)
    assert fitted.isfinite().all()
    for i in range(3):
        real = found.mask[i]
        residual = (returns - fitted)[i][real]
        assert abs(residual.mean()) < 0.5


def test_float32_is_solved_in_float64():
    found = made.episodes(steps=30)
    found = Episodes(*(f.float() if f.is_floating_point() else f for f in found[:9]))
    returns = discounted_returns(found)
    value = LinearBaseline().fit(found, returns)(found.observation, found.time)
    assert value.dtype == torch.float32
    exact = LinearBaseline().fit(
        Episodes(*(f.double() if f.is_floating_point() else f for f in found[:9])), returns.double()
    )(found.observation.double(), found.time)
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-5)


def test_no_transition_gives_zero():
    found = made.episodes()
    empty = found._replace(mask=torch.zeros_like(found.mask))
    assert not LinearBaseline().fit(empty, found.reward)(found.observation, found.time).any()


def test_the_network_is_trained_and_remembers():
    found = made.episodes(steps=30)
    returns = torch.where(found.mask, found.observation[..., 0] * 2 + 1, torch.nan)
    baseline = NetworkBaseline(qs.nets.MLP(2, [32], 1), lr=0.02, epochs=20, batch_size=64)
    errors = []
    for _ in range(3):
        value = baseline.fit(found, returns)(found.observation, found.time)
        assert value.shape == found.mask.shape and not value.requires_grad
        errors.append((value - returns)[found.mask].square().mean().item())
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.05


def test_bad_input_is_refused():
    found = made.episodes()
    with pytest.raises(ValueError, match="ridge"):
        LinearBaseline(ridge=0.0)
    with pytest.raises(ValueError, match="NaN"):
        LinearBaseline().fit(found, found.reward * torch.nan)
    with pytest.raises(ValueError, match=r"expected \[N, 1\]"):
        NetworkBaseline(qs.nets.MLP(2, [], 2)).fit(found, found.reward)
    with pytest.raises(ValueError, match="no transition"):
        NetworkBaseline(qs.nets.MLP(2, [], 1)).fit(found._replace(mask=torch.zeros_like(found.mask)), found.reward)


@pytest.mark.parametrize("shape", [(84, 84, 3), (4, 64, 64), (1000,)], ids=str)
def test_pictures_fit_into_memory(shape):
    """The Gram matrix of 84 x 84 x 3 would need 14 GB; large vectors are the same kind."""
    generator = torch.Generator().manual_seed(0)
    found = made.episodes(tasks=2, envs=2, steps=40)
    bright = 100 * torch.rand(*found.mask.shape, generator=generator)
    picture = 128 + bright.reshape(*bright.shape, *[1] * len(shape)) * torch.rand(shape, generator=generator)
    found = found._replace(observation=picture, next_observation=picture)
    returns = 0.3 * bright - found.time / 10
    value = LinearBaseline().fit(found, returns)
    left = (value(found.observation, found.time) - returns)[found.mask]
    assert left.std() < 0.05 * returns[found.mask].std()
    assert torch.equal(value(found.observation, found.time), LinearBaseline().fit(found, returns)(picture, found.time))


def test_pictures_of_other_tasks_do_not_matter():
    found = made.episodes(tasks=2, envs=2, steps=12)
    picture = torch.rand(*found.mask.shape, 30, 30)
    found = found._replace(observation=picture, next_observation=picture)
    other = found._replace(observation=torch.cat([picture[:1], 50 * picture[1:]]))
    a, b = (LinearBaseline().fit(e, e.reward)(e.observation, e.time)[0] for e in (found, other))
    torch.testing.assert_close(a, b)

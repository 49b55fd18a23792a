"""ConvNP against its equations, one task and one latent function after another."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from quickstudy.chance import keyed, new_keys, normals
from quickstudy.data import Examples, Tasks
from quickstudy.processes import conv_np
from quickstudy.processes.conv_np import ConvNP
from quickstudy.processes.parts.gridded import cell_noise
from quickstudy.processes.parts.lattice import Window


@pytest.fixture(autouse=True)
def double() -> None:
    torch.set_default_dtype(torch.float64)


def small(dx: int = 1, **options: Any) -> Any:
    """A process whose convolutions do not reach from the middle of the domain to the edge of the grid."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"domain": (-2, 2), "points_per_unit": 4, "margin": 5.0 if dx == 1 else 1.0}
    process = ConvNP(dx, **sizes, channels=4, latent=2, levels=1, kernel=3, samples=3, **options)
    with torch.no_grad():
        process.out[-1].weight.mul_(100)
    return process


def batch(dx: int = 1) -> Tasks:
    x = torch.rand(2, 9, dx, generator=torch.Generator().manual_seed(0)) - 0.5
    y = (3 * x).sum(-1, keepdim=True).cos()
    return Tasks(Examples(x[:, :5], y[:, :5]), Examples(x[:, 5:], y[:, 5:]))


def belief(process: Any, points: Examples, t: int) -> Independent:
    """q(z | points) of one task, `[latent, *cells]`; every cell by its distances to the points."""
    axes = process.lattice.usual.axes(points.x)
    cells = torch.cartesian_prod(*axes).view(*map(len, axes), process.dx)
    width = process.into.log_width.exp()
    weights = (-(cells.unsqueeze(-2) - points.x[t]).square().sum(-1) / (2 * width**2)).exp()  # [*cells, N]
    density = weights.sum(-1)
    grid = torch.stack([density, (weights * points.y[t, :, 0]).sum(-1) / (density + 1e-4)])
    mean, raw = process.latent_head(process.encoder(grid[None]))[0].chunk(2)
    return Independent(Normal(mean, 0.1 + 0.9 * raw.sigmoid()), 1 + process.dx)


def decoded(process: Any, z: Tensor, x: Tensor) -> Normal:
    """The belief at `x [M, dx]` for one latent function `[latent, *cells]`."""
    axes = process.lattice.usual.axes(x)
    cells = torch.cartesian_prod(*axes).view(-1, process.dx)
    weights = (-(x[:, None] - cells).square().sum(-1) / (2 * process.back.log_width.exp() ** 2)).exp()
    mean, raw = process.out(weights @ process.decoder(z[None])[0].flatten(1).T).chunk(2, -1)
    return Normal(mean, process.sigma_floor + torch.nn.functional.softplus(raw))


@pytest.mark.parametrize("dx", [1, 2, 3])
def test_members_are_decoded_latent_functions(dx: int) -> None:
    process, tasks = small(dx), batch(dx)
    predictor = process.adapt(tasks.support, generator=torch.Generator().manual_seed(1))
    noise = cell_noise(predictor.noise, 2, process.lattice.usual, tasks.query.x)
    for t in range(2):
        q = belief(process, tasks.support, t).base_dist
        for s in range(3):
            expected = decoded(process, q.loc + q.scale * noise[s, t], tasks.query.x[t])
            torch.testing.assert_close(predictor(tasks.query.x).means[s, t], expected.mean, atol=1e-9, rtol=1e-7)
            torch.testing.assert_close(
                predictor(tasks.query.x).variances[s, t], expected.variance, atol=1e-9, rtol=1e-7
            )


def test_objectives_are_their_equations() -> None:
    tasks = batch()
    for objective in ("ml", "elbo", "iwae"):
        process = small(objective=objective, train_samples=4)
        noise = torch.randn(4, 2, 2, 56, generator=torch.Generator().manual_seed(7))
        losses = []
        for t in range(2):
            prior, posterior = belief(process, tasks.support, t), belief(process, tasks.support.append(tasks.query), t)
            own = (prior if objective == "ml" else posterior).base_dist
            z = own.loc + own.scale * noise[:, t]
            fit = torch.stack([decoded(process, one, tasks.query.x[t]).log_prob(tasks.query.y[t]).sum() for one in z])
            losses.append(
                {
                    "elbo": lambda: fit.mean() - kl_divergence(posterior, prior),
                    "iwae": lambda: (fit + prior.log_prob(z) - posterior.log_prob(z)).exp().mean().log(),
                    "ml": lambda: fit.exp().mean().log(),
                }[objective]()
            )
        torch.manual_seed(7)
        torch.testing.assert_close(process.meta_loss(tasks), -torch.stack(losses).mean() / 4, atol=1e-6, rtol=1e-6)


def test_noise_belongs_to_cells() -> None:
    keys = new_keys((2, 3), torch.device("cpu"), torch.Generator().manual_seed(0))
    like = torch.zeros(())
    large = cell_noise(keys, 4, Window((-8, -6), (8, 10), 0.1), like)
    part = cell_noise(keys, 4, Window((-2, 0), (3, 8), 0.1), like)
    assert torch.equal(large[..., 6:11, 6:14], part) and part.shape == (2, 3, 4, 5, 8)
    bits = keys[1, 2]
    for place in (3, -2, 0):  # channel, cell along the first axis, and along the second
        bits = keyed(bits, torch.tensor(place))
    assert part[1, 2, 3, 0, 0] == normals(bits, torch.float64)


def test_functions_stay_the_same_where_the_grid_grows() -> None:
    process, tasks = small(), batch()
    functions = process.adapt(tasks.support).functions(4, torch.Generator().manual_seed(0))
    here = functions(tasks.query.x)
    far = torch.cat([tasks.query.x, torch.full_like(tasks.query.x, -30.0)], 1)
    torch.testing.assert_close(functions(far)[:, :, :4], here, atol=1e-9, rtol=1e-9)
    assert here.std(0).min() > 1e-3
    # and where a support point is far, so that the functions were computed on another grid
    lone = Examples(torch.full((2, 1, 1), 30.0), torch.zeros(2, 1, 1))
    moved = process.adapt(tasks.support).append(lone).functions(4, torch.Generator().manual_seed(0))
    torch.testing.assert_close(moved(tasks.query.x), here, atol=1e-9, rtol=1e-9)


def test_without_noise_a_task_that_moves_has_its_prediction_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv_np, "cell_noise", lambda keys, *rest: torch.zeros(*keys.shape, 1, 1))
    process, (support, query, _) = small(), batch()
    here = process.adapt(support)(query.x)
    torch.testing.assert_close(here.means, here.means[:1].expand(3, -1, -1, -1))
    expected = decoded(process, belief(process, support, 1).base_dist.loc, query.x[1])
    torch.testing.assert_close(here.mean[1], expected.mean, atol=1e-9, rtol=1e-7)
    there = process.adapt(support._replace(x=support.x + 0.5))(query.x + 0.5)  # two cells, the coarsest step
    torch.testing.assert_close(there.mean, here.mean, atol=1e-9, rtol=1e-9)


def test_bad_options() -> None:
    for options, says in (
        ({"dx": 4}, "1 to 3 axes"),
        ({"kernel": 4}, "kernel=4; expected an odd number"),
        ({"latent": 0}, "latent=0"),
        ({"objective": "vae"}, "objective"),
        ({"domain": (2.0, -2.0)}, "domain"),
    ):
        with pytest.raises(ValueError, match=says):
            ConvNP(**options)

"""A Gaussian process with a learned mean, against scikit-learn's, and on shapes that only a learned mean can know."""

from pathlib import Path

import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern
from torch import Tensor, nn

import quickstudy as qs
from quickstudy.data import Examples, Tasks

CHANCE = torch.Generator()


def points(tasks: int, count: int, dx: int = 1, dy: int = 1, seed: int = 0) -> Examples:
    CHANCE.manual_seed(seed)
    x = torch.randn(tasks, count, dx, generator=CHANCE, dtype=torch.float64)
    return Examples(x, torch.randn(tasks, count, dy, generator=CHANCE, dtype=torch.float64))


def learner(**options: object) -> qs.DeepMeanGP:
    torch.manual_seed(0)
    made = qs.DeepMeanGP(**options).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for part in (made.log_noise, made.log_scale, made.log_length):
            part.add_(0.3 * torch.randn_like(part))
    return made


@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
@pytest.mark.parametrize("deep", [False, True])
def test_the_posterior_is_that_of_scikit_learn(kernel: str, deep: bool) -> None:
    options = {"features": nn.Sequential(nn.Linear(2, 3), nn.Tanh()), "width": 3} if deep else {}
    made = learner(dx=2, dy=2, kernel=kernel, **options)
    seen, asked = points(2, 5, 2, 2), points(2, 4, 2, seed=1).x
    belief = made.adapt(seen)(asked)
    with torch.no_grad():
        means = [made.network(x.flatten(0, 1)).unflatten(0, x.shape[:2]) for x in (seen.x, asked)]
        inputs = [x if made.features is None else made.features(x) for x in (seen.x, asked)]
    for t in range(2):
        for d in range(2):
            length, scale, noise = (
                part.detach()[d].exp() for part in (made.log_length, made.log_scale, made.log_noise)
            )
            shape = RBF(length.numpy()) if kernel == "rbf" else Matern(length.numpy(), nu=2.5)
            gp = GaussianProcessRegressor(
                ConstantKernel(float(scale) ** 2) * shape, alpha=float(noise) ** 2, optimizer=None
            )
            gp.fit(inputs[0][t].numpy(), (seen.y - means[0])[t, :, d].numpy())
            mean, covariance = gp.predict(inputs[1][t].numpy(), return_cov=True)
            torch.testing.assert_close(belief.mean[t, :, d], torch.from_numpy(mean) + means[1][t, :, d])
            torch.testing.assert_close(belief.covariance[t, d], torch.from_numpy(covariance), atol=1e-9, rtol=1e-6)
            torch.testing.assert_close(belief.variance[t, :, d], belief.covariance[t, d].diagonal() + noise**2)


def test_append_and_the_prior() -> None:
    made, seen, asked = learner(), points(3, 6), points(3, 4, seed=1).x
    half = Examples(seen.x[:, :2], seen.y[:, :2])
    both = made.adapt(half).append(Examples(seen.x[:, 2:], seen.y[:, 2:]))(asked)
    torch.testing.assert_close(both.mean, made.adapt(seen)(asked).mean)
    for prior in (made.adapt(seen, steps=0), made.adapt(seen.first(0))):
        torch.testing.assert_close(prior(asked).mean, made.network(asked.flatten(0, 1)).unflatten(0, asked.shape[:2]))


def test_functions_are_draws_of_the_posterior_and_remember() -> None:
    made, seen = learner(), points(2, 3)
    asked = points(2, 5, seed=1).x
    predictor = made.adapt(seen)
    drawn = predictor.functions(4000, torch.Generator().manual_seed(0))
    parts = torch.cat([drawn(asked[:, :2]), drawn(asked[:, 1:])[:, :, 1:]], 2)  # the second input is asked twice
    torch.testing.assert_close(drawn(asked.flip(1)).flip(2), parts, rtol=0, atol=0)
    belief = predictor(asked)
    spread = belief.covariance[:, 0].diagonal(dim1=1, dim2=2).sqrt()
    torch.testing.assert_close(parts.mean(0)[..., 0], belief.mean[..., 0], atol=0.08, rtol=0)
    found = (parts[..., 0] - belief.mean[..., 0]).unsqueeze(3)
    found = (found @ found.mT).mean(0)
    wanted = belief.covariance[:, 0]
    assert float(((found - wanted).abs() / (spread.unsqueeze(1) * spread.unsqueeze(2))).max()) < 0.1
    torch.testing.assert_close(drawn[3](asked), parts[3], rtol=0, atol=0)


def test_functions_at_many_near_inputs_are_smooth() -> None:
    for made in (learner(), qs.MeanAndGP().double()):
        drawn = made.adapt(points(1, 3)).functions(3, torch.Generator().manual_seed(0))
        x = torch.linspace(-1, 1, 400, dtype=torch.float64).view(1, 400, 1)
        first, second = drawn(x[:, ::2]), drawn(x[:, 1::2])
        assert float((second - first).abs().max()) < 0.1 and bool(second.isfinite().all())
        assert drawn(x[:, :0]).shape == (3, 1, 0, 1)


class Hats(qs.tasks.Sinusoid):
    """Tasks that share a bump at 0 and differ in their level."""

    def sample(self, tasks: int, **options: object) -> Tasks:
        made = super().sample(tasks, **options)  # type: ignore[arg-type]
        level = made.support.y[:, :1] if made.support.y.shape[1] else made.query.y[:, :1]

        def hat(points: Examples) -> Examples:
            return points._replace(y=4 * (-points.x.square()).exp() + level + 0.1 * points.y)

        return made._replace(support=hat(made.support), query=hat(made.query))


def test_fit_learns_the_shape_that_tasks_share(tmp_path: Path) -> None:
    """Without points near the bump, a mean that is learned has it."""
    made = qs.DeepMeanGP()
    qs.fit(made, Hats(), steps=300, support=(0, 5), query=10, seed=0, out=tmp_path / "run")
    x = torch.tensor([-4.0, -3.5, 3.5, 4.0]).view(1, 4, 1)
    mean = made.adapt(Examples(x, torch.ones(1, 4, 1)))(torch.tensor([[[0.0], [3.7]]])).mean[0, :, 0]
    assert float(mean[0] - mean[1]) > 3 and abs(float(mean[1]) - 1) < 0.3


def test_running_statistics_do_not_move_and_parameters_are_constants() -> None:
    network = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    made = qs.DeepMeanGP(network=network)
    seen = points(2, 4).to(dtype=torch.float32)
    before = network[1].running_mean.clone()
    belief = made.adapt(seen)(seen.x)
    assert torch.equal(network[1].running_mean, before) and not belief.mean.requires_grad
    x = seen.x.clone().requires_grad_()
    made.adapt(seen)(x).mean.sum().backward()
    assert x.grad is not None and all(p.grad is None for p in made.parameters())


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"kernel": "periodic"}, ValueError, "choose one of 'rbf', 'matern52'"),
        ({"width": 3}, ValueError, "features= and width= go together"),
        ({"network": 3}, TypeError, "network must be a torch.nn.Module"),
        ({"noise": 0.0}, ValueError, "noise=0.0"),
        ({"rows": 0}, ValueError, "rows=0"),
    ],
)
def test_bad_options(options: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        qs.DeepMeanGP(**options)  # type: ignore[arg-type]


def test_a_network_of_another_width_is_named() -> None:
    seen = points(2, 3).to(dtype=torch.float32)
    with pytest.raises(ValueError, match=r"the output of network= has shape \[6, 2\]; expected \[N, 1\] = \[6, 1\]"):
        qs.DeepMeanGP(network=nn.Linear(1, 2)).adapt(seen)
    with pytest.raises(ValueError, match=r"the output of features= has shape \[6, 2\]; expected \[N, 4\]"):
        qs.DeepMeanGP(features=nn.Linear(1, 2), width=4).adapt(seen)


def test_two_outputs_of_many_tasks_keep_their_places() -> None:
    made, seen, asked = learner(dy=2), points(3, 4, dy=2), points(3, 2, seed=1).x
    whole = made.adapt(seen)(asked).mean
    for i in range(3):
        alone: Tensor = made.adapt(seen.select(i))(asked[i : i + 1]).mean
        torch.testing.assert_close(alone, whole[i : i + 1])
        torch.testing.assert_close(made.adapt(seen).task(i)(asked[i]), whole[i])

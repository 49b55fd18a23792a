"""The exact posterior against scikit-learn, padding, appending, and functions that remember."""

import math

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from torch import Tensor

from quickstudy.data import Examples, pad
from quickstudy.learner import Predictor
from quickstudy.tasks import ExactGP, GaussianProcess
from quickstudy.tasks.kernels import KERNELS, Kernel


def _info(tasks: int, draw: torch.Generator) -> dict[str, Tensor]:
    low = {"lengthscale": 0.2, "scale": 0.5, "noise": 0.1, "period": 0.3}
    return {k: v + 0.5 * torch.rand(tasks, generator=draw, dtype=torch.float64) for k, v in low.items()}


def _examples(tasks: int, points: int, draw: torch.Generator, dy: int = 1) -> Examples:
    x = 4 * torch.rand(tasks, points, 1, generator=draw, dtype=torch.float64) - 2
    return Examples(x, torch.randn(tasks, points, dy, generator=draw, dtype=torch.float64))


def _sklearn(gp: ExactGP, t: int) -> GaussianProcessRegressor:
    scale, length, noise = (float(gp.info[k][t]) for k in ("scale", "lengthscale", "noise"))
    kernel = ConstantKernel(scale**2) * RBF(length)
    model = GaussianProcessRegressor(kernel + WhiteKernel(noise**2), alpha=0.0, optimizer=None)
    return model.fit(gp.support.x[t].numpy(), gp.support.y[t].numpy())


def test_posterior_equals_sklearn(generator: torch.Generator) -> None:
    gp = ExactGP(_examples(3, 8, generator), _info(3, generator))
    x = torch.linspace(-2, 2, 15, dtype=torch.float64).view(1, 15, 1).expand(3, 15, 1)
    belief = gp(x)
    for t in range(3):
        model = _sklearn(gp, t)
        mean, spread = model.predict(x[t].numpy(), return_cov=True)  # of observations: noise on the diagonal
        np.testing.assert_allclose(belief.mean[t, :, 0], np.ravel(mean), atol=1e-8)
        noisy = belief.covariance[t, 0] + belief.noise[t] * torch.eye(15)
        np.testing.assert_allclose(noisy, spread, atol=1e-8)
        np.testing.assert_allclose(belief.variance[t, :, 0], np.diag(spread), atol=1e-8)
        expected = model.log_marginal_likelihood(model.kernel_.theta)
        assert float(gp.log_marginal_likelihood()[t]) == pytest.approx(expected, abs=1e-8)


def test_outputs_share_the_kernel_and_have_their_own_mean(generator: torch.Generator) -> None:
    examples, info = _examples(3, 6, generator, dy=2), _info(3, generator)
    mean = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    both = ExactGP(examples, info | {"mean": mean})
    belief = both(examples.x)
    likelihood = torch.zeros(3, dtype=torch.float64)
    for d in range(2):
        shifted = Examples(examples.x, examples.y[:, :, d : d + 1] - mean[:, None, d : d + 1])
        alone = ExactGP(shifted, info)
        torch.testing.assert_close(alone(examples.x).mean + mean[:, None, d : d + 1], belief.mean[:, :, d : d + 1])
        torch.testing.assert_close(alone(examples.x).covariance[:, 0], belief.covariance[:, d])
        likelihood += alone.log_marginal_likelihood()
    torch.testing.assert_close(likelihood, both.log_marginal_likelihood())


@pytest.mark.parametrize("kernel", KERNELS)
def test_empty_support_is_the_prior(kernel: Kernel, generator: torch.Generator) -> None:
    family = GaussianProcess(kernel)
    tasks = family.sample(4, support=0, query=7, generator=generator)
    belief = family.oracle(tasks)(tasks.query.x)
    wide = tasks.query.x.double()
    assert torch.equal(belief.mean, torch.zeros(4, 7, 1, dtype=torch.float64))
    torch.testing.assert_close(belief.covariance[:, 0], family.matrix(wide, wide, tasks.info))
    assert torch.equal(family.oracle(tasks).log_marginal_likelihood(), torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("filler", [0.0, math.nan, math.inf])
def test_padding_changes_nothing(kernel: Kernel, filler: float, generator: torch.Generator) -> None:
    info = _info(3, generator)
    sizes = [5, 0, 2]
    sets = [tuple(part[0] for part in _examples(1, n, generator)[:2]) for n in sizes]
    padded = pad(sets)  # type: ignore[arg-type]
    assert padded.mask is not None
    gap = ~padded.mask[:, :, None]
    gp = ExactGP(
        Examples(padded.x.masked_fill(gap, filler), padded.y.masked_fill(gap, filler), padded.mask),
        info,
        kernel=kernel,
    )
    x = _examples(3, 6, generator).x
    belief = gp(x)
    values = gp.functions(3, torch.Generator().manual_seed(1))(x)
    assert bool(torch.isfinite(values).all())
    for t, (sx, sy) in enumerate(sets):
        one = {k: v[t : t + 1] for k, v in info.items()}
        alone = ExactGP(Examples(sx[None], sy[None]), one, kernel=kernel)
        torch.testing.assert_close(alone(x[t : t + 1]).mean[0], belief.mean[t])
        torch.testing.assert_close(alone(x[t : t + 1]).covariance[0], belief.covariance[t])
        torch.testing.assert_close(alone.log_marginal_likelihood()[0], gp.log_marginal_likelihood()[t])


def test_order_does_not_matter(generator: torch.Generator) -> None:
    examples, info = _examples(3, 9, generator), _info(3, generator)
    turned = Examples(examples.x.flip(1), examples.y.flip(1))
    x = _examples(3, 4, generator).x
    torch.testing.assert_close(ExactGP(examples, info)(x).mean, ExactGP(turned, info)(x).mean)


def test_one_set_of_hyperparameters_for_all_tasks(generator: torch.Generator) -> None:
    examples, info = _examples(3, 5, generator), _info(1, generator) | {"mean": torch.ones(1, 1)}
    shared = ExactGP(examples, info)
    each = ExactGP(examples, {k: v.repeat(3, *[1] * (v.dim() - 1)) for k, v in info.items()})
    x = _examples(3, 4, generator).x
    torch.testing.assert_close(shared(x), each(x))
    assert shared(x).noise.shape == (3,)


def test_append_is_conditioning_on_the_union(generator: torch.Generator) -> None:
    examples, info = _examples(3, 9, generator), _info(3, generator)
    x = _examples(3, 4, generator).x
    whole = ExactGP(examples, info, kernel="matern52")(x)
    first, rest = examples.first(4), Examples(examples.x[:, 4:], examples.y[:, 4:])
    grown = ExactGP(first, info, kernel="matern52").append(rest)
    assert isinstance(grown, Predictor)
    torch.testing.assert_close(grown(x).mean, whole.mean)
    torch.testing.assert_close(grown(x).covariance, whole.covariance)
    # The chain rule: p(union) = p(first) p(rest | first).
    before = ExactGP(first, info, kernel="matern52")
    step = before(rest.x).log_prob(rest.y, joint=True)
    torch.testing.assert_close(grown.log_marginal_likelihood(), before.log_marginal_likelihood() + step)


def test_noiseless_posterior_passes_through_the_points(generator: torch.Generator) -> None:
    family = GaussianProcess(noise=0.0)
    tasks = family.sample(3, support=6, query=5, generator=generator)
    predictor = family.oracle(tasks)
    belief = predictor(tasks.support.x)
    torch.testing.assert_close(belief.mean.float(), tasks.support.y, atol=1e-4, rtol=0)
    assert float(belief.variance.max()) < 1e-6
    values = predictor.functions(4, generator)(tasks.support.x)
    torch.testing.assert_close(values, tasks.support.y.expand(4, -1, -1, -1), atol=1e-3, rtol=0)


class TestFunctions:
    """Each function is one function, however it is asked."""

    @pytest.fixture
    def gp(self, generator: torch.Generator) -> ExactGP:
        return ExactGP(_examples(2, 5, generator), _info(2, generator))

    def test_consistent_across_calls(self, gp: ExactGP, generator: torch.Generator) -> None:
        functions = gp.functions(6, generator)
        a, b = _examples(2, 7, generator).x, _examples(2, 4, generator).x
        first = functions(a)
        assert first.shape == (6, 2, 7, 1)
        second = functions(b)
        assert torch.equal(functions(a), first)
        assert torch.equal(functions(torch.cat([b, a], 1)), torch.cat([second, first], 2))
        assert torch.equal(functions(a.flip(1)), first.flip(2))
        assert torch.equal(functions[3](a), first[3])
        assert torch.equal(torch.stack([f(b) for f in functions]), second)

    def test_a_point_given_twice_has_one_value(self, gp: ExactGP, generator: torch.Generator) -> None:
        x = _examples(2, 3, generator).x
        values = gp.functions(4, generator)(torch.cat([x, x], 1))
        assert torch.equal(values[:, :, :3], values[:, :, 3:])

    def test_same_seed_same_functions(self, gp: ExactGP) -> None:
        x = gp.support.x
        one, two = (gp.functions(3, torch.Generator().manual_seed(5))(x) for _ in range(2))
        assert torch.equal(one, two)

    def test_smooth_between_calls(self, generator: torch.Generator) -> None:
        """Values asked for later lie on the same smooth curve as those asked for before."""
        one = torch.ones(1, dtype=torch.float64)
        empty = Examples(torch.zeros(1, 0, 1), torch.zeros(1, 0, 1))
        functions = ExactGP(empty, {"lengthscale": one, "scale": one, "noise": one}).functions(5, generator)
        x = torch.linspace(-2, 2, 41, dtype=torch.float64).view(1, -1, 1)
        values = torch.empty(5, 1, 41, 1, dtype=torch.float64)
        for start in (0, 2, 1, 3):  # every fourth point, in four calls
            values[:, :, start::4] = functions(x[:, start::4])
        second = values[:, :, 2:] - 2 * values[:, :, 1:-1] + values[:, :, :-2]
        assert float(second.abs().max()) < 0.1 * 0.1 * 8  # step squared times the largest second derivative seen

    def test_distribution_over_two_calls(self, gp: ExactGP, generator: torch.Generator) -> None:
        """Asked in two halves, many functions have the posterior's mean and covariance."""
        x = torch.tensor([-1.5, -0.2, 0.1, 1.7], dtype=torch.float64).view(1, 4, 1).expand(2, 4, 1)
        functions = gp.functions(20_000, generator)
        values = torch.cat([functions(x[:, :2]), functions(x[:, 2:])], 2)[..., 0]
        belief = gp(x)
        for t in range(2):
            torch.testing.assert_close(values[:, t].mean(0), belief.mean[t, :, 0], atol=0.03, rtol=0)
            torch.testing.assert_close(values[:, t].T.cov(), belief.covariance[t, 0], atol=0.04, rtol=0)

    def test_types_and_errors(self, gp: ExactGP, generator: torch.Generator) -> None:
        functions = gp.functions(2, generator)
        assert functions(torch.zeros(2, 3, 1)).dtype == torch.float32
        assert len(functions) == 2
        with pytest.raises(IndexError):
            functions[2]


def test_no_module_of_a_task(generator: torch.Generator) -> None:
    with pytest.raises(NotImplementedError, match="no module of task 0"):
        ExactGP(_examples(1, 2, generator), _info(1, generator)).task(0)


def test_bad_arguments(generator: torch.Generator) -> None:
    examples, info = _examples(2, 3, generator), _info(2, generator)
    with pytest.raises(ValueError, match="lacks 'period', which the periodic kernel needs"):
        ExactGP(examples, {k: v for k, v in info.items() if k != "period"}, kernel="periodic")
    with pytest.raises(ValueError, match=r"info\['scale'\] has shape \[3\]"):
        ExactGP(examples, {k: v[:1] for k, v in info.items()} | {"scale": torch.ones(3)})
    with pytest.raises(TypeError, match="labels"):
        ExactGP(Examples(examples.x, torch.zeros(2, 3, dtype=torch.long)), info)
    with pytest.raises(ValueError, match="NaN or infinite"):
        ExactGP(Examples(examples.x, examples.y * math.nan), info)


@pytest.mark.parametrize("shape", [(3, 5, 2), (1, 5, 1), (6, 5, 1)])
def test_inputs_of_another_shape_are_not_broadcast(shape: tuple[int, ...], generator: torch.Generator) -> None:
    gp = ExactGP(_examples(3, 4, generator), _info(3, generator))
    match = r"this predictor was adapted to 3 tasks and expects \[3, M, 1\]"
    with pytest.raises(ValueError, match=match):
        gp(torch.zeros(shape))
    with pytest.raises(ValueError, match=match):
        gp.functions(2)(torch.zeros(shape))

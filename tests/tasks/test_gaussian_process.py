"""The family's draws and log-likelihoods against dense linear algebra and published figures."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from quickstudy.data import Tasks
from quickstudy.learner import Split
from quickstudy.tasks import GaussianProcess
from quickstudy.tasks.kernels import KERNELS, PERIODIC


def _conditional(family: GaussianProcess, tasks: Tasks) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the query's outcomes given the support, by inverting the joint covariance."""
    n = tasks.support.num_points
    x = torch.cat([tasks.support.x, tasks.query.x], 1).double()
    joint = family.matrix(x, x, tasks.info)
    joint = joint + tasks.info["noise"].double().square().view(-1, 1, 1) * torch.eye(x.shape[1])
    inverse = torch.linalg.inv(joint[:, :n, :n])
    gain = joint[:, n:, :n] @ inverse
    mean = (gain @ tasks.support.y.double()).squeeze(2)
    return mean, joint[:, n:, n:] - gain @ joint[:, :n, n:]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("support", [0, 1, 12])
@pytest.mark.parametrize("split", ["train", "test"])
def test_oracle_log_likelihood(kernel: str, support: int, split: Split, generator: torch.Generator) -> None:
    torch.set_default_dtype(torch.float64)
    family = GaussianProcess(kernel, noise=(0.05, 0.2))  # type: ignore[arg-type]
    tasks = family.sample(6, support=support, query=9, split=split, generator=generator)
    mean, spread = _conditional(family, tasks)
    y = tasks.query.y.squeeze(2)
    marginal = Normal(mean, spread.diagonal(dim1=1, dim2=2).sqrt()).log_prob(y)
    joint = MultivariateNormal(mean, (spread + spread.mT) / 2).log_prob(y)
    torch.testing.assert_close(tasks.info["oracle_log_prob"], marginal, atol=1e-7, rtol=1e-7)
    torch.testing.assert_close(tasks.info["oracle_joint_log_prob"], joint, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("kernel", KERNELS)
def test_float32_log_likelihood_agrees_with_the_oracle(kernel: str, generator: torch.Generator) -> None:
    family = GaussianProcess(kernel)  # type: ignore[arg-type]
    tasks = family.sample(16, support=20, query=20, generator=generator)
    belief = family.oracle(tasks)(tasks.query.x)
    marginal, joint = belief.log_prob(tasks.query.y), belief.log_prob(tasks.query.y, joint=True)
    torch.testing.assert_close(marginal.float(), tasks.info["oracle_log_prob"], atol=1e-2, rtol=1e-3)
    torch.testing.assert_close(joint.float(), tasks.info["oracle_joint_log_prob"], atol=5e-2, rtol=1e-3)


def test_published_protocol_of_transformer_neural_processes(generator: torch.Generator) -> None:
    """Exact posterior, RBF: 1.545 +- 0.016 nats a point alone, 1.818 +- 0.011 jointly (computed independently)."""
    marginal, joint = [], []
    for _ in range(250):
        support = int(torch.randint(3, 47, (), generator=generator))
        query = int(torch.randint(3, max(4, 50 - support), (), generator=generator))
        info = GaussianProcess().sample(16, support=support, query=query, generator=generator).info
        marginal.append(info["oracle_log_prob"].mean())
        joint.append(info["oracle_joint_log_prob"].mean() / query)
    assert float(torch.stack(marginal).mean()) == pytest.approx(1.545, abs=0.15)
    assert float(torch.stack(joint).mean()) == pytest.approx(1.818, abs=0.12)


@pytest.mark.parametrize(("kernel", "joint"), [("rbf", -0.248), ("matern52", -0.357), ("weakly_periodic", -0.625)])
def test_published_protocol_of_autoregressive_processes(kernel: str, joint: float, generator: torch.Generator) -> None:
    """Normalised joint log-likelihood of the exact posterior, 0 to 30 support and 50 query points."""
    family = GaussianProcess.fixed(kernel)  # type: ignore[arg-type]
    values = []
    for support in range(31):
        info = family.sample(64, support=support, query=50, generator=generator).info
        values.append(info["oracle_joint_log_prob"].mean() / 50)
    assert float(torch.stack(values).mean()) == pytest.approx(joint, abs=0.02)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_draws_have_the_covariance(kernel: str, split: Split, generator: torch.Generator) -> None:
    """Whitened by an independent factor, the outcomes of many tasks are standard normal."""
    family = GaussianProcess(kernel, noise=0.3)  # type: ignore[arg-type]
    tasks = family.sample(3000, support=4, query=4, split=split, generator=generator)
    x = torch.cat([tasks.support.x, tasks.query.x], 1).double()
    y = torch.cat([tasks.support.y, tasks.query.y], 1).double()
    joint = family.matrix(x, x, tasks.info) + 0.09 * torch.eye(8)
    white = torch.linalg.solve(torch.linalg.cholesky(joint), y).squeeze(2)
    torch.testing.assert_close(white.T.cov(), torch.eye(8).double(), atol=0.1, rtol=0)
    torch.testing.assert_close(white.mean(0), torch.zeros(8).double(), atol=0.08, rtol=0)


def test_info_names_what_was_drawn(generator: torch.Generator) -> None:
    for kernel in KERNELS:
        info = GaussianProcess(kernel, noise=(0.1, 0.2)).sample(500, support=1, query=2, generator=generator).info
        assert ("period" in info) == (kernel in PERIODIC)
        drawn = {"lengthscale": (0.1, 0.6), "scale": (0.1, 1.0), "period": (0.1, 0.5), "noise": (0.1, 0.2)}
        for name, (low, high) in drawn.items():
            if name in info:
                assert info[name].shape == (500,)
                assert low <= float(info[name].min()) < low + 0.02 and high - 0.02 < float(info[name].max()) <= high


def test_fixed_settings() -> None:
    family = GaussianProcess.fixed("weakly_periodic", dx=4)
    info = family.sample(2, support=1, query=1).info
    assert info["lengthscale"].tolist() == [1.0, 1.0]
    assert info["period"].tolist() == [0.25, 0.25]
    assert info["noise"].square().tolist() == pytest.approx([0.05, 0.05])
    assert GaussianProcess.fixed().sample(1, support=1, query=1).info["lengthscale"].tolist() == [0.25]


@pytest.mark.parametrize("split", ["train", "test"])
def test_without_noise_repeated_inputs_agree(split: Split, generator: torch.Generator) -> None:
    family = GaussianProcess(noise=0.0, lengthscale=2.0, scale=1.0)
    tasks = family.sample(4, support=30, query=101, split=split, grid=True, generator=generator)  # above the rank
    assert bool(torch.isfinite(tasks.info["oracle_log_prob"]).all())
    smooth = tasks.query.y[:, 2:] - 2 * tasks.query.y[:, 1:-1] + tasks.query.y[:, :-2]
    assert float(smooth.abs().max()) < 1e-2  # second differences of a smooth function on a grid of step 0.04


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"kernel": "rfb"}, "unknown kernel 'rfb'; choose one of rbf, matern52"),
        ({"lengthscale": 0.0}, "lengthscale=0.0; every value must be above 0"),
        ({"scale": (-1.0, 1.0)}, "scale="),
        ({"period": (0.5, 0.1)}, "low <= high"),
        ({"noise": (-0.1, 0.1)}, "noise="),
        ({"dx": 0}, "dx=0"),
    ],
)
def test_bad_options(option: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        GaussianProcess(**option)  # type: ignore[arg-type]


def test_no_grid_in_the_plane() -> None:
    with pytest.raises(ValueError, match="grid=True needs one input feature, and this family has dx=2"):
        GaussianProcess(dx=2).sample(1, support=1, query=4, grid=True)


def test_joint_exceeds_marginal_on_average(generator: torch.Generator) -> None:
    """Knowing the dependence between query points can only help the truth: a sign error would show here."""
    info = GaussianProcess().sample(400, support=5, query=20, generator=generator).info
    assert float(info["oracle_joint_log_prob"].mean()) > float(info["oracle_log_prob"].sum(1).mean())
    assert math.isfinite(float(info["oracle_joint_log_prob"].mean()))

"""Covariance functions against scikit-learn's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process.kernels import RBF, ExpSineSquared, Matern

from quickstudy.tasks.kernels import KERNELS, covariance


def _ours(kernel: str, x1: np.ndarray, x2: np.ndarray, length: float, scale: float, period: float) -> np.ndarray:
    values = {"lengthscale": length, "scale": scale, "period": period}
    info = {k: torch.tensor([v], dtype=torch.float64) for k, v in values.items()}
    return covariance(kernel, torch.as_tensor(x1)[None], torch.as_tensor(x2)[None], info)[0].numpy()  # type: ignore[arg-type]


def _sklearn(kernel: str, x1: np.ndarray, x2: np.ndarray, length: float, scale: float, period: float) -> np.ndarray:
    if kernel == "rbf":
        return scale**2 * RBF(length)(x1, x2)
    if kernel == "matern52":
        return scale**2 * Matern(length, nu=2.5)(x1, x2)
    waves = np.ones((len(x1), len(x2)))
    for d in range(x1.shape[1]):  # a product over the features, which is where scikit-learn differs
        stretch = length if kernel == "periodic" else 1.0
        waves *= ExpSineSquared(stretch, period)(x1[:, d : d + 1], x2[:, d : d + 1])
    return scale**2 * waves * (RBF(length)(x1, x2) if kernel == "weakly_periodic" else 1.0)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dx", [1, 3])
@settings(max_examples=10, deadline=None)
@given(length=st.floats(0.05, 3.0), scale=st.floats(0.1, 5.0), period=st.floats(0.1, 2.0), seed=st.integers(0, 2**16))
def test_equals_sklearn(kernel: str, dx: int, length: float, scale: float, period: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    x1, x2 = draw.uniform(-2, 2, (7, dx)), draw.uniform(-2, 2, (4, dx))
    np.testing.assert_allclose(
        _ours(kernel, x1, x2, length, scale, period),
        _sklearn(kernel, x1, x2, length, scale, period),
        rtol=1e-7,
        atol=1e-10,
    )


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dx", [1, 2])
def test_a_covariance(kernel: str, dx: int, generator: torch.Generator) -> None:
    """Symmetric, positive semidefinite, the variance on the diagonal, and one matrix a task."""
    x = torch.rand(5, 20, dx, generator=generator, dtype=torch.float64) * 4 - 2
    info = {k: torch.rand(5, generator=generator) + 0.1 for k in ("lengthscale", "scale", "period")}
    k = covariance(kernel, x, x, info)  # type: ignore[arg-type]
    torch.testing.assert_close(k, k.mT)
    torch.testing.assert_close(k.diagonal(dim1=1, dim2=2), info["scale"].double().square()[:, None].expand(5, 20))
    assert float(torch.linalg.eigvalsh(k).min()) > -1e-10
    for t in range(5):
        alone = covariance(kernel, x[t : t + 1], x[t : t + 1], {n: v[t : t + 1] for n, v in info.items()})  # type: ignore[arg-type]
        torch.testing.assert_close(alone[0], k[t])


@pytest.mark.parametrize("kernel", KERNELS)
def test_differentiable_where_points_meet(kernel: str) -> None:
    x = torch.zeros(1, 2, 1, dtype=torch.float64, requires_grad=True)
    info = {k: torch.ones(1) for k in ("lengthscale", "scale", "period")}
    covariance(kernel, x, x, info).sum().backward()  # type: ignore[arg-type]
    assert x.grad is not None and torch.equal(x.grad, torch.zeros_like(x))

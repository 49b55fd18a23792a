"""Covariance matrices: their factor, and points that do not count."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def cholesky(matrix: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """The lower Cholesky factor in float64, with the least jitter on the diagonal that works.

    Jitter is relative: to the mean of each matrix's own diagonal, and to the rounding of the numbers as they came.
    So the factor of `c^2 matrix` is `c` times that of `matrix`, and no matrix of a batch changes that of another.

    Raises:
        ValueError: if a matrix is far from positive definite.
    """
    wide, least = matrix.double(), 10 * torch.finfo(matrix.dtype).eps
    factor, failed = torch.linalg.cholesky_ex(wide)
    if not bool(failed.any()):
        return factor
    tiny = torch.finfo(torch.float64).tiny / torch.finfo(torch.float64).eps  # all zeros: their factor is 0, nearly
    scale = wide.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(tiny)
    jitter, eye = torch.zeros_like(scale), torch.eye(wide.shape[-1], dtype=wide.dtype, device=wide.device)
    for share in (least * 10**k for k in range(7) if least * 10**k < 0.1):
        jitter = torch.where(failed != 0, share * scale, jitter)
        factor, failed = torch.linalg.cholesky_ex(wide + jitter[..., None, None] * eye)
        if not bool(failed.any()):
            return factor
    raise ValueError(
        f"a covariance of shape {list(matrix.shape)} is not positive definite, even with {share:.0e} of its mean "
        "variance added; add observation noise or use float64"
    )


def alone_where_masked(
    covariance: Float[Tensor, "*batch n n"], real: Bool[Tensor, "*#batch n"]
) -> Float[Tensor, "*batch n n"]:
    """`covariance` in which a point that is not real is independent of all others, with their mean variance."""
    diagonal = covariance.diagonal(dim1=-2, dim2=-1).detach()
    mean = torch.where(real, diagonal, 0.0).sum(-1) / real.sum(-1).clamp_min(1)
    unit = torch.where(mean > 0, mean, 1.0)[..., None, None]
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    return torch.where(real.unsqueeze(-1) & real.unsqueeze(-2), covariance, unit * eye)

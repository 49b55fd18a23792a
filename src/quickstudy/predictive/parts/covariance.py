"""Covariance matrices: their Cholesky factor, and masked points."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def cholesky(matrix: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """The lower Cholesky factor in float64, with the smallest jitter on the diagonal that makes it exist.

    The jitter is relative to the mean of each matrix's own diagonal, and to the precision of the given dtype. So the
    factor of `c^2 matrix` is `c` times that of `matrix`, and the matrices of a batch do not influence each other.

    Raises:
        ValueError: if a matrix is far from positive definite.
    """
    wide, least = matrix.double(), 10 * torch.finfo(matrix.dtype).eps
    factor, failed = torch.linalg.cholesky_ex(wide)
    if not bool(failed.any()):
        return factor
    tiny = torch.finfo(torch.float64).tiny / torch.finfo(torch.float64).eps  # a matrix of zeros has a factor near 0
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
    """`covariance` with every padded point made independent of all others, at the mean variance of the real ones."""
    diagonal = covariance.diagonal(dim1=-2, dim2=-1).detach()
    mean = torch.where(real, diagonal, 0.0).sum(-1) / real.sum(-1).clamp_min(1)
    unit = torch.where(mean > 0, mean, 1.0)[..., None, None]
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    return torch.where(real.unsqueeze(-1) & real.unsqueeze(-2), covariance, unit * eye)

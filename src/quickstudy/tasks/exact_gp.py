"""The exact posterior of a Gaussian process as a predictor: the best possible prediction on tasks drawn from it."""

from collections.abc import Mapping
from typing import NoReturn, final

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.checks import check_examples, check_query
from quickstudy.data import Examples
from quickstudy.learner import Functions
from quickstudy.predictive import DenseGaussian
from quickstudy.predictive.outcomes import LOG_2PI
from quickstudy.predictive.parts.covariance import alone_where_masked, cholesky
from quickstudy.tasks.kernels import PERIODIC, Kernel, covariance

_NUGGET = 1e-10  # share of the function's variance added to the diagonal, for a Cholesky factor without noise


@final
class ExactGP:
    """A Gaussian process with known hyperparameters, conditioned on `support` (Rasmussen and Williams 2006, eq. 2.22).

    A Predictor. It computes and predicts in float64 for data of any type. With several outputs, these are independent
    and share the kernel.

    Args:
        support: examples with real outputs `[T, N, dy]`; N = 0 gives the prior.
        info: `lengthscale`, `scale` and `noise` (standard deviation), each `[T]`; `period [T]` for the periodic
            kernels; `mean [T, dy]`, 0 if absent. A leading axis of 1 holds for all tasks.
        kernel: see `quickstudy.tasks.kernels.covariance`.

    Raises:
        ValueError: for a missing hyperparameter, or examples that break the contract.
        TypeError: for class labels.

    >>> one = torch.ones(1)
    >>> empty = Examples(torch.zeros(1, 0, 1), torch.zeros(1, 0, 1))
    >>> gp = ExactGP(empty, {"lengthscale": one, "scale": one, "noise": 0.1 * one})
    >>> gp(torch.zeros(1, 3, 1)).variance.flatten()
    tensor([1.0100, 1.0100, 1.0100], dtype=torch.float64)
    """

    def __init__(self, support: Examples, info: Mapping[str, Tensor], *, kernel: Kernel = "rbf"):
        _check(support, info, kernel)
        self.support, self.kernel = support, kernel
        self.info = info = {
            k: v.expand(support.num_tasks, *v.shape[1:]) if v.shape[:1] == (1,) else v for k, v in info.items()
        }
        clean = support.clean()
        self._x, self._real = clean.x.double(), support.real()
        self._noise = info["noise"].double().square()
        self._mean = info["mean"].double().unsqueeze(1) if "mean" in info else self._x.new_zeros(len(self._x), 1, 1)
        self._centred = torch.where(self._real.unsqueeze(2), clean.y.double() - self._mean, 0.0)
        self._factor = cholesky(self._observed(self._covariance(self._x, self._x), self._noise))
        self._white = torch.linalg.solve_triangular(self._factor, self._centred, upper=False)

    def __call__(self, x: Float[Tensor, "T M dx"]) -> DenseGaussian:
        """The joint predictive distribution at `x`, in float64. Raises ValueError for `x` of another shape."""
        self._check_inputs(x)
        x = x.double()
        cross = self._covariance(self._x, x) * self._real.unsqueeze(2)
        half = torch.linalg.solve_triangular(self._factor, cross, upper=False)
        outputs = self.support.y.shape[2]
        spread = (self._covariance(x, x) - half.mT @ half).unsqueeze(1).expand(-1, outputs, -1, -1)
        return DenseGaussian(self._mean + half.mT @ self._white, spread, self._noise)

    def append(self, examples: Examples) -> "ExactGP":
        """The posterior given the union of the support set and `examples`."""
        return ExactGP(self.support.append(examples), self.info, kernel=self.kernel)

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """`n` draws of the function, without noise. Each draw is consistent with its earlier values."""
        return Functions(_Memory(self, n, generator), n)

    def task(self, i: int) -> NoReturn:
        """Raises NotImplementedError, as a Gaussian process has no network."""
        raise NotImplementedError(
            f"an exact Gaussian process has no module of task {i}; call the predictor itself, or use functions()"
        )

    def log_marginal_likelihood(self) -> Float[Tensor, " T"]:
        """log p(y | x) of the support set, summed over its real points and outputs."""
        outputs = self._centred.shape[2]
        log_det = torch.where(self._real, self._factor.diagonal(dim1=1, dim2=2).log(), 0.0).sum(1)
        return -0.5 * self._white.square().sum((1, 2)) - outputs * (
            log_det + 0.5 * LOG_2PI * self._real.sum(1).double()
        )

    def _check_inputs(self, x: Tensor) -> None:
        """Raise an error unless `x` fits the support set; otherwise it would be broadcast. Any dtype is converted."""
        check_query(x, self.support.num_tasks, self.support.x.shape[2:], x)

    def _covariance(self, x1: Tensor, x2: Tensor) -> Tensor:
        return covariance(self.kernel, x1, x2, self.info)

    def _observed(self, matrix: Tensor, noise: Tensor) -> Tensor:
        """`matrix`, whose leading block is the support set's, with noise added there and padding made independent."""
        n = self._x.shape[1]
        matrix.diagonal(dim1=1, dim2=2)[:, :n].add_(noise.unsqueeze(1))
        if self.support.mask is None:
            return matrix
        return alone_where_masked(matrix, torch.nn.functional.pad(self._real, (0, matrix.shape[1] - n), value=True))


class _Memory:
    """The values of `n` functions drawn so far: inputs `[T, P, dx]`, and white noise and values `[n, T, P, dy]`."""

    def __init__(self, gp: ExactGP, n: int, generator: torch.Generator | None):
        tasks, _, outputs = gp.support.y.shape
        self._gp, self._generator = gp, generator
        self._x = gp._x[:, :0]
        self._white = self._values = gp._x.new_zeros(n, tasks, 0, outputs)

    def __call__(self, x: Tensor, members: list[int]) -> Tensor:
        self._gp._check_inputs(x)
        wide = x.double()
        place = self._find(wide)
        if place is None:
            self._extend(wide)
            place = self._find(wide)
            if place is None:
                raise ValueError("x holds NaN, at which no function has a value; drop such points")
        values = self._values[members]
        index = place[None, :, :, None].expand(len(members), -1, -1, values.shape[3])
        return values.gather(2, index).to(x.dtype)

    def _find(self, x: Tensor) -> Tensor | None:
        """The index `[T, M]` in the inputs so far at which each point occurs first; None if a point is new."""
        same = (x.unsqueeze(2) == self._x.unsqueeze(1)).all(3)
        if not bool(same.any(2).all()):
            return None
        earlier = torch.arange(self._x.shape[1], 0, -1, device=x.device)
        return (same * earlier).argmax(2)

    def _extend(self, x: Tensor) -> None:
        """Draw the functions at `x`, given the support set and all values drawn before.

        With L the Cholesky factor of the joint covariance of support points, old points and new points, in this order,
        the values are L e. The support determines the first part of e, the old values the second; the last is drawn.
        """
        gp, old = self._gp, self._x.shape[1]
        n, tasks, _, outputs = self._white.shape
        everything = torch.cat([gp._x, self._x, x], 1)
        nugget = _NUGGET * gp.info["scale"].double().square()
        joint = gp._covariance(everything, everything)
        joint.diagonal(dim1=1, dim2=2).add_(nugget.unsqueeze(1))
        factor = cholesky(gp._observed(joint, gp._noise))
        seen = gp._x.shape[1]
        given = torch.linalg.solve_triangular(factor[:, :seen, :seen], gp._centred, upper=False)
        shape = (n, tasks, x.shape[1], outputs)
        drawn = torch.randn(shape, dtype=x.dtype, device=x.device, generator=self._generator)
        self._x, self._white = torch.cat([self._x, x], 1), torch.cat([self._white, drawn], 2)
        white = torch.cat([given.expand(n, -1, -1, -1), self._white], 2)
        values = gp._mean + factor[:, seen + old :] @ white
        self._values = torch.cat([self._values, values], 2)


def check_real_outputs(support: Examples) -> None:
    """Raise TypeError or ValueError unless the outputs are vectors of real numbers."""
    check_examples(support, "support")
    if not support.y.is_floating_point():
        raise TypeError(f"support.y holds {support.y.dtype} labels; a Gaussian process needs real outputs [T, N, dy]")
    if support.y.dim() != 3:
        raise ValueError(
            f"support.y has shape {list(support.y.shape)}; a Gaussian process needs [T, N, dy]: use y.flatten(2)"
        )


def _check(support: Examples, info: Mapping[str, Tensor], kernel: Kernel) -> None:
    check_real_outputs(support)
    for name in ("lengthscale", "scale", "noise", *(("period",) if kernel in PERIODIC else ())):
        if name not in info:
            raise ValueError(f"info lacks {name!r}, which the {kernel} kernel needs; give a tensor [T]")
        if info[name].shape not in ((1,), support.x.shape[:1]):
            raise ValueError(
                f"info[{name!r}] has shape {list(info[name].shape)}; expected [T] = [{support.num_tasks}], "
                "one value for each task of the support, or one for all"
            )

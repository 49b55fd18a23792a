"""The features of fixed and of random effects."""

from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.checks import shown
from quickstudy.metric.bases.basis import Basis
from quickstudy.metric.bases.polynomial import Polynomial

_DEPENDENT = 1e-7  # a feature that differs from a combination of others by this share of its size is left out


@final
class Design(nn.Module):
    """Features `[*points, P + Q]` of inputs `[*points, dx]`: P for fixed effects, then Q for random effects.

    `place` makes those of the fixed effects orthogonal over the training rows, and, unless the covariance of the random
    effects is diagonal, those of the random effects, too. So nearly equal features are no difficulty; one that is a
    combination of others gets the effect 0.
    """

    fixed_map: Tensor
    random_map: Tensor

    def __init__(self, fixed: Basis, random: Basis, *, diagonal: bool):
        super().__init__()
        self.fixed, self.random, self.diagonal = fixed, random, diagonal
        self.register_buffer("fixed_map", torch.eye(fixed.features))
        self.register_buffer("random_map", torch.eye(random.features))

    def forward(self, x: Tensor) -> Tensor:
        """The features, computed in float64, in the type of `x`."""
        wide = x.double()
        fixed, random = self.fixed(wide) @ self.fixed_map.double(), self.random(wide) @ self.random_map.double()  # type: ignore[operator]
        return torch.cat([fixed, random], -1).to(x)

    @torch.no_grad()
    def place(self, x: Tensor) -> None:
        """Set what depends on the data to that of the training rows `x [rows, dx]`."""
        for basis, name in ((self.fixed, "fixed"), (self.random, "random")):
            basis.place(x)
            found = basis.forward(x)
            if not bool(found.isfinite().all()):
                row, feature = (~found.isfinite()).nonzero()[0].tolist()
                raise ValueError(
                    f"{basis.terms[feature]!r} of the {name} effects is not finite at x = {x[row].tolist()}; choose a "
                    "basis that is defined at all inputs, or leave such rows out"
                )
            own = _scaling(found) if self.diagonal and name == "random" else _orthogonal(found)
            getattr(self, f"{name}_map").copy_(own)


def as_basis(name: str, given: Any, dx: int) -> Any:
    """The basis that the argument `given` says: a degree, or a basis for `dx` inputs."""
    if isinstance(given, int) and not isinstance(given, bool):
        if given < 0:
            raise ValueError(f"{name}={given}; expected the degree of a polynomial, at least 0, or a basis of qs.bases")
        return Polynomial(given, dx=dx)
    if not isinstance(given, Basis) or not isinstance(given, nn.Module):
        cure = "; wrap it: qs.bases.Function(function, features)" if callable(given) else ""
        raise TypeError(f"{name} is {shown(given)}; expected the degree of a polynomial, or a basis of qs.bases{cure}")
    if given.dx != dx:
        raise ValueError(f"{name} is a basis of {given.dx} inputs, and dx={dx}; give both the same number")
    return given


def constant_effects(features: Tensor) -> Tensor:
    """The fixed effects `[P]` that give 1 in all rows of `features [rows, P]`; 0 if there are none."""
    gram = features.T @ features
    gram = gram + torch.diag_embed((gram.diagonal() == 0).to(gram))
    constant = torch.linalg.solve(gram, features.sum(0))
    return constant if bool((features @ constant - 1).abs().max() <= 1e-6) else torch.zeros_like(constant)


def _scaling(features: Tensor) -> Tensor:
    """The diagonal matrix that gives each feature a mean square of 1."""
    size = features.square().mean(0).sqrt()
    return torch.where(size > 0, 1 / size, 0.0).diag()


def _orthogonal(features: Tensor) -> Tensor:
    """The map to orthogonal features of mean square 1; columns for features that depend on those before are 0."""
    scale = _scaling(features)
    scaled = features @ scale
    kept: list[int] = []
    basis = scaled[:, :0]
    for j in range(features.shape[1]):
        rest = scaled[:, j]
        for _ in range(2):  # twice is enough (Parlett 1998, section 6.9)
            rest = rest - basis @ (basis.T @ rest)
        if float(rest.norm()) > _DEPENDENT * max(float(scaled[:, j].norm()), 1e-300):
            basis, kept = torch.cat([basis, (rest / rest.norm())[:, None]], 1), [*kept, j]
    found = torch.zeros_like(scale)
    triangle = torch.linalg.qr(scaled[:, kept]).R
    triangle = triangle * triangle.diagonal().sign()[:, None]
    inverse = torch.linalg.solve_triangular(triangle, torch.eye(len(kept)).to(triangle), upper=True)
    places = torch.tensor(kept, device=scale.device)
    found[places[:, None], places] = inverse * len(features) ** 0.5
    return scale @ found

"""What a fit of a mixed model found."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from quickstudy.metric.mixed.design import Design
from quickstudy.metric.mixed.profile import Profile

Record = TypeVar("Record", bound=tuple[Any, ...])
_SINGULAR = 1e-4  # standard deviations below this share of the noise's count as none, as in lme4


class Estimates(NamedTuple):
    """Estimates of a mixed model, in the units of the data and for the terms of its bases; `print` shows a table.

    Args:
        terms: names of the fixed effects, P of them.
        random_terms: names of the random effects, Q of them.
        fixed: `[dy, P]`.
        fixed_covariance: `[dy, P, P]`, the covariance of their errors, by generalised least squares.
        random_covariance: `[dy, Q, Q]`, of the random effects.
        noise: `[dy]`, the variance of the noise.
        log_likelihood: `[dy]`; the restricted one if `reml`. Restricted ones compare only models with the same fixed
            effects.
        reml: whether the restricted likelihood was maximised.
        singular: `[dy]`, whether some combination of random effects has (nearly) no variance. That is no error: groups
            do not differ in it by more than noise explains.
        converged: `[dy]`.

    """

    terms: tuple[str, ...]
    random_terms: tuple[str, ...]
    fixed: Tensor
    fixed_covariance: Tensor
    random_covariance: Tensor
    noise: Tensor
    log_likelihood: Tensor
    reml: bool
    singular: Tensor
    converged: Tensor

    def __str__(self) -> str:
        kind = "restricted log-likelihood" if self.reml else "log-likelihood"
        lines = []
        for d in range(len(self.noise)):
            which = f" of output {d}" if len(self.noise) > 1 else ""
            lines.append(f"Mixed model{which}, {kind} {float(self.log_likelihood[d]):.2f}")
            lines += lines_of(self, d, "standard deviations", [], {"noise": self.noise[d].sqrt()})
        return "\n".join(lines)


def lines_of(found: Any, output: int, spreads: str, more: Sequence[str], parameters: Mapping[str, Tensor]) -> list[str]:
    """The effects of one output as lines of a table, other parameters, and what went wrong.

    Args:
        found: estimates of a mixed model, of any likelihood.
        output: the output.
        spreads: the title above the standard deviations of the random effects.
        more: a title above the other parameters.
        parameters: these, by name.
    """
    width = max(map(len, (*found.terms, *found.random_terms, *parameters)))
    errors = found.fixed_covariance[output].diagonal().sqrt()
    lines = ["  fixed effects (standard error)"]
    lines += [
        f"    {name:{width}} {float(value):.5g} ({float(error):.3g})"
        for name, value, error in zip(found.terms, found.fixed[output], errors, strict=True)
    ]
    own = zip(found.random_terms, found.random_covariance[output].diagonal().sqrt(), strict=True)
    lines += [f"  {spreads}", *(f"    {name:{width}} {float(value):.5g}" for name, value in own), *more]
    lines += [f"    {name:{width}} {float(value):.5g}" for name, value in parameters.items()]
    if bool(found.singular[output]):
        lines += ["  Some combination of the random effects has no variance: groups do not differ in it."]
    if not bool(found.converged[output]):
        lines += ["  The optimiser did not converge."]
    return lines


class Standard(NamedTuple):
    """A fit to one output in standard units, for the features of a `Design`.

    Args:
        profile: the fixed effects and the noise.
        root: `[Q, Q]`, the relative factor of the random effects.
        inverse: `[P, P]`, a root of the covariance of the fixed effects in units of the noise variance.
        constant: `[P]`, the fixed effects that give 1 everywhere.
        rows: number of rows.
        reml: whether the restricted likelihood was maximised.
        converged: whether the optimiser converged.
    """

    profile: Profile
    root: Tensor
    inverse: Tensor
    constant: Tensor
    rows: int
    reml: bool
    converged: bool

    def in_units(self, design: Design, center: float, spread: float) -> Estimates:
        """The estimates in the units of the data, for the terms of the bases."""
        fixed = design.fixed.to_terms().to(self.root) @ design.fixed_map.double()
        random = design.random.to_terms().to(self.root) @ design.random_map.double()
        best, noise = self.profile, spread**2 * self.profile.noise
        errors = fixed @ self.inverse
        effects = random @ self.root
        free = self.rows - (int((self.inverse.diagonal() != 0).sum()) if self.reml else 0)
        deviance = best.deviance + 2 * free * math.log(spread)
        if self.reml:  # the restricted likelihood depends on the units of the fixed effects
            sizes = torch.linalg.svdvals(fixed)
            deviance = deviance - 2 * sizes[sizes > 1e-300].log().sum()
        return Estimates(
            design.fixed.terms,
            design.random.terms,
            (fixed @ (spread * best.effects + center * self.constant)).unsqueeze(0),
            (noise * errors @ errors.mT).unsqueeze(0),
            (noise * effects @ effects.mT).unsqueeze(0),
            noise.unsqueeze(0),
            -deviance.unsqueeze(0) / 2,
            self.reml,
            (torch.linalg.svdvals(self.root)[-1:] < _SINGULAR),
            torch.tensor([self.converged]),
        )


def joined(outputs: Sequence[Record]) -> Record:
    """The estimates of several outputs, each for one, as one record; its other fields are those of the first."""
    fields: list[Any] = [
        torch.cat(part) if isinstance(part[0], Tensor) else part[0] for part in zip(*outputs, strict=True)
    ]
    return type(outputs[0])(*fields)

"""What a fit of a generalised mixed model found."""

from typing import Any, NamedTuple

import torch
from torch import Tensor


class GeneralizedEstimates(NamedTuple):
    """Estimates of a generalised mixed model, for the terms of its bases; `print` shows a table.

    Fixed and random effects are on the scale of the linear predictor: of the logarithm of the mean of counts, and of
    the log-odds of binary outcomes.

    Args:
        terms: names of the fixed effects, P of them.
        random_terms: names of the random effects, Q of them.
        fixed: `[dy, P]`.
        fixed_covariance: `[dy, P, P]`, the covariance of their errors, given the other parameters.
        random_covariance: `[dy, Q, Q]`, of the random effects.
        parameters: those of the likelihood by name, each `[dy]`: `dispersion` a of the negative binomial distribution,
            whose variance is m + a m^2; `scale` and `freedom` of Student's.
        log_likelihood: `[dy]`, by Laplace's approximation.
        singular: `[dy]`, whether some combination of random effects has (nearly) no variance.
        converged: `[dy]`.
    """

    terms: tuple[str, ...]
    random_terms: tuple[str, ...]
    fixed: Tensor
    fixed_covariance: Tensor
    random_covariance: Tensor
    parameters: dict[str, Tensor]
    log_likelihood: Tensor
    singular: Tensor
    converged: Tensor

    def __str__(self) -> str:
        errors = self.fixed_covariance.diagonal(dim1=1, dim2=2).sqrt()
        spreads = self.random_covariance.diagonal(dim1=1, dim2=2).sqrt()
        width = max(map(len, (*self.terms, *self.random_terms, *self.parameters)))
        lines = []
        for d in range(len(self.fixed)):
            which = f" of output {d}" if len(self.fixed) > 1 else ""
            lines.append(f"Generalised mixed model{which}, log-likelihood {float(self.log_likelihood[d]):.2f}")
            lines += ["  fixed effects (standard error)"]
            lines += [
                f"    {name:{width}} {float(value):.5g} ({float(error):.3g})"
                for name, value, error in zip(self.terms, self.fixed[d], errors[d], strict=True)
            ]
            lines += ["  standard deviations of random effects"]
            lines += [
                f"    {name:{width}} {float(s):.5g}" for name, s in zip(self.random_terms, spreads[d], strict=True)
            ]
            lines += ["  parameters of the likelihood"] * bool(self.parameters)
            lines += [f"    {name:{width}} {float(values[d]):.5g}" for name, values in self.parameters.items()]
            if bool(self.singular[d]):
                lines += ["  Some combination of the random effects has no variance: groups do not differ in it."]
            if not bool(self.converged[d]):
                lines += ["  The optimiser did not converge."]
        return "\n".join(lines)


def joined(outputs: list[GeneralizedEstimates]) -> GeneralizedEstimates:
    """The estimates of several outputs, each for one, as one record."""
    first = outputs[0]
    fields: list[Any] = [
        torch.cat(part) if isinstance(part[0], Tensor) else part[0] for part in zip(*outputs, strict=True)
    ]
    parameters = {name: torch.cat([each.parameters[name] for each in outputs]) for name in first.parameters}
    return GeneralizedEstimates(*fields)._replace(parameters=parameters)

"""What a fit of a generalised mixed model found."""

from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.metric.mixed.estimates import joined, lines_of


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
        lines = []
        title = ["  parameters of the likelihood"] * bool(self.parameters)
        for d in range(len(self.fixed)):
            which = f" of output {d}" if len(self.fixed) > 1 else ""
            lines.append(f"Generalised mixed model{which}, log-likelihood {float(self.log_likelihood[d]):.2f}")
            parameters = {name: values[d] for name, values in self.parameters.items()}
            lines += lines_of(self, d, "standard deviations of random effects", title, parameters)
        return "\n".join(lines)


def joined_with_parameters(outputs: list[GeneralizedEstimates]) -> GeneralizedEstimates:
    """The estimates of several outputs, each for one, as one record."""
    parameters = {name: torch.cat([each.parameters[name] for each in outputs]) for name in outputs[0].parameters}
    return joined(outputs)._replace(parameters=parameters)

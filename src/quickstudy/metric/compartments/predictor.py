"""People's parameters, as draws with weights, as a predictor."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from quickstudy.checks import check_inputs, check_more
from quickstudy.data import Examples
from quickstudy.learner import Functions, check_task
from quickstudy.metric.compartments.belief import StudentMixture
from quickstudy.metric.compartments.population import Population
from quickstudy.metric.compartments.samples import samples, scale_of, split
from quickstudy.metric.compartments.weighting import People, weighted
from quickstudy.predictive.outcomes import check_draws
from quickstudy.tasks.compartments import Compartments


@dataclass(frozen=True)
class CompartmentPredictor:
    """The posterior of each person's curve; made by `CompartmentModel.adapt`."""

    model: Compartments
    limit: float
    proposal: Population
    population: Population
    white: Tensor  # [K, P]
    support: Examples
    people: People
    graph: bool = False
    prior: bool = False

    def __call__(self, x: Tensor) -> StudentMixture:
        """The belief at `x [T, M, dx]`; in joint densities and samples, all points share a person's parameters."""
        check_inputs(x, self.support)
        hours, dose = split(x)
        level, slope = self.model.level_and_slope(self.people.logs, hours.unsqueeze(1))
        parts = self.people.log_weights, level + dose.unsqueeze(1), scale_of(slope, self.people.noise)
        return StudentMixture(*(part.to(x) for part in parts))

    def append(self, examples: Examples) -> "CompartmentPredictor":
        """The predictor for the union. Made with `steps=0`, it stays the prior."""
        check_more(examples, self.support)
        if self.prior:
            return self
        with torch.set_grad_enabled(self.graph and torch.is_grad_enabled()):
            return self.given(self.support.append(examples))

    def given(self, support: Examples) -> "CompartmentPredictor":
        """The predictor for `support`, without checks."""
        seen = samples(support, self.model, self.limit)
        people = weighted(self.model, self.proposal, self.population, seen, self.white)
        return replace(self, support=support, people=people)

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """`n` curves for each person, with parameters drawn from the posterior."""
        check_draws(n, generator, self.support.x.device)
        drawn = torch.multinomial(self.people.log_weights.exp(), n, replacement=True, generator=generator)
        logs = self.people.logs.gather(1, drawn.unsqueeze(2).expand(-1, -1, self.people.logs.shape[2]))

        def evaluate(x: Tensor, members: list[int]) -> Tensor:
            check_inputs(x, self.support)
            hours, dose = split(x)
            level = self.model.log_concentration(logs[:, members], hours.unsqueeze(1)) + dose.unsqueeze(1)
            return level.transpose(0, 1).unsqueeze(3).to(x)

        return Functions(evaluate, n)

    def task(self, i: int) -> nn.Module:
        """Person `i`'s mean curve as a plain module `[M, dx] -> [M, 1]`."""
        i = check_task(i, self.support.num_tasks)
        logs, log_weights, _ = (part[i] for part in self.people)
        return MeanCurve(self.model, logs.detach(), log_weights.detach().exp())

    def effective_draws(self) -> Tensor:
        """How many draws with equal weights are worth as much, `[T]`: 1 / sum_k w_k^2 (Kong 1992)."""
        return (-(2 * self.people.log_weights).logsumexp(1)).exp()


class MeanCurve(nn.Module):
    """The mean curve of one person.

    Args:
        model: the compartments.
        logs: `[K, P]`, draws of the logarithms of the person's parameters.
        weights: `[K]`.
    """

    logs: Tensor
    weights: Tensor

    def __init__(self, model: Compartments, logs: Tensor, weights: Tensor):
        super().__init__()
        self.model = model
        self.register_buffer("logs", logs)
        self.register_buffer("weights", weights)

    def forward(self, x: Tensor) -> Tensor:
        """The means `[M, 1]` at `x [M, dx]`."""
        hours, dose = split(x)
        level = self.model.log_concentration(self.logs, hours) + dose
        return (self.weights @ level).unsqueeze(1).to(x)

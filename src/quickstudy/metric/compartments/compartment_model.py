"""The nonlinear mixed model of pharmacokinetics as a learner, with all that is unknown integrated out."""

import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, final

import torch
from torch import Tensor, nn

from quickstudy.checks import (
    check_choice,
    check_number,
    check_switch,
    check_whole,
)
from quickstudy.data import Examples, Tasks
from quickstudy.learner import check_generator
from quickstudy.metric.closed_form import ClosedForm
from quickstudy.metric.compartments.gibbs import CHAINS, STEPS, Sampler
from quickstudy.metric.compartments.population import Population, drugs, of_any_drug
from quickstudy.metric.compartments.predictor import CompartmentPredictor
from quickstudy.metric.compartments.samples import samples
from quickstudy.metric.compartments.weighting import weighted
from quickstudy.metric.groups import training_groups
from quickstudy.tasks.compartments import Compartments

_UNSURE = 1.2  # above this scale reduction, chains have not settled


class PopulationEstimates(NamedTuple):
    """What a fit found of a drug.

    Args:
        names: of the `P` parameters, see `Compartments.names`.
        typical: `[P]`, of the typical person, in the units of the data (the exponential of the mean logarithm).
        between: `[P]`, standard deviations of logarithms between people; roughly coefficients of variation.
        error: relative error of a measurement.
        jitter: error of sampling times, in hours.
        scale_reduction: `[P]`, Gelman and Rubin's R; near 1 if the chains have settled.
    """

    names: tuple[str, ...]
    typical: Tensor
    between: Tensor
    error: float
    jitter: float
    scale_reduction: Tensor


@final
class CompartmentModel(ClosedForm[CompartmentPredictor]):
    """A drug's population of people, each with a compartment model of their own, as a Bayesian mixed model.

    log y = log(D f(x; theta_i)) + eps,  log theta_i ~ N(mu, Omega),  where f has one or two compartments
    (`tasks.Compartments`) and eps has Student's t distribution with 5 degrees of freedom and a scale that grows where
    the curve is steep. `fit` draws mu, Omega and the noise from their posterior given the samples of the drug's other
    people, under a prior over drugs (Wakefield et al. 1994). `adapt` gives the posterior of a new person, averaged over
    these draws; nothing is a point estimate. Without samples it is that of an unknown person of this drug, and before
    `fit` that of an unknown drug.

    x is the time since the dose in hours, or time and dose; y is the natural logarithm of the concentration (over the
    dose, with dx=1). Units are those of the data. Zeros have no logarithm: give such a sample a y of at most
    log(limit), and `limit=`, and it counts as below the limit of quantification.

    `meta_loss` is the negative log predictive density of the query points given the support points, so `qs.fit` moves
    the population, too: its means, its standard deviations and the noise.

    Args:
        dx: 1 for hours, 2 for hours and dose.
        compartments: 1 or 2.
        route: "oral", or "bolus" for an injection.
        carry_over: whether samples at or before time 0 show what is left of an earlier dose; otherwise they are
            ignored.
        limit: concentrations up to this one are below the limit of quantification (over the dose, with dx=1).
        draws: number of draws of a new person's parameters.
        populations: number of draws of the population that are kept.

    Raises:
        ValueError, TypeError: for an argument of the wrong kind.

    >>> import quickstudy as qs
    >>> family = qs.tasks.DrugStudies(people=6)
    >>> tasks = family.sample(6, support=6, query=4, generator=torch.Generator().manual_seed(0))
    >>> learner = qs.CompartmentModel()
    >>> found = learner.fit(tasks, steps=300, generator=torch.Generator().manual_seed(0))  # 2000 steps by default
    >>> found.names
    ('volume', 'clearance', 'absorption')
    >>> learner.adapt(tasks.support)(tasks.query.x).interval(0.9).lower.shape
    torch.Size([6, 4, 1])
    """

    means: Tensor
    roots: Tensor
    noises: Tensor
    white: Tensor
    training_defaults: Mapping[str, Any] = MappingProxyType({"lr": 1e-2, "schedule": "cosine"})

    def __init__(
        self,
        dx: int = 1,
        *,
        compartments: int = 1,
        route: Literal["oral", "bolus"] = "oral",
        carry_over: bool = False,
        limit: float = 0.0,
        draws: int = 1024,
        populations: int = 64,
    ):
        super().__init__()
        for name, count in (("dx", dx), ("compartments", compartments)):
            if check_whole(name, count) > 2:
                raise ValueError(f"{name}={count}; expected 1 or 2")
        check_choice("route", route, ("oral", "bolus"))
        self.dx, self.dy, self.limit = int(dx), 1, check_number("limit", limit)
        self.model = Compartments(int(compartments), route, check_switch("carry_over", carry_over))
        self.draws, self.populations = check_whole("draws", draws, 3), check_whole("populations", populations)
        before = of_any_drug(drugs(self.model, like=torch.zeros(1, dtype=torch.float64)), self.populations)
        size = before.mean.shape[1]
        for name, value in zip(("means", "roots", "noises"), before, strict=True):
            self.register_buffer(name, value.to(torch.get_default_dtype()))
        self.register_buffer("white", _normal_scores(self.draws, size))
        self.shift = nn.Parameter(torch.zeros(size))
        self.log_stretch = nn.Parameter(torch.zeros(size))
        self.log_noise = nn.Parameter(torch.zeros(2))

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        number, route, carry_over = self.model
        named = {"dx": self.dx, "compartments": number, "route": route, "carry_over": carry_over, "limit": self.limit}
        return named | {"draws": self.draws, "populations": self.populations}

    @torch.no_grad()
    def fit(
        self, groups: Examples | Tasks | Any, *, steps: int = STEPS, generator: torch.Generator | None = None
    ) -> PopulationEstimates:
        """Draw the population from its posterior given people who took the drug.

        Args:
            groups: `Examples` with one person a task; `Tasks`, whose support and query points count alike; or a family
                of given points such as `tasks.Table`, of which the training groups are taken.
            steps: of each of 24 chains; half of them are for the chains to settle. 2000 take about ten seconds.
            generator: the source of random numbers; None is torch's own.

        Returns:
            The estimates, in the units of the data.

        Raises:
            ValueError: for fewer than two people with samples after the dose.
            TypeError: for other data.

        Warns:
            RuntimeWarning: if the chains have not settled.
        """
        check_whole("steps", steps, 2)
        check_generator(generator, self.means.device)
        given = samples(training_groups(groups, self.dx, 1).to(self.means.device), self.model, self.limit)
        after = given.seen & (given.hours > 0) & ~given.below
        if int(after.any(1).sum()) < 2:
            raise ValueError(
                f"{int(after.any(1).sum())} people have samples after the dose (hours above 0) and above the limit "
                f"{self.limit:g}; expected at least two"
            )
        prior = drugs(self.model, float(given.level[after].max()), like=given.hours)
        found, reduction = Sampler(self.model, prior, given, generator).run(CHAINS, steps)
        every = torch.linspace(0, len(found.mean) - 1, self.populations, device=found.mean.device).round().long()
        for buffer, values in zip((self.means, self.roots, self.noises), found, strict=True):
            buffer.copy_(values[every])
        for parameter in self.parameters():
            parameter.zero_()
        if float(reduction.max()) > _UNSURE:
            warnings.warn(
                f"the chains of the compartment model have not settled (scale reduction {float(reduction.max()):.2f}, "
                f"expected at most {_UNSURE}); give fit more steps= than {steps}, or a model with fewer parameters",
                RuntimeWarning,
                stacklevel=2,
            )
        return self._estimates(found, reduction)

    def _estimates(self, found: Population, reduction: Tensor) -> PopulationEstimates:
        between = (found.root @ found.root.mT).diagonal(dim1=1, dim2=2).sqrt().mean(0)
        error, jitter = found.noise.exp().mean(0).tolist()
        return PopulationEstimates(self.model.names, found.mean.mean(0).exp(), between, error, jitter, reduction)

    def population(self) -> Population:
        """Draws of the population, in float64."""
        kept = self._kept()
        root = self.log_stretch.double().exp().unsqueeze(1) * kept.root
        return Population(kept.mean + self.shift.double(), root, kept.noise + self.log_noise.double())

    def _kept(self) -> Population:
        return Population(self.means.double(), self.roots.double(), self.noises.double())

    def posterior(self, support: Examples, *, graph: bool, prior: bool) -> CompartmentPredictor:
        """The predictor for `support`; with `prior`, that of an unknown group. `adapt` checks its arguments."""
        seen = support.first(0) if prior else support
        parts = self.model, self.limit, self._kept(), self.population(), self.white.double()
        model, limit, kept, population, white = parts
        people = weighted(model, kept, population, samples(seen, model, limit), white)
        return CompartmentPredictor(*parts, seen, people, graph=graph, prior=prior)


def _normal_scores(count: int, size: int) -> Tensor:
    """Standard normal numbers `[count, size]` that fill the space evenly: a scrambled Sobol sequence."""
    engine = torch.quasirandom.SobolEngine(size, scramble=True, seed=0)
    even = engine.draw(count, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
    return torch.special.ndtri(even[torch.randperm(count, generator=torch.Generator().manual_seed(0))]).to(
        torch.get_default_dtype()
    )

"""The population of a drug given people's samples: a Gibbs sampler with Metropolis steps, many chains at once."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.metric.compartments.population import BETWEEN, Drugs, Population, normal_log_density
from quickstudy.metric.compartments.samples import Samples, log_density
from quickstudy.tasks.compartments import Compartments

CHAINS, STEPS = 24, 2000  # half of the steps are for the chains to settle
_TAILS = 2  # degrees of freedom of the half-t prior; with 2, correlations between parameters are uniform
_KEEP = 10  # one of so many steps is kept


class State(NamedTuple):
    """Where `C` chains stand, with `G` people.

    Args:
        people: `[C, G, P]`, logarithms of people's parameters.
        mean: `[C, P]`, of the population.
        root: `[C, P, P]`, lower triangular root of its covariance.
        inverse_scale: `[C, P]`, of the prior of the covariance.
        noise: `[C, 2]`, see `Population`.
        fit: `[C, G]`, log density of the samples.
    """

    people: Tensor
    mean: Tensor
    root: Tensor
    inverse_scale: Tensor
    noise: Tensor
    fit: Tensor


class Sampler(NamedTuple):
    """The posterior of population and people (Wakefield, Smith, Racine-Poon and Gelfand 1994, Applied Statistics 43).

    Parameters of people are normal around the population's mean, whose prior is that of `Drugs`. Their covariance has
    the prior of Huang and Wand (2013, Bayesian Analysis 8): standard deviations are half-t, correlations uniform. So
    mean and covariance have closed conditional posteriors. People's parameters take Metropolis steps: along the
    difference of two chains of the other half (ter Braak 2006, Statistics and Computing 16), and towards draws from the
    population.

    Args:
        model: the compartments.
        prior: over drugs.
        given: samples `[G, N]` of people.
        chance: the source of random numbers.
    """

    model: Compartments
    prior: Drugs
    given: Samples
    chance: torch.Generator | None

    def run(self, chains: int = CHAINS, steps: int = STEPS) -> tuple[Population, Tensor]:
        """Draws `[S, ...]` of the population, and the potential scale reduction of every parameter of its mean."""
        state, kept = self.start(chains), []
        for step in range(steps):
            state = self.shifted(self.with_noise(self.with_people(self.with_population(state))))
            if 2 * step >= steps and (steps - 1 - step) % _KEEP == 0:
                kept.append(Population(state.mean, state.root, state.noise))
        whole = Population(*(torch.stack(parts) for parts in zip(*kept, strict=True)))
        return Population(*(part.flatten(0, 1) for part in whole)), scale_reduction(whole.mean)

    def start(self, chains: int) -> State:
        """Chains around the prior's center, with rates of the order of the sampling times."""
        given, names = self.given, self.model.names
        usual = given.hours[given.seen & (given.hours > 0)].median().log()
        mean = self.prior.center + 0.3 * self._normal(chains, len(names))
        mean[:, 1] += mean[:, 0] - self.prior.center[1] - usual
        people = mean.unsqueeze(1) + 0.2 * self._normal(chains, len(given.hours), len(names))
        noise = math.log(0.3) + 0.2 * self._normal(chains, 2)
        root = (0.3 * torch.eye(len(names)).to(mean)).repeat(chains, 1, 1)
        return State(people, mean, root, torch.ones_like(mean), noise, self.density(people, noise))

    def density(self, people: Tensor, noise: Tensor) -> Tensor:
        """Log density `[C, G]` of each person's samples."""
        level, slope = self.model.level_and_slope(people, self.given.hours)
        return log_density(self.given.each(0), level, slope, noise.unsqueeze(1))

    def with_population(self, state: State) -> State:
        """Mean and covariance from their conditional posteriors: normal, and inverse Wishart."""
        count, size = state.people.shape[1:]
        precision = torch.cholesky_inverse(state.root)
        whole = count * precision + self.prior.width.square().reciprocal().diag_embed()
        root = torch.linalg.cholesky(whole)
        pull = (precision @ state.people.sum(1).unsqueeze(2)).squeeze(2)
        pull = pull + self.prior.center / self.prior.width.square()
        mean = torch.cholesky_solve(pull.unsqueeze(2), root)
        mean = (mean + torch.linalg.solve_triangular(root.mT, self._normal(*mean.shape), upper=True)).squeeze(2)
        off = state.people - mean.unsqueeze(1)
        spread = off.mT @ off + 2 * _TAILS * state.inverse_scale.diag_embed()
        draws = self._normal(len(mean), _TAILS + size - 1 + count, size)
        white = torch.linalg.solve_triangular(torch.linalg.cholesky(spread).mT, draws.mT, upper=True)
        precision = white @ white.mT  # a Wishart draw with the inverse of the spread as its scale
        root = torch.linalg.cholesky(torch.linalg.inv(precision))
        rate = _TAILS * precision.diagonal(dim1=1, dim2=2) + BETWEEN**-2
        inverse_scale = self._normal(*mean.shape, _TAILS + size).square().sum(2) / (2 * rate)
        return state._replace(mean=mean, root=root, inverse_scale=inverse_scale)

    def with_people(self, state: State) -> State:
        """Three Metropolis steps of each person."""
        chains, count, _ = state.people.shape
        half = chains // 2
        first, second = (State(*(part[place] for part in state)) for place in (slice(half), slice(half, None)))
        first = self._along_others(first, second.people)
        second = self._along_others(second, first.people)
        state = State(*(torch.cat(parts) for parts in zip(first, second, strict=True)))
        steps = (self._normal(chains, count, 1) - 1.5).exp() * self._of_population(state)
        state = self._metropolis(state, state.people + steps)
        fresh, mean = self._uniform(chains, count, 1), state.mean.unsqueeze(1)
        towards = mean + (1 - fresh.square()).sqrt() * (state.people - mean) + fresh * self._of_population(state)
        return self._metropolis(state, towards, from_population=True)

    def _along_others(self, state: State, others: Tensor) -> State:
        """A step along the difference of two of the `others [C, G, P]`, which do not move meanwhile."""
        order = torch.randperm(len(others), generator=self.chance, device=others.device)
        pairs = others[order[: len(state.people)]] - others[order.roll(1)[: len(state.people)]]
        length = 2.38 / math.sqrt(2 * others.shape[2]) if float(self._uniform(1)) < 0.9 else 1.0
        return self._metropolis(state, state.people + length * pairs + 1e-4 * self._normal(*pairs.shape))

    def with_noise(self, state: State) -> State:
        """Two random-walk steps of both kinds of noise, with lognormal priors."""
        for size in (0.1, 0.3):
            noise = state.noise + size * self._normal(*state.noise.shape)
            fit = self.density(state.people, noise)
            gain = (fit - state.fit).sum(1) + self._prior_of_noise(noise) - self._prior_of_noise(state.noise)
            taken = self._taken(gain)
            state = state._replace(
                noise=torch.where(taken.unsqueeze(1), noise, state.noise),
                fit=torch.where(taken.unsqueeze(1), fit, state.fit),
            )
        return state

    def shifted(self, state: State) -> State:
        """A step of the mean and all people together, in some parameters: it mixes faster where people are alike."""
        step = (self._normal(len(state.mean), 1) - 2).exp() * self._normal(*state.mean.shape)
        step = torch.where(self._uniform(*step.shape) < 0.5, step, 0.0)
        mean, people = state.mean + step, state.people + step.unsqueeze(1)
        fit = self.density(people, state.noise)
        prior = [((each - self.prior.center) / self.prior.width).square().sum(1) for each in (mean, state.mean)]
        taken = self._taken((fit - state.fit).sum(1) - 0.5 * (prior[0] - prior[1])).unsqueeze(1)
        return state._replace(
            mean=torch.where(taken, mean, state.mean),
            people=torch.where(taken.unsqueeze(2), people, state.people),
            fit=torch.where(taken, fit, state.fit),
        )

    def _metropolis(self, state: State, people: Tensor, from_population: bool = False) -> State:
        """Move people where the proposal is accepted; one that preserves the population's density needs no prior."""
        fit = self.density(people, state.noise)
        gain = fit - state.fit
        if not from_population:
            before, after = (normal_log_density(each, state.mean, state.root) for each in (state.people, people))
            gain = gain + after - before
        taken = self._taken(gain)
        people = torch.where(taken.unsqueeze(2), people, state.people)
        return state._replace(people=people, fit=torch.where(taken, fit, state.fit))

    def _of_population(self, state: State) -> Tensor:
        """Deviations `[C, G, P]` of new people from the population's mean."""
        return self._normal(*state.people.shape) @ state.root.mT

    def _prior_of_noise(self, noise: Tensor) -> Tensor:
        return -0.5 * ((noise - self.prior.noise_center) / self.prior.noise_width).square().sum(1)

    def _taken(self, gain: Tensor) -> Tensor:
        return self._uniform(*gain.shape).log() < gain  # False where the gain is NaN

    def _normal(self, *shape: int) -> Tensor:
        like = self.prior.center
        return torch.randn(shape, dtype=like.dtype, device=like.device, generator=self.chance)

    def _uniform(self, *shape: int) -> Tensor:
        like = self.prior.center
        return torch.rand(shape, dtype=like.dtype, device=like.device, generator=self.chance)


def scale_reduction(draws: Tensor) -> Tensor:
    """Gelman and Rubin's (1992) R of `draws [steps, chains, P]`: near 1 if all chains say the same; `[P]`.

    It is infinite for a single step, which says nothing of it.
    """
    if len(draws) < 2:
        return torch.full_like(draws[0, 0], math.inf)
    within = draws.var(0).mean(0)
    return ((within + draws.mean(0).var(0)) / within).sqrt()

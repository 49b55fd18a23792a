"""The sampler without data against its prior, and on many people against the truth."""

import math

import pytest
import scipy.stats
import torch

from quickstudy.data import Examples
from quickstudy.metric.compartments.gibbs import Sampler, State, scale_reduction
from quickstudy.metric.compartments.population import BETWEEN, drugs
from quickstudy.metric.compartments.samples import Samples, samples
from quickstudy.tasks import Compartments, DrugStudies


def test_without_samples_it_draws_from_the_prior() -> None:
    """All its steps together leave the prior as it is: a sampler with a wrong step would not."""
    torch.set_default_dtype(torch.float64)
    model, chance = Compartments(1, "bolus"), torch.Generator().manual_seed(0)
    nothing = Samples(torch.ones(2, 3), torch.zeros(2, 3), *[torch.zeros(2, 3, dtype=torch.bool)] * 2)
    prior = drugs(model, like=torch.zeros(1))
    prior = prior._replace(width=torch.tensor([1.0, 0.5]))  # narrow, so that the chains mix soon
    sampler, chains = Sampler(model, prior, nothing, chance), 600
    mean = prior.center + prior.width * torch.randn(chains, 2, generator=chance)
    people, noise = mean.unsqueeze(1).repeat(1, 2, 1), prior.noise_center.repeat(chains, 1)
    start = State(
        people, mean, 0.3 * torch.eye(2).repeat(chains, 1, 1), torch.ones(chains, 2), noise, torch.zeros(chains, 2)
    )
    state = start
    for _ in range(250):
        state = sampler.shifted(sampler.with_noise(sampler.with_people(sampler.with_population(state))))
    between = (state.root @ state.root.mT).diagonal(dim1=1, dim2=2).sqrt()
    for i in range(2):
        standard = (state.mean[:, i] - prior.center[i]) / prior.width[i]
        assert scipy.stats.kstest(standard.numpy(), "norm").pvalue > 1e-3
        half_t = scipy.stats.kstest(between[:, i].numpy() / BETWEEN, lambda z: 2 * scipy.stats.t(2).cdf(z) - 1)
        assert half_t.pvalue > 1e-3
        white = (state.noise[:, i] - prior.noise_center[i]) / prior.noise_width[i]
        assert scipy.stats.kstest(white.numpy(), "norm").pvalue > 1e-3
    root = state.root @ state.root.mT
    correlation = root[:, 0, 1] / (between[:, 0] * between[:, 1])
    assert scipy.stats.kstest(correlation.numpy(), scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_many_people_show_the_truth() -> None:
    torch.set_default_dtype(torch.float64)
    family = DrugStudies(people=60, half_life=4.0, volume=2.0, absorption=1.0, between=0.3, error=0.1, jitter=0.05)
    tasks = family.sample(60, support=0, query=10, generator=torch.Generator().manual_seed(1))
    given = samples(Examples(*tasks.query[:2]), family.model, 0.0)
    prior = drugs(family.model, float(given.level.max()), like=given.hours)
    found, reduction = Sampler(family.model, prior, given, torch.Generator().manual_seed(2)).run(16, 300)
    assert float(reduction.max()) < 1.2
    truth = torch.tensor([2.0, 2.0 * math.log(2) / 4, 1.0]).log()
    assert float(((found.mean.mean(0) - truth) / found.mean.std(0)).abs().max()) < 3.5
    between = (found.root @ found.root.mT).diagonal(dim1=1, dim2=2).sqrt().mean(0)
    assert between.tolist() == pytest.approx([0.3] * 3, rel=0.35)
    assert float(found.noise[:, 0].exp().mean()) == pytest.approx(0.1, rel=0.2)


def test_scale_reduction() -> None:
    chance = torch.Generator().manual_seed(0)
    same = torch.randn(200, 8, 2, generator=chance)
    assert float(scale_reduction(same).max()) < 1.05
    assert float(scale_reduction(same + 3 * torch.arange(8.0).view(1, 8, 1)).min()) > 2

"""Bayes' rule over remembered images, beside the sum over all of them."""

import torch

from quickstudy.data import Examples
from quickstudy.recipes.images.remembered import MEMBERS, Remembered, systematic, tuned
from quickstudy.tasks import Images


def test_the_belief_is_the_posterior_of_all_images(generator: torch.Generator) -> None:
    """Beside the probabilities of all images by plain normal densities, one task and one pixel at a time."""
    family = Images(torch.randint(0, 4, (30, 3, 5, 2), generator=generator), levels=4)
    known = family.intensities(torch.arange(30))
    tasks = family.sample(4, support=2, query=13, generator=generator)
    learner = Remembered(known.view(30, 3, 5, 2), match=0.5, noise=0.1)
    predictor = learner.adapt(tasks.support)
    belief, places = predictor(tasks.query.x), family.coordinates()
    for t in range(4):
        seen, asked = (
            [int((places - x).norm(dim=1).argmin()) for x in part.x[t]] for part in (tasks.support, tasks.query)
        )
        fit = torch.distributions.Normal(known[:, seen], 0.5).log_prob(tasks.support.y[t]).sum((1, 2)).softmax(0)
        share = torch.bincount(predictor.members[t], minlength=30) / MEMBERS
        assert float((share - fit).abs().max()) <= 1 / MEMBERS + 1e-6
        torch.testing.assert_close(belief.mean[t], (share.view(-1, 1, 1) * known[:, asked]).sum(0))
        spread = (share.view(-1, 1, 1) * known[:, asked].square()).sum(0) - belief.mean[t].square()
        torch.testing.assert_close(belief.variance[t], 0.01 + spread, atol=1e-6, rtol=1e-4)


def test_padding_has_no_effect_and_no_point_gives_the_prior(generator: torch.Generator) -> None:
    family = Images(torch.randint(0, 4, (20, 3, 3), generator=generator), levels=4)
    learner = Remembered(family.intensities(torch.arange(20)).view(20, 3, 3, 1))
    support = family.sample(2, support=4, query=1, generator=generator).support
    mask = torch.tensor([[True, True, False, False]] * 2)
    padded = Examples(support.x, torch.where(mask.unsqueeze(2), support.y, torch.nan), mask)
    x = family.coordinates().expand(2, -1, -1)
    torch.testing.assert_close(learner.adapt(padded)(x).mean, learner.adapt(support.first(2))(x).mean)
    prior = learner.adapt(support.first(0))(x).mean[0]
    torch.testing.assert_close(prior, family.intensities(torch.arange(20)).mean(0))


def test_members_occur_as_often_as_their_weights_say() -> None:
    weights = torch.tensor([[0.5, 0.3, 0.2], [0.0, 0.0, 1.0]])
    assert [torch.bincount(row, minlength=3).tolist() for row in systematic(weights)] == [[50, 30, 20], [0, 0, 100]]


def test_what_is_chosen_suits_the_validation_images() -> None:
    """Images of two kinds, which one pixel tells apart: every deviation that is offered finds the kind."""
    kinds = torch.zeros(80, 3, 3, dtype=torch.long)
    kinds[40:] = 15
    found = tuned(Images(kinds, levels=16), [3])
    assert found.noise == 0.02 and found.match < 0.5

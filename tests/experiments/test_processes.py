"""The processes that recipes offer."""

from typing import get_args

import pytest
import torch

import quickstudy as qs
from quickstudy.experiments.processes import CONDITIONAL, HEADS, LATENT, OWN_BELIEF, TITLES, HeadName, Model, build


@pytest.mark.parametrize("model", get_args(Model))
def test_every_model_predicts(model: Model) -> None:
    tasks = qs.tasks.GaussianProcess(dx=2, lengthscale=1.0).sample(2, support=3, query=4)
    sizes = {"points_per_unit": 4.0} if model == "conv-cnp" else {}
    process = build(model, 2, 1, sigma_floor=0.1) if not sizes else qs.ConvCNP(2, **sizes, levels=2)
    belief = process.adapt(tasks.support)(tasks.query.x)
    assert belief.mean.shape == (2, 4, 1) and (belief.variance >= 0.01 if not sizes else belief.variance > 0).all()
    assert model in TITLES


@pytest.mark.parametrize("head", get_args(HeadName))
def test_every_head(head: HeadName) -> None:
    tasks = qs.tasks.GaussianProcess().sample(2, support=3, query=4)
    belief = build("cnp", head=head)
    assert torch.isfinite(belief.adapt(tasks.support)(tasks.query.x).log_prob(tasks.query.y, joint=True)).all()


def test_latent_models_have_one_head() -> None:
    assert set(LATENT) | set(CONDITIONAL) | set(OWN_BELIEF) == set(get_args(Model)) == set(TITLES)
    assert set(HEADS) == set(get_args(HeadName))
    with pytest.raises(ValueError, match="--model np has a Gaussian head; leave --head mixture out"):
        build("np", head="mixture")
    with pytest.raises(ValueError, match="--model tnp-nd has a joint belief of its own; leave --head mixture out"):
        build("tnp-nd", head="mixture")
    with pytest.raises(ValueError, match="--head bar has no smallest standard deviation; leave --sigma-floor out"):
        build("tnp", head="bar", sigma_floor=0.1)

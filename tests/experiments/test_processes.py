"""The processes that recipes offer."""

from typing import get_args

import pytest
import torch

import quickstudy as qs
from quickstudy.experiments.processes import (
    BOOTSTRAPPING,
    HEADS,
    OWN_BELIEF,
    TITLES,
    WITH_A_HEAD,
    HeadName,
    Model,
    build,
)


@pytest.mark.parametrize("model", get_args(Model))
def test_every_model_predicts(model: Model) -> None:
    tasks = qs.tasks.GaussianProcess(dx=2, lengthscale=1.0).sample(2, support=3, query=4)
    small = {"conv-cnp": qs.ConvCNP, "conv-np": qs.ConvNP}.get(model)
    floor = {} if model == "flow-np" else {"sigma_floor": 0.1}
    process = small(2, points_per_unit=4.0, levels=2) if small else build(model, 2, 1, **floor)
    belief = process.adapt(tasks.support)(tasks.query.x)
    assert belief.mean.shape == (2, 4, 1) and (belief.variance >= (0.0 if small or not floor else 0.01)).all()
    assert model in TITLES


@pytest.mark.parametrize("head", get_args(HeadName))
def test_every_head(head: HeadName) -> None:
    tasks = qs.tasks.GaussianProcess().sample(2, support=3, query=4)
    for model in ("cnp", "np"):
        belief = build(model, head=head).adapt(tasks.support)(tasks.query.x)
        assert torch.isfinite(belief.log_prob(tasks.query.y, joint=True)).all()


def test_models_with_a_grid_take_the_domain() -> None:
    for model in ("conv-cnp", "conv-np"):
        assert build(model, domain=(-1.0, 1.0)).lattice.domain == (-1.0, 1.0)


def test_some_models_have_one_head() -> None:
    assert set(BOOTSTRAPPING) | set(WITH_A_HEAD) | set(OWN_BELIEF) == set(get_args(Model)) == set(TITLES)
    assert set(HEADS) == set(get_args(HeadName))
    with pytest.raises(ValueError, match="--model bnp has a Gaussian head; leave --head mixture out"):
        build("bnp", head="mixture")
    with pytest.raises(ValueError, match="--model tnp-nd has a joint belief of its own; leave --head mixture out"):
        build("tnp-nd", head="mixture")
    with pytest.raises(ValueError, match="--model flow-np has no smallest standard deviation; leave --sigma-floor out"):
        build("flow-np", sigma_floor=0.1)
    with pytest.raises(ValueError, match="--head bar has no smallest standard deviation; leave --sigma-floor out"):
        build("tnp", head="bar", sigma_floor=0.1)

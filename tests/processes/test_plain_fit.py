"""`fit` with nothing but a number of steps: every process learns, for every seed."""

from pathlib import Path
from typing import get_args

import pytest
import torch

import quickstudy as qs
from quickstudy.experiments.processes import Model, build

MARGIN = 0.25  # nats per point
FAMILY = qs.tasks.GaussianProcess()


def prior_log_likelihood() -> float:
    """That of a normal distribution with the moments of all outputs: of a model that learned nothing from points."""
    y = FAMILY.sample(2000, support=0, query=20, generator=torch.Generator().manual_seed(1)).query.y
    return float(torch.distributions.Normal(y.mean(), y.std()).log_prob(y).mean())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("model", get_args(Model))
def test_is_not_stuck(model: Model, seed: int, tmp_path: Path) -> None:
    torch.manual_seed(seed)
    learner = build(model)
    qs.fit(learner, FAMILY, steps=2000, seed=seed, out=tmp_path / "run")
    tasks = FAMILY.sample(200, support=10, query=20, split="test", generator=torch.Generator().manual_seed(2))
    belief = learner.adapt(tasks.support, generator=torch.Generator().manual_seed(3))(tasks.query.x)
    found = float(belief.log_prob(tasks.query.y).detach().mean())
    print(f"{model}, seed {seed}: {found:.3f} nats per point; prior {prior_log_likelihood():.3f}")
    assert found > prior_log_likelihood() + MARGIN

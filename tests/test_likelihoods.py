"""Likelihoods against torch.distributions."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from quickstudy import likelihoods
from quickstudy.gradient.maml import MAML
from quickstudy.nets import MLP
from quickstudy.runs.rebuild.spec import from_spec, to_spec


@pytest.mark.parametrize("learn", [False, True])
def test_gaussian(learn):
    likelihood, output, y = likelihoods.Gaussian(0.3, learn=learn), torch.randn(5, 2), torch.randn(5, 2)
    expected = -Normal(output, 0.3).log_prob(y).sum(-1)
    torch.testing.assert_close(likelihood.loss(output, y), expected)
    belief = likelihood.predictive(output[None])
    torch.testing.assert_close(belief.log_prob(y[None])[0], -expected)
    assert len(list(likelihood.parameters())) == learn


def test_heteroscedastic():
    likelihood, output, y = likelihoods.HeteroscedasticGaussian(0.01), torch.randn(5, 4), torch.randn(5, 2)
    sd = 0.01 + nn.functional.softplus(output[:, 2:])
    torch.testing.assert_close(likelihood.loss(output, y), -Normal(output[:, :2], sd).log_prob(y).sum(-1))
    with pytest.raises(ValueError, match="needs 2 for each"):
        likelihood.loss(torch.randn(5, 3), y)


def test_default_loss_follows_the_type_of_y():
    output = torch.randn(4, 3)
    labels = torch.tensor([0, 1, 2, 0])
    expected = nn.functional.cross_entropy(output, labels, reduction="none")
    torch.testing.assert_close(likelihoods.default_loss(output, labels), expected)
    torch.testing.assert_close(likelihoods.Categorical().loss(output, labels), expected)
    y = torch.randn(4, 3)
    torch.testing.assert_close(likelihoods.default_loss(output, y), (output - y).square().sum(-1))


def test_bad_options():
    with pytest.raises(ValueError, match="sd=0"):
        likelihoods.Gaussian(0)
    with pytest.raises(ValueError, match="floor=-1"):
        likelihoods.HeteroscedasticGaussian(-1)


def test_a_description_names_what_only_its_author_has():
    spec = to_spec(MAML(nn.Linear(1, 1)))
    assert spec["network"] == {"class": None, "foreign": "torch.nn.modules.linear.Linear"}
    with pytest.raises(ValueError, match="network="):
        from_spec(spec)
    assert isinstance(from_spec(spec, network=nn.Linear(1, 1)), MAML)
    spec = to_spec(MAML(MLP(1, [4], 1), loss=nn.functional.mse_loss))
    with pytest.raises(ValueError, match="loss=mse_loss"):
        from_spec(spec)
    with pytest.raises(ValueError, match="unknown class 'os.system'"):
        from_spec({"class": "os.system", "command": "true"})
    with pytest.raises(ValueError, match="does not fit"):
        from_spec({"class": "MLP", "inputs": 1})

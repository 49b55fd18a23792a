"""Meta-Curvature's maps against dense Kronecker products, and at the identity against MAML."""

import pytest
import torch
from inner.grid import LAYERS, assert_close, batch, loss_and_gradient, mlp
from torch import nn

import quickstudy as qs


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def shaken(rule):
    with torch.no_grad():
        for matrix in rule.maps.values():
            matrix.add_(0.3 * torch.randn_like(matrix))
    return rule


@pytest.mark.parametrize("layer", ["MLP", "conv2d, groups", "conv1d", "LayerNorm"])
def test_at_the_identity_it_is_maml(layer):
    network, tasks = LAYERS[layer](), batch()
    network(torch.zeros(2, 6))
    learner = qs.MetaCurvature(network, lr=0.1, steps=3)
    expected, slope = loss_and_gradient(qs.MAML(network, lr=0.1, steps=3), tasks)
    loss, found = loss_and_gradient(learner, tasks)
    assert loss == pytest.approx(expected, rel=1e-13)
    assert_close(found[: len(slope)], slope)
    assert all(g.abs().max() > 0 for g in found[len(slope) :])


@pytest.mark.parametrize(
    "layer",
    [nn.Linear(4, 3), nn.Conv1d(2, 3, 4), nn.Conv2d(2, 3, (2, 3)), nn.ConvTranspose2d(2, 3, 2)],
    ids=lambda layer: type(layer).__name__,
)
def test_a_step_is_a_dense_kronecker_product(layer):
    layer = layer.double()
    rule = shaken(qs.Curvature(layer, lr=0.1))
    for name, value in layer.named_parameters():
        gradient = torch.randn(5, *value.shape)
        if value.dim() == 1:
            dense = rule.maps[f"{name}/out"].diag()
        else:
            dense = torch.kron(rule.maps[f"{name}/out"], rule.maps[f"{name}/in"])
            dense = torch.kron(dense, rule.maps[f"{name}/kernel"]) if value.dim() > 2 else dense
        expected = value - 0.1 * (gradient.flatten(1) @ dense.T).reshape(gradient.shape)
        found, _ = rule.update(name, 0, value, gradient, None)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(rule.update(name, 0, value, gradient[0], None)[0], expected[0])


def test_the_engines_and_checkpoints_agree():
    network, tasks = mlp(), batch()
    rule = shaken(qs.Curvature(network, lr=[0.1, 0.05]))
    _, expected = loss_and_gradient(qs.MAML(network, rule=rule, steps=3, engine="loop"), tasks)
    for options in ({"engine": "batched"}, {"checkpoint": "every"}, {"mixed_mode": True}, {"chunk": 2}):
        assert_close(loss_and_gradient(qs.MAML(network, rule=rule, steps=3, **options), tasks)[1], expected)
    with pytest.raises(ValueError, match="engine='lowrank' needs a rule linear"):
        qs.MAML(network, rule=rule, engine="lowrank")


def test_what_has_no_map_is_told():
    with pytest.raises(ValueError, match="no curvature for 'weight'"):
        qs.MAML(nn.Linear(6, 1), rule=qs.Curvature(mlp())).meta_loss(batch())
    with pytest.raises(TypeError, match="rule=..."):
        qs.MetaCurvature(mlp(), rule=qs.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match="lr=-1"):
        qs.Curvature(mlp(), lr=-1.0)

"""ANIL and BOIL between them: which part moves, and that it moves as MAML would move it."""

import pytest
import torch
from inner.grid import assert_close, batch, loss_and_gradient, mlp
from torch import nn

import quickstudy as qs


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def test_anil_of_one_layer_is_maml():
    network, tasks = nn.Linear(6, 1), batch()
    expected, slope = loss_and_gradient(qs.MAML(network, lr=0.1, steps=3), tasks)
    loss, found = loss_and_gradient(qs.ANIL(network, lr=0.1, steps=3), tasks)
    assert loss == pytest.approx(expected, rel=1e-14)
    assert_close(found, slope)


@pytest.mark.parametrize("head", [None, "2.*", ["2.weight", "2.bias"]])
def test_in_one_step_each_part_moves_as_in_maml_and_the_other_stays(head):
    network, support = mlp(), batch().support
    whole, anil, boil = (
        learner(network, lr=0.1, **options).adapt(support).adapted.params
        for learner, options in ((qs.MAML, {}), (qs.ANIL, {"head": head}), (qs.BOIL, {"head": head}))
    )
    for name, start in network.named_parameters():
        moves, stays = (anil, boil) if name.startswith("2.") else (boil, anil)
        torch.testing.assert_close(moves[name], whole[name])
        assert torch.equal(stays[name], start.expand_as(stays[name]))


def test_the_parts_of_anil_and_boil_make_up_the_network():
    network = qs.nets.MLP(6, [5, 4], 1)
    parts = [*qs.BOIL(network).inner.adapted_names(), *qs.ANIL(network).inner.adapted_names()]
    assert parts == [name for name, _ in network.named_parameters()]


def test_further_inputs_adapt_with_the_body():
    network = qs.nets.WithContext(qs.nets.MLP(8, [5], 1), 2)
    learner = qs.BOIL(network, lr=0.1, inputs={"context": torch.zeros(2)})
    assert learner.inner.adapted_names() == ["network.layers.0.weight", "network.layers.0.bias", "context"]


@pytest.mark.parametrize("learner", [qs.ANIL, qs.BOIL])
def test_what_adapts_is_not_for_the_user_to_say(learner):
    with pytest.raises(TypeError, match="head="):
        learner(mlp(), adapt="*")


def test_boil_needs_a_body():
    with pytest.raises(ValueError, match="no body to adapt"):
        qs.BOIL(nn.Linear(6, 1))
    with pytest.raises(ValueError, match="no parameter is named 'top'"):
        qs.BOIL(mlp(), head="top")

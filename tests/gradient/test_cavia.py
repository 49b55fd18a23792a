"""CAVIA against joint training and against its algorithm written out, one task at a time."""

import pytest
import torch
from inner.grid import assert_close, batch, loss_and_gradient
from torch import nn

import quickstudy as qs
from quickstudy.compiling.compiled import meta_gradient


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def net(context):
    return qs.nets.MLP(6 + context, [5], 1, activation="tanh")


def by_hand(network, context, tasks, steps):
    """Algorithm 1: a context of zeros, concatenated to the inputs, and moved at the rate 1."""
    losses = []
    for i in range(tasks.num_tasks):
        own = torch.zeros(context, requires_grad=True)

        def loss(points, i=i):
            x, y = points.x[i], points.y[i]
            return (network(torch.cat([x, own.expand(len(x), -1)], 1)) - y).square().mean()

        for _ in range(steps):
            own = own - torch.autograd.grad(loss(tasks.support), own, create_graph=True)[0]
        losses.append(loss(tasks.query))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("steps", [1, 3])
def test_is_the_algorithm_written_out(steps):
    network, tasks = net(3), batch()
    expected = by_hand(network, 3, tasks, steps)
    loss, found = loss_and_gradient(qs.CAVIA(network, context=3, steps=steps), tasks)
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    assert_close(found, torch.autograd.grad(expected, list(network.parameters())))


def test_without_a_context_it_is_joint_training():
    network, tasks = net(0), batch()
    expected, slope = loss_and_gradient(qs.Pretrained(network), tasks)
    loss, found = loss_and_gradient(qs.CAVIA(network, context=0), tasks)
    assert loss == pytest.approx(expected, rel=1e-14)
    assert_close(found, slope)


def test_only_the_context_moves_and_its_start_is_not_learned():
    learner, tasks = qs.CAVIA(net(3), context=3, steps=2), batch()
    assert [name for name, _ in learner.named_parameters()] == [
        f"network.{k}" for k, _ in learner.network.named_parameters()
    ]
    params = learner.adapt(tasks.support).adapted.params
    for name, start in learner.network.named_parameters():
        assert torch.equal(params[name], start.expand_as(params[name]))
    assert params["context"].shape == (3, 3) and params["context"].abs().min() > 0
    assert torch.equal(learner.adapt(tasks.support, steps=0).adapted.params["context"], torch.zeros(3, 3))


class Shifted(nn.Module):
    """Reads its context itself."""

    def __init__(self):
        super().__init__()
        self.leave = nn.Linear(6, 1)

    def forward(self, x, context):
        return self.leave(torch.tanh(x + context))


def test_a_network_with_a_context_of_its_own_is_used_as_it_is():
    network = Shifted()
    learner = qs.CAVIA(network, context=6, lr=0.5)
    assert learner.network is network
    learner.meta_loss(batch()).backward()
    assert network.leave.weight.grad is not None


def test_the_start_follows_the_learner():
    learner = qs.CAVIA(net(3).float(), context=3).double()
    assert learner.adapt(batch().support).adapted.params["context"].dtype == torch.float64


def test_the_start_does_not_keep_it_from_one_graph():
    learner, tasks = qs.CAVIA(net(3), context=3), batch()
    expected, slope = loss_and_gradient(learner, tasks)
    loss, found = meta_gradient(learner, compile=True, backend="aot_eager")(tasks)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    assert_close(found, slope)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"adapt": "*"}, TypeError, "only its context"),
        ({"inputs": {}}, TypeError, "only its context"),
        ({"context": -1}, ValueError, "context=-1"),
        ({"context": True}, ValueError, "context=True"),
        ({"lr": 0.1, "rule": qs.optimizers.SGD(0.1)}, ValueError, "lr= or rule="),
    ],
)
def test_bad_options(options, error, says):
    with pytest.raises(error, match=says):
        qs.CAVIA(net(3), **{"context": 3, **options})


def test_a_network_of_another_width_is_told():
    with pytest.raises(
        ValueError, match=r"takes 6 features, and gets 6 of the point and 3 of the context; .* MLP\(6 \+ 3"
    ):
        qs.CAVIA(net(0), context=3).meta_loss(batch())

"""Steps that run again on the way back see everything as it was on the way there."""

import pytest
import torch
from inner.grid import batch, mlp
from torch import nn

import quickstudy as qs
from quickstudy.inner.optimizers import SGD
from quickstudy.inner.rates import Rates

LEAN = [{"mixed_mode": True}, {"checkpoint": 2}, {"mixed_mode": True, "checkpoint": "sqrt"}]


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def gradients(loss, learner):
    return torch.autograd.grad(loss, list(learner.parameters()))


class Running(nn.Module):
    """A running average that the network uses at once, written into or put in the place of the old one."""

    def __init__(self, replace):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last, self.replace = nn.Linear(6, 6), nn.Linear(6, 1), replace
        self.register_buffer("average", torch.zeros(6))

    def forward(self, x):
        h = self.first(x)
        if self.replace:
            self.average = 0.9 * self.average + 0.1 * h.mean(0)
        else:
            self.average.mul_(0.9).add_(0.1 * h.mean(0))
        return self.last(torch.tanh(h - self.average))


@pytest.mark.parametrize("options", LEAN)
def test_parameters_of_a_functional_call(options):
    network, tasks = mlp(), batch()
    learner = qs.MAML(network, rule=SGD(Rates(network, 0.1)), steps=4, **options)
    given = {k: p.detach().clone().requires_grad_() for k, p in learner.named_parameters()}
    expected = gradients(learner.meta_loss(tasks), learner)
    loss = torch.func.functional_call(learner, given, (tasks,))
    with torch.no_grad():  # what the module holds meanwhile does not count
        for p in learner.parameters():
            p.add_(1.0)
    torch.testing.assert_close(torch.autograd.grad(loss, list(given.values())), expected)


@pytest.mark.parametrize("options", LEAN)
@pytest.mark.parametrize("engine", ["loop", "batched", "lowrank"])
def test_modes_changed_before_the_way_back(options, engine):
    network, tasks = mlp(nn.BatchNorm1d(6, eps=0.1)), batch()
    learner = qs.MAML(network, lr=0.1, steps=3, engine=engine)
    expected = gradients(learner.meta_loss(tasks), learner)
    learner = qs.MAML(network, lr=0.1, steps=3, engine=engine, **options)
    loss = learner.meta_loss(tasks)
    learner.eval()
    torch.testing.assert_close(gradients(loss, learner), expected)
    assert not any(m.training for m in learner.modules())


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("engine", ["loop", "batched", "lowrank"])
def test_buffers_carry_values_from_step_to_step_and_no_gradient(replace, engine):
    tasks = batch()
    network = Running(replace)
    params = dict(network.named_parameters())
    start = network.average.clone()

    def pass_(params, average, x):  # the same by hand
        h = x @ params["first.weight"].T + params["first.bias"]
        average = 0.9 * average + 0.1 * h.mean(0)
        out = torch.tanh(h - average) @ params["last.weight"].T + params["last.bias"]
        return out, average.detach()

    losses = []
    for i in range(tasks.num_tasks):
        own, average = params, start
        for _ in range(3):
            out, average = pass_(own, average, tasks.support.x[i])
            loss = (out - tasks.support.y[i]).square().mean()
            grads = torch.autograd.grad(loss, list(own.values()), create_graph=True)
            own = {k: p - 0.1 * g for (k, p), g in zip(own.items(), grads, strict=True)}
        losses.append((pass_(own, average, tasks.query.x[i])[0] - tasks.query.y[i]).square().mean())
    expected = torch.autograd.grad(torch.stack(losses).mean(), list(params.values()))
    for options in ({}, *LEAN):
        network.average = start.clone()
        learner = qs.MAML(network, lr=0.1, steps=3, engine=engine, **options)
        torch.testing.assert_close(gradients(learner.meta_loss(tasks), learner), expected)


def test_a_layer_called_twice_of_which_one_call_is_detached():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(1)
            self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 1)

        def forward(self, x):
            return self.last(torch.tanh(self.first(x) - self.first(x).detach().mean(0)))

    network, tasks = Network(), batch()
    found = {}
    for name, options in (("plain", {"engine": "loop"}), ("lean", {"engine": "lowrank", **LEAN[2]})):
        learner = qs.MAML(network, lr=0.1, steps=3, **options)
        found[name] = gradients(learner.meta_loss(tasks), learner)
    torch.testing.assert_close(found["lean"], found["plain"])


def test_mixed_mode_and_checkpoints_inside_a_transform_say_that_they_are_left_out():
    network, tasks = mlp(), batch()
    learner = qs.MAML(network, lr=0.1, steps=2)
    expected = gradients(learner.meta_loss(tasks), learner)
    for options in LEAN:
        learner = qs.MAML(network, lr=0.1, steps=2, **options)
        params = {k: p.detach() for k, p in learner.named_parameters()}
        with pytest.warns(RuntimeWarning, match="left out inside torch.func"):
            found = torch.func.grad(lambda p, made=learner: torch.func.functional_call(made, p, (tasks,)))(params)
        torch.testing.assert_close(tuple(found.values()), expected)

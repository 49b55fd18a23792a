"""Meta-SGD: MAML where its rates are frozen, and the gradient to the rates written out."""

import pytest
import torch

import quickstudy as qs


@pytest.fixture(autouse=True)
def in_float64():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def net():
    return qs.nets.MLP(1, [6], 1, activation="tanh")


def batch():
    return qs.tasks.Sinusoid().sample(3, support=5, query=6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("engine", ["auto", "loop"])
def test_with_frozen_rates_it_is_maml(steps, engine):
    network, tasks = net(), batch()
    ours, plain = qs.MetaSGD(network, lr=0.05, steps=steps, engine=engine), qs.MAML(network, lr=0.05, steps=steps)
    ours.rule.requires_grad_(False)
    assert [k for k, p in ours.named_parameters() if p.requires_grad] == [k for k, _ in plain.named_parameters()]
    torch.testing.assert_close(ours.meta_loss(tasks), plain.meta_loss(tasks))
    params = list(network.parameters())
    found, expected = (torch.autograd.grad(m.meta_loss(tasks), params) for m in (ours, plain))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_the_gradient_of_a_rate_is_that_of_one_step_written_out():
    """d L(theta - alpha g) / d alpha = -g dL/dtheta', entry by entry, for one step."""
    network, tasks = net(), batch()
    learner = qs.MetaSGD(network, lr=0.05, steps=1)
    learner.meta_loss(tasks).backward()
    expected = {k: torch.zeros_like(p) for k, p in network.named_parameters()}
    for t in range(3):
        theta = {k: p.detach().requires_grad_() for k, p in network.named_parameters()}

        def loss(params, points, t=t):
            out = torch.func.functional_call(network, params, (points.x[t],))
            return (out - points.y[t]).square().sum(-1).mean()

        slopes = torch.autograd.grad(loss(theta, tasks.support), list(theta.values()))
        moved = {k: (p - 0.05 * g).detach().requires_grad_() for (k, p), g in zip(theta.items(), slopes, strict=True)}
        after = torch.autograd.grad(loss(moved, tasks.query), list(moved.values()))
        for k, g, a in zip(theta, slopes, after, strict=True):
            expected[k] -= g * a / 3
    for name, value in expected.items():
        torch.testing.assert_close(learner.rule.lr.at(name, 0).grad, value)

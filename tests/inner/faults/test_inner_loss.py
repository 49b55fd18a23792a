"""`inner_loss=` is what inner steps descend; `loss=` judges the query points."""

import copy

import pytest
import torch
from inner.faults.oracle import (
    WAYS,
    Problem,
    adapted_alone,
    allowed_to_refuse,
    every_way,
    no_other_warnings,
    plain,
    points,
)
from inner.faults.unequal import alone, some_unequal
from torch import nn
from torch.nn import functional as F

import quickstudy as qs
from quickstudy import likelihoods


def mlp(outputs=2, inputs=3):
    return nn.Sequential(nn.Linear(inputs, 4), nn.Tanh(), nn.Linear(4, outputs))


def smooth(output, y):
    """A loss per point that is not the squared error."""
    return torch.log(torch.cosh(3 * (output - y))).sum(-1)


def squared(output, y):
    return (output - y).square().sum(-1)


def absolute(output, y):
    return (output - y).abs().sum(-1)


class Learned(nn.Module):
    """A loss with parameters of its own."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 3)

    def forward(self, output, y):
        return torch.tanh(self.body(torch.cat([output, y], 1))).square().sum(-1) + 0.1 * squared(output, y)


def some_tasks():
    return qs.Tasks(qs.Examples(*points()), qs.Examples(*points(seed=1)))


def problem_of(network, inner_loss, loss, tasks, i=None):
    """The same in plain PyTorch, of all tasks or the `i`-th, without padding."""

    def of(function):
        return lambda model, data, outer: function(model(data[0]), data[1]).mean()

    def share(examples):
        keep = slice(None) if examples.mask is None or i is None else examples.mask[i]
        chosen = slice(None) if i is None else slice(i, i + 1)
        return examples.x[chosen][:, keep], examples.y[chosen][:, keep]

    support, count = share(tasks.support), tasks.num_tasks if i is None else 1
    return Problem(network, of(inner_loss), lambda step: support, share(tasks.query), count, 2, judge=of(loss))


PAIRS = {
    "smooth, then squared": (smooth, squared),
    "squared, then smooth": (squared, smooth),
    "absolute, then squared": (absolute, squared),
    "another sign": (lambda output, y: -0.3 * squared(output, y), squared),
    "one output of two": (lambda output, y: squared(output[:, :1], y[:, :1]), squared),
}


@every_way
@pytest.mark.parametrize("pair", PAIRS)
def test_inner_loops(pair, way):
    torch.manual_seed(0)
    (inner_loss, loss), network, tasks = PAIRS[pair], mlp(), some_tasks()
    with allowed_to_refuse(way) as refused, no_other_warnings():
        loop = qs.inner_loop(network, inner_loss=inner_loss, loss=loss, lr=0.1, steps=2, **WAYS[way])
        losses = loop(tasks.support).losses(tasks.query)
        grads = torch.autograd.grad(losses @ torch.arange(1.0, 4.0), list(network.parameters()))
    if refused:
        return
    expected = plain(problem_of(network, inner_loss, loss, tasks))
    torch.testing.assert_close(losses.detach(), expected.losses, rtol=1e-9, atol=1e-10)
    for a, b in zip(grads, expected.grads.values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    "options", [{}, {"engine": "loop"}, {"chunk": 1}, {"checkpoint": "sqrt"}, {"mixed_mode": True}]
)
@pytest.mark.parametrize("pair", PAIRS)
def test_learners_with_unequal_tasks(pair, options):
    torch.manual_seed(0)
    (inner_loss, loss), network, tasks = PAIRS[pair], mlp(), some_unequal()
    learner = qs.MAML(network, inner_loss=inner_loss, loss=loss, lr=0.1, steps=2, **options)
    with no_other_warnings():
        value = learner.meta_loss(tasks)
        grads = torch.autograd.grad(value, list(network.parameters()))
    answers = [plain(problem_of(network, inner_loss, loss, tasks, i)) for i in range(3)]
    torch.testing.assert_close(value.detach(), torch.cat([a.losses for a in answers]).mean(), rtol=1e-9, atol=1e-10)
    for name, grad in zip(answers[0].grads, grads, strict=True):
        mean = torch.stack([a.grads[name] for a in answers]).mean(0)
        torch.testing.assert_close(grad, mean, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    "options", [{}, {"engine": "loop"}, {"chunk": 1}, {"checkpoint": "sqrt"}, {"mixed_mode": True}]
)
def test_a_learned_inner_loss_is_meta_learned_and_judges_nothing(options):
    """Its parameters are among the learner's, and get the gradient of the true loss through the steps."""
    torch.manual_seed(0)
    network, inner_loss, tasks = mlp(), Learned(), some_tasks()
    learner = qs.MAML(network, inner_loss=inner_loss, loss=squared, lr=0.1, steps=2, **options)
    learned = list(inner_loss.parameters())
    assert {id(p) for p in learned} <= {id(p) for p in learner.parameters()}
    with no_other_warnings():
        value = learner.meta_loss(tasks)
        grads = torch.autograd.grad(value, learned)
    problem = problem_of(network, inner_loss, squared, tasks)
    losses = []
    for i in range(3):
        adapted, _ = adapted_alone(problem, i)
        losses.append(squared(adapted(tasks.query.x[i]), tasks.query.y[i]).mean())
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-10)
    for a, b in zip(grads, torch.autograd.grad(expected, learned), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
        assert a.abs().max() > 1e-6


def test_a_learned_loss_moves_with_its_optimiser_and_survives_a_copy():
    torch.manual_seed(0)
    learner = qs.MAML(mlp(), inner_loss=Learned(), loss=squared, lr=0.1, steps=2)
    other, tasks = copy.deepcopy(learner), some_tasks()
    expected = learner.meta_loss(tasks)
    torch.testing.assert_close(other.meta_loss(tasks), expected)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(0.1)
    assert other.meta_loss(tasks) != expected
    torch.testing.assert_close(learner.meta_loss(tasks), expected)
    other.load_state_dict(learner.state_dict())
    torch.testing.assert_close(other.meta_loss(tasks), expected)


LEARNERS = {
    "MAML": lambda **losses: qs.MAML(mlp(), lr=0.1, steps=2, **losses),
    "FOMAML": lambda **losses: qs.FOMAML(mlp(), lr=0.1, steps=2, **losses),
    "ANIL": lambda **losses: qs.ANIL(qs.nets.MLP(3, [4], 2), lr=0.1, steps=2, **losses),
    "BOIL": lambda **losses: qs.BOIL(qs.nets.MLP(3, [4], 2), lr=0.1, steps=2, **losses),
    "MetaSGD": lambda **losses: qs.MetaSGD(mlp(), lr=0.1, steps=2, **losses),
    "MetaCurvature": lambda **losses: qs.MetaCurvature(mlp(), lr=0.1, steps=2, **losses),
    "CAVIA": lambda **losses: qs.CAVIA(mlp(inputs=5), context=2, steps=2, **losses),
    "iMAML": lambda **losses: qs.iMAML(mlp(), lam=1.0, lr=0.1, steps=2, **losses),
    "MAML++": lambda **losses: qs.MAMLPlusPlus(mlp(), lr=0.1, steps=2, **losses),
    "WarpGrad": lambda **losses: qs.WarpGrad(qs.nets.WarpedMLP(3, [4], 2), lr=0.1, steps=2, **losses),
    "Reptile": lambda **losses: qs.Reptile(mlp(), lr=0.1, steps=2, **losses),
    "Reptile, support": lambda **losses: qs.Reptile(mlp(), lr=0.1, steps=2, data="support", **losses),
    "Pretrained": lambda **losses: qs.Pretrained(mlp(), lr=0.1, steps=2, **losses),
}
JUDGED_AFTER_THE_STEPS = ("MAML", "FOMAML", "ANIL", "BOIL", "MetaSGD", "MetaCurvature", "CAVIA", "iMAML")


def made(name, **losses):
    torch.manual_seed(0)
    return LEARNERS[name](**losses)


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_adapts_by_the_inner_loss(name):
    tasks = some_tasks()
    with no_other_warnings():
        found = made(name, inner_loss=smooth, loss=squared).adapt(tasks.support)(tasks.query.x).mean
        expected = made(name, loss=smooth).adapt(tasks.support)(tasks.query.x).mean
        other = made(name, loss=squared).adapt(tasks.support)(tasks.query.x).mean
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    assert not torch.allclose(found, other)


@pytest.mark.parametrize("name", JUDGED_AFTER_THE_STEPS)
def test_every_learner_is_judged_by_the_loss(name):
    tasks = some_tasks()
    learner = made(name, inner_loss=smooth, loss=squared)
    with no_other_warnings():
        mean = learner.adapt(tasks.support)(tasks.query.x).mean
        value = learner.meta_loss(tasks)
    torch.testing.assert_close(value, squared(mean, tasks.query.y).mean(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_has_a_gradient(name):
    learner = made(name, inner_loss=smooth, loss=squared)
    with no_other_warnings():
        learner.meta_loss(some_tasks()).backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in learner.parameters())


@pytest.mark.parametrize("name", LEARNERS)
def test_one_loss_is_both(name):
    """Without `inner_loss=` steps descend the loss, and naming it twice changes nothing."""
    tasks = some_tasks()
    with no_other_warnings():
        torch.testing.assert_close(
            made(name, loss=smooth, inner_loss=smooth).meta_loss(tasks), made(name, loss=smooth).meta_loss(tasks)
        )


def test_without_a_loss_query_points_are_judged_as_ever():
    tasks = some_tasks()
    found = made("MAML", inner_loss=smooth).meta_loss(tasks)
    torch.testing.assert_close(found, made("MAML", inner_loss=smooth, loss=squared).meta_loss(tasks))


def test_a_likelihood_judges_and_the_inner_loss_moves():
    tasks = some_tasks()
    learner = made("MAML", inner_loss=squared, likelihood=likelihoods.Gaussian(0.3))
    belief = learner.adapt(tasks.support)(tasks.query.x)
    torch.testing.assert_close(learner.meta_loss(tasks), -belief.log_prob(tasks.query.y).mean())
    mean = made("MAML", loss=squared).adapt(tasks.support)(tasks.query.x).mean
    torch.testing.assert_close(belief.mean, mean)


def test_classes():
    """Steps by smoothed labels, judged by plain ones."""
    tasks = some_tasks()
    tasks = qs.Tasks(*(e._replace(y=(e.y[..., 0] > 0).long()) for e in tasks[:2]))

    def smoothed(output, y):
        return F.cross_entropy(output, y, reduction="none", label_smoothing=0.2)

    learner = made("MAML", inner_loss=smoothed)
    logits = learner.adapt(tasks.support)(tasks.query.x).logits
    expected = F.cross_entropy(logits.flatten(0, 1), tasks.query.y.flatten())
    torch.testing.assert_close(learner.meta_loss(tasks), expected)


# what is refused


def test_what_is_not_a_loss_is_refused():
    with pytest.raises(TypeError, match="inner_loss"):
        qs.inner_loop(mlp(), inner_loss="squared")
    with pytest.raises(TypeError, match="inner_loss"):
        qs.MAML(mlp(), inner_loss=3)
    with pytest.raises(ValueError, match="inner_loss"):
        qs.inner_loop(mlp(), inner_loss=squared, objective=lambda model, data, outer: 0.0)


@every_way
@pytest.mark.parametrize("which", ["inner_loss", "loss"])
def test_a_single_number_for_masked_points_is_of_the_real_ones_or_refused(which, way):
    losses = {"inner_loss": squared, "loss": squared, which: lambda output, y: squared(output, y).mean()}
    network, tasks = mlp(), some_unequal((4, 3, 4), (3, 4, 4))
    try:
        with no_other_warnings():
            found = qs.inner_loop(network, lr=0.1, steps=2, **losses, **WAYS[way])(tasks.support).losses(tasks.query)
    except (ValueError, RuntimeError) as error:
        assert "single number" in str(error)
    else:
        torch.testing.assert_close(found, alone(network, tasks, 2), rtol=1e-9, atol=1e-10)

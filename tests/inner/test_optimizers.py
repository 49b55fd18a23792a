"""The inner rules against torch.optim, differentiable where a gradient is zero; rates of every kind."""

import pytest
import torch
from inner.grid import batch, mlp
from torch import nn

import quickstudy as qs
from quickstudy.gradient.maml import MAML
from quickstudy.inner.fast.lowrank import LowRank
from quickstudy.inner.optimizers import SGD, Adam, RMSProp
from quickstudy.inner.problem import matching

PAIRS = {
    "SGD": (SGD(0.1), torch.optim.SGD, {"lr": 0.1}),
    "momentum": (SGD(0.1, momentum=0.9), torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "Nesterov, decay": (
        SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.3),
        torch.optim.SGD,
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.3},
    ),
    "Adam": (Adam(0.1), torch.optim.Adam, {"lr": 0.1}),
    "Adam, decay": (
        Adam(0.1, betas=(0.5, 0.7), eps=1e-3, weight_decay=0.3),
        torch.optim.Adam,
        {"lr": 0.1, "betas": (0.5, 0.7), "eps": 1e-3, "weight_decay": 0.3},
    ),
    "RMSProp": (RMSProp(0.1), torch.optim.RMSprop, {"lr": 0.1}),
    "RMSProp, decay": (
        RMSProp(0.1, alpha=0.5, eps=1e-3, weight_decay=0.3),
        torch.optim.RMSprop,
        {"lr": 0.1, "alpha": 0.5, "eps": 1e-3, "weight_decay": 0.3},
    ),
}


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


@pytest.mark.parametrize("name", PAIRS)
def test_the_steps_are_those_of_torch_optim(name):
    rule, theirs, options = PAIRS[name]
    value, slot = torch.randn(4, 3), None
    parameter = nn.Parameter(value.clone())
    optimizer = theirs([parameter], **options)
    for step in range(6):
        gradient = torch.randn(4, 3) if step != 2 else torch.zeros(4, 3)
        parameter.grad = gradient.clone()
        optimizer.step()
        value, slot = rule.update("w", step, value, gradient, slot)
        torch.testing.assert_close(value, parameter.detach(), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", PAIRS)
def test_an_inner_loop_is_training_with_torch_optim(name):
    rule, theirs, options = PAIRS[name]
    network, support = mlp(), batch().support.select(1)
    adapted = qs.inner_loop(network, rule=rule, steps=5)(support, create_graph=False).module(0)
    optimizer = theirs(network.parameters(), **options)
    for _ in range(5):
        optimizer.zero_grad()
        (network(support.x[0]) - support.y[0]).square().sum(-1).mean().backward()
        optimizer.step()
    for found, expected in zip(adapted.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("rule", [Adam(0.1), Adam(0.1, weight_decay=0.1), RMSProp(0.1)])
def test_zero_gradients_have_a_finite_derivative(rule):
    """A ReLU that is off gives gradients of exactly zero, where the root of the second moment has no derivative."""
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1))
    nn.init.constant_(network[0].bias, -100.0)
    grads = torch.autograd.grad(MAML(network, rule=rule, steps=3).meta_loss(batch()), list(network.parameters()))
    assert all(g.isfinite().all() for g in grads)


def test_with_a_gradient_of_zero_the_step_is_linear_in_it():
    gradient = torch.zeros(2, requires_grad=True)
    moved, _ = Adam(0.5, eps=1e-2).update("w", 0, torch.ones(2), gradient, None)
    assert torch.autograd.grad(moved.sum(), gradient)[0].tolist() == pytest.approx([-50.0, -50.0])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SGD(-0.1), "lr=-0.1"),
        (lambda: SGD(float("inf")), "lr=inf"),
        (lambda: SGD([0.1, -1]), "lr=-1"),
        (lambda: SGD([]), r"lr=\[\]"),
        (lambda: SGD("fast"), "lr='fast'"),
        (lambda: SGD(torch.ones(2, 2)), "lr=tensor"),
        (lambda: SGD(0.1, momentum=1.0), "momentum=1.0"),
        (lambda: SGD(0.1, nesterov=True), "momentum= a value above 0"),
        (lambda: SGD(0.1, weight_decay=-1), "weight_decay=-1"),
        (lambda: Adam(0.1, betas=(0.9,)), "betas="),
        (lambda: Adam(0.1, betas=(0.9, 1.0)), "betas=1.0"),
        (lambda: Adam(0.1, eps=-1), "eps=-1"),
        (lambda: RMSProp(0.1, alpha=2), "alpha=2"),
        (lambda: MAML(mlp(), lr=0.1, rule=SGD(0.1)), "lr= or rule=, not both"),
    ],
)
def test_bad_rates(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_names_by_pattern():
    names = ["0.weight", "0.bias", "2.weight"]
    assert matching(names, "*weight") == ["0.weight", "2.weight"]
    assert matching(names, ["2.*", "0.bias"]) == ["0.bias", "2.weight"]
    with pytest.raises(ValueError, match="no parameter is named 'head'; there are 0.weight"):
        matching(names, ["*", "head"])


@pytest.mark.parametrize("rule", [SGD(0.1), SGD([0.1, 0.2], momentum=0.9, nesterov=True, weight_decay=0.3)])
def test_low_rank_weights_follow_the_rule_as_dense_ones_do(rule):
    base = torch.randn(4, 3)
    low, dense, slots = LowRank(base), base.expand(2, 4, 3), (None, None)
    for step in range(4):
        d, x = torch.randn(2, 5, 4), torch.randn(2, 5, 3)
        low, first = rule.update("w", step, low, LowRank(None, 1.0, {step: (1.0, d, x)}), slots[0])
        dense, second = rule.update("w", step, dense, d.mT @ x, slots[1])
        slots = first, second
        torch.testing.assert_close(low.dense(), dense)


def test_clipped_gradients_are_no_longer_than_that_for_every_task():
    torch.manual_seed(0)
    tasks = qs.tasks.Sinusoid().sample(5, support=6, query=6, generator=torch.Generator().manual_seed(0))
    network = qs.nets.MLP(1, [8], 1)
    free, clipped = (qs.inner_loop(network, rule=SGD(1.0, clip=clip))(tasks.support) for clip in (None, 10.0))
    start = dict(network.named_parameters())
    step = [torch.cat([(a.params[k] - start[k]).flatten(1) for k in start], 1) for a in (free, clipped)]
    length = step[0].norm(dim=1, keepdim=True)
    assert length.min() < 10 < length.max()
    torch.testing.assert_close(step[1], step[0] * (10 / length).clamp(max=1))


def test_clipping_is_differentiated_exactly():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    tasks = qs.tasks.Sinusoid().sample(3, support=6, query=6, generator=torch.Generator().manual_seed(0))
    network = qs.nets.MLP(1, [6], 1, activation="tanh")
    learner = qs.MAML(network, rule=SGD(0.1, clip=1.5), steps=3)
    values = [p.detach().clone() for p in network.parameters()]

    def loss(*params):
        given = dict(zip([k for k, _ in learner.named_parameters()], params, strict=True))
        return torch.func.functional_call(learner, given, (tasks,))

    assert torch.autograd.gradcheck(loss, [v.requires_grad_() for v in values])


def test_what_is_clipped_is_not_low_rank():
    assert SGD(0.1).linear and not SGD(0.1, clip=1.0).linear
    with pytest.raises(ValueError, match="linear in the gradients"):
        qs.MAML(qs.nets.MLP(1, [8], 1), rule=SGD(0.1, clip=1.0), engine="lowrank")
    with pytest.raises(ValueError, match="clip=0"):
        SGD(0.1, clip=0)


def test_tiny_gradients_are_not_clipped_and_stay_differentiable():
    gradient = torch.full((1, 3), 1e-22, requires_grad=True)
    clipped = SGD(0.1, clip=10.0).direct({}, {"w": gradient, "one": torch.zeros(1)}, None)["w"]
    (slope,) = torch.autograd.grad(clipped.sum(), gradient)
    torch.testing.assert_close(slope, torch.ones(1, 3))
    assert SGD(0.1, clip=10.0).direct({}, {}, None) == {}


class Scaled(torch.nn.Module):
    """A rule of somebody's own, that says it is linear."""

    linear = True

    def __init__(self, factor):
        super().__init__()
        self.lr, self.factor = 0.1, factor

    def config(self):
        return {"factor": self.factor}

    def update(self, name, step, value, gradient, memory):
        factor = self.factor[name] if isinstance(self.factor, dict) else self.factor
        return value - factor * gradient / 2, memory


def test_a_linear_rule_of_ones_own_runs_on_low_rank_weights_or_is_told_why_not():
    torch.manual_seed(0)
    network, tasks = qs.nets.MLP(1, [16, 16], 1), qs.tasks.Sinusoid().sample(3, support=10, query=5)
    losses = [qs.MAML(network, rule=Scaled(0.1), steps=2, engine=e).meta_loss(tasks) for e in ("loop", "lowrank")]
    torch.testing.assert_close(*losses)
    entries = Scaled({name: torch.rand_like(p) for name, p in network.named_parameters()})
    with pytest.raises(ValueError, match="set linear = False where entries have factors of their own"):
        qs.MAML(network, rule=entries, steps=2, engine="lowrank").meta_loss(tasks)


def test_a_rule_that_lacks_something_is_told_what():
    class Bare(torch.nn.Module):
        lr = 0.1

        def update(self, *given):
            return given

    with pytest.raises(TypeError, match="or a module of your own with lr, linear and update; this one has no linear"):
        qs.MAML(qs.nets.MLP(1, [4], 1), rule=Bare())
    plain = type("Plain", (), {"lr": 0.1, "linear": True, "update": Bare.update})()
    with pytest.raises(TypeError, match="this is no nn.Module"):
        qs.MAML(qs.nets.MLP(1, [4], 1), rule=plain)


def test_a_run_is_not_resumed_with_another_rule_of_ones_own(tmp_path):
    def fit(factor):
        learner = qs.MAML(qs.nets.MLP(1, [4], 1), rule=Scaled(factor))
        return qs.fit(learner, qs.tasks.Sinusoid(), steps=2, out=tmp_path / "run", exist="resume")

    fit(0.1)
    fit(0.1)
    with pytest.raises(ValueError, match=r"factor was 0\.1 and is now 0\.2"):
        fit(0.2)

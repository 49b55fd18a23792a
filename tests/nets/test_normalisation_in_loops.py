"""Layers that normalise by the support set, inside the inner loop: every engine against loops and moments by hand."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import quickstudy as qs
from quickstudy.nets import MetaBatchNorm, TaskNorm

RATE, STEPS = 0.1, 2
LAYERS = {
    "meta": lambda: MetaBatchNorm(4),
    "task, instance": lambda: TaskNorm(4),
    "task, layer": lambda: TaskNorm(4, kind="layer"),
}
layers = pytest.mark.parametrize("name", LAYERS)
ENGINES: dict[str, dict[str, Any]] = {
    "loop": {"engine": "loop"},
    "batched": {"engine": "batched"},
    "lowrank": {"engine": "lowrank"},
    "auto": {},
    "checkpoints": {"checkpoint": "every"},
    "mixed mode": {"mixed_mode": True},
    "mixed mode, checkpoints, task by task": {"engine": "loop", "mixed_mode": True, "checkpoint": "sqrt"},
}
engines = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture(autouse=True)
def exact() -> None:
    """Double precision."""
    torch.set_default_dtype(torch.float64)


class Net(nn.Module):
    """A convolution, the layer, a linear layer: `[N, 2, 5] -> [N, 1]`."""

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv1d(2, 4, 2), norm, nn.Linear(16, 1)
        if isinstance(norm, TaskNorm):
            nn.init.constant_(norm.scale, 0.2), nn.init.constant_(norm.offset, -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """One number a point."""
        return self.last(self.norm(self.first(x)).tanh().flatten(1))


def by_hand(name: str, w: dict[str, Tensor], support: Tensor, x: Tensor) -> Tensor:
    """`Net` at `x` with the weights `w`, normalised by the support points: without its layers."""
    seen, h = (nn.functional.conv1d(part, w["first.weight"], w["first.bias"]) for part in (support, x))
    mean, variance = seen.mean((0, 2), keepdim=True), seen.var((0, 2), correction=0, keepdim=True)
    if name != "meta":
        axes = (2,) if name == "task, instance" else (1, 2)
        own_mean, own_variance = h.mean(axes, keepdim=True), h.var(axes, correction=0, keepdim=True)
        alpha = torch.sigmoid(w["norm.scale"] * len(support) + w["norm.offset"])
        pooled = alpha * mean + (1 - alpha) * own_mean
        variance = alpha * (variance + (mean - pooled) ** 2) + (1 - alpha) * (own_variance + (own_mean - pooled) ** 2)
        mean = pooled
    h = (h - mean) / (variance + 1e-5).sqrt() * w["norm.weight"][:, None] + w["norm.bias"][:, None]
    return h.tanh().flatten(1) @ w["last.weight"].T + w["last.bias"]


def adapted_by_hand(name: str, net: nn.Module, x: Tensor, y: Tensor, steps: int = STEPS) -> dict[str, Tensor]:
    """One task's weights, with their graph."""
    w = dict(net.named_parameters())
    for _ in range(steps):
        loss = (by_hand(name, w, x, x) - y).square().sum(1).mean()
        slopes = torch.autograd.grad(loss, list(w.values()), create_graph=True)
        w = {k: v - RATE * g for (k, v), g in zip(w.items(), slopes, strict=True)}
    return w


def drawn(*sizes: tuple[int, int]) -> qs.Tasks:
    """Tasks of so many support and query points each."""
    pairs = [[(torch.randn(n, 2, 5), torch.randn(n, 1)) for n in task] for task in sizes]
    return qs.Tasks(*(qs.data.pad(list(part)) for part in zip(*pairs, strict=True)), {})  # type: ignore[attr-defined]


TASKS = {"equal": ((4, 3),) * 3, "unequal": ((4, 3), (6, 2), (4, 5))}


@layers
@engines
@pytest.mark.parametrize("sizes", TASKS)
def test_the_meta_gradient_is_that_of_the_loop_by_hand(name: str, engine: str, sizes: str) -> None:
    net, tasks = Net(LAYERS[name]()), drawn(*TASKS[sizes])
    losses = []
    for t in range(3):
        n, m = TASKS[sizes][t]
        w = adapted_by_hand(name, net, tasks.support.x[t, :n], tasks.support.y[t, :n])
        out = by_hand(name, w, tasks.support.x[t, :n], tasks.query.x[t, :m])
        losses.append((out - tasks.query.y[t, :m]).square().sum(1).mean())
    expected = torch.stack(losses).mean()
    learner = qs.MAML(net, lr=RATE, steps=STEPS, **ENGINES[engine])
    found = learner.meta_loss(tasks)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    own = list(net.parameters())
    pairs = zip(torch.autograd.grad(found, own), torch.autograd.grad(expected, own), strict=True)
    for got, slope in pairs:
        torch.testing.assert_close(got, slope, rtol=1e-9, atol=1e-9)


@layers
@pytest.mark.parametrize("engine", ["loop", "batched", "auto"])
def test_predictions_are_inductive(name: str, engine: str) -> None:
    net, tasks = Net(LAYERS[name]()), drawn(*TASKS["equal"])
    predictor = qs.MAML(net, lr=RATE, steps=STEPS, **ENGINES[engine]).adapt(tasks.support)
    whole = predictor(tasks.query.x).mean
    for t in range(3):
        w = adapted_by_hand(name, net, tasks.support.x[t], tasks.support.y[t])
        torch.testing.assert_close(whole[t], by_hand(name, w, tasks.support.x[t], tasks.query.x[t]))
    changed = tasks.query.x.clone()
    changed[:, 1] = 50.0
    torch.testing.assert_close(predictor(changed).mean[:, [0, 2]], whole[:, [0, 2]])
    torch.testing.assert_close(predictor(tasks.query.x[:, 2:]).mean, whole[:, 2:])
    turned = tasks.support._replace(x=tasks.support.x.flip(1), y=tasks.support.y.flip(1))
    torch.testing.assert_close(qs.MAML(net, lr=RATE, steps=STEPS).adapt(turned)(tasks.query.x).mean, whole)


@layers
def test_one_tasks_network_predicts_as_the_predictor_does(name: str) -> None:
    net, tasks = Net(LAYERS[name]()), drawn(*TASKS["unequal"])
    predictor = qs.MAML(net, lr=RATE, steps=STEPS).adapt(tasks.support)
    x = torch.randn(3, 4, 2, 5)
    expected = predictor(x).mean
    for t in range(3):
        alone = copy.deepcopy(predictor.task(t))
        torch.testing.assert_close(alone(x[t]), expected[t])
        torch.testing.assert_close(alone(x[t, :1]), expected[t, :1])


@layers
def test_before_adapting_the_support_points_normalise_too(name: str) -> None:
    net, tasks = Net(LAYERS[name]()), drawn(*TASKS["equal"])
    out = qs.inner_loop(net, lr=RATE)(tasks.support, steps=0)(tasks.query.x)
    own = dict(net.named_parameters())
    for t in range(3):
        torch.testing.assert_close(out[t], by_hand(name, own, tasks.support.x[t], tasks.query.x[t]))


@layers
def test_an_empty_support_set_and_no_steps_are_the_prior_and_finite(name: str) -> None:
    net, tasks = Net(LAYERS[name]()), drawn(*TASKS["equal"])
    learner = qs.MAML(net, lr=RATE)
    predictor = learner.adapt(tasks.support.first(0))
    out = predictor(tasks.query.x).mean
    assert out.isfinite().all()
    torch.testing.assert_close(predictor(tasks.query.x[:, :1]).mean, out[:, :1])
    before = learner.adapt(tasks.support, steps=0)
    for prior in (before, before.append(tasks.support)):
        assert torch.equal(prior(tasks.query.x).mean, out)


@layers
@pytest.mark.parametrize("mode", [True, False])
def test_the_users_network_keeps_nothing(name: str, mode: bool) -> None:
    net, tasks = Net(LAYERS[name]()).train(mode), drawn(*TASKS["equal"])
    before, state = dict(vars(net.norm)), copy.deepcopy(net.state_dict())
    learner = qs.MAML(net, lr=RATE, steps=STEPS).train(mode)
    learner.meta_loss(tasks).backward()
    learner.adapt(tasks.support)(tasks.query.x)
    learner.explain(tasks)
    assert vars(net.norm).keys() == before.keys() and net.norm.kept == () and net.norm.settled is None
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())


@layers
@pytest.mark.parametrize("kind", ["MAML++", "Reptile", "ANIL", "FOMAML"])
def test_other_learners_are_inductive_too(name: str, kind: str) -> None:
    make: dict[str, Any] = {"MAML++": qs.MAMLPlusPlus, "Reptile": qs.Reptile, "ANIL": qs.ANIL, "FOMAML": qs.FOMAML}
    tasks = drawn(*TASKS["equal"])
    learner = make[kind](Net(LAYERS[name]()), lr=RATE, steps=STEPS)
    learner.meta_loss(tasks).backward()
    predictor = learner.adapt(tasks.support)
    torch.testing.assert_close(predictor(tasks.query.x[:, :1]).mean, predictor(tasks.query.x).mean[:, :1])


def test_conv4_learns_digits_without_a_leak() -> None:
    """End to end: one query image alone is answered as among others."""
    torch.set_default_dtype(torch.float32)
    from quickstudy.recipes.digits.family import Digits

    tasks = Digits().sample(2, support=5, query=10, generator=torch.Generator().manual_seed(0))
    for norm in ("task", "meta", "group"):
        learner = qs.MAML(qs.nets.Conv4(1, 5, side=8, filters=16, norm=norm), lr=RATE, steps=STEPS)  # type: ignore[arg-type]
        learner.meta_loss(tasks).backward()
        predictor = learner.adapt(tasks.support)
        whole = predictor(tasks.query.x).logits  # type: ignore[attr-defined]
        alone = predictor(tasks.query.x[:, 3:4]).logits  # type: ignore[attr-defined]
        torch.testing.assert_close(alone, whole[:, 3:4], rtol=1e-3, atol=1e-4)

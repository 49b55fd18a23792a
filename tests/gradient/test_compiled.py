"""The compiled meta-gradient equals the eager one, is differentiable once, and says so when it cannot serve."""

import copy
import gc
import weakref

import pytest
import torch
from learner_table import LEARNERS, Lines, masked, net
from torch import nn

from quickstudy.compiling import compiled
from quickstudy.data import Examples, Tasks
from quickstudy.gradient.maml import MAML
from quickstudy.processes.cnp import CNP


def batch(seed=0):
    return Lines().sample(4, support=5, query=5, generator=torch.Generator().manual_seed(seed))


DETERMINISTIC = [
    "MAML",
    "MAML, learned noise",
    "FOMAML",
    "CAVIA",
    "MetaCurvature",
    "Reptile",
    "Reptile, support, learned noise",
    "Pretrained",
    "CNP",
    "NeuralProcess, deterministic",
]


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_compiled_equals_eager(name):
    learner = LEARNERS[name]()
    gradient = compiled.meta_gradient(learner, compile=True, backend="aot_eager")
    for seed in range(2):
        loss, grads = gradient(batch(seed))
        expected_loss, expected = compiled.meta_gradient(learner, compile=False)(batch(seed))
        torch.testing.assert_close(loss, expected_loss)
        for a, b in zip(grads, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_the_real_compiler_keeps_the_second_derivative():
    learner, tasks = MAML(net(), lr=0.3, steps=2, compile=True), batch()
    eager = MAML(learner.network, lr=0.3, steps=2)
    first_order = MAML(learner.network, lr=0.3, steps=2, first_order=True)
    loss = learner.meta_loss(tasks)
    torch.testing.assert_close(loss, eager.meta_loss(tasks), rtol=1e-5, atol=1e-6)

    def flat(learner, loss):
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(learner.parameters()))])

    found, exact = flat(learner, 3 * loss), 3 * flat(eager, eager.meta_loss(tasks))
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-6)
    assert (found - 3 * flat(first_order, first_order.meta_loss(tasks))).norm() > 0.01 * found.norm()
    with pytest.warns(RuntimeWarning, match="second derivative"):
        (grad, *_) = torch.autograd.grad(learner.meta_loss(tasks), list(learner.parameters()), create_graph=True)
    second = torch.autograd.grad(grad.sum(), learner.network.layers[0].weight)[0]
    (grad, *_) = torch.autograd.grad(eager.meta_loss(tasks), list(eager.parameters()), create_graph=True)
    torch.testing.assert_close(second, torch.autograd.grad(grad.sum(), eager.network.layers[0].weight)[0])


@pytest.mark.parametrize(
    ("learner", "change", "says"),
    [
        (
            lambda: MAML(net(), compile=True),
            lambda t: Tasks(Examples(t.support.x.requires_grad_(), t.support.y), t.query),
            "tasks require grad",
        ),
        (lambda: MAML(net(), compile=True), lambda t: Tasks(masked(t.support, [5, 5, 5, 1]), t.query), "masked"),
        (
            lambda: MAML(nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)), compile=True),
            lambda t: t,
            "buffers",
        ),
        (
            lambda: MAML(nn.Sequential(nn.Linear(1, 4), nn.Dropout(), nn.Linear(4, 1)), compile=True),
            lambda t: t,
            "dropout",
        ),
    ],
)
def test_falls_back_loudly(learner, change, says):
    with pytest.warns(RuntimeWarning, match=says):
        learner().meta_loss(change(batch())).backward()


def test_many_learners_and_many_shapes():
    """Torch allows 8 recompilations of one function; neither a ninth learner nor a ninth shape may run into that."""

    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.value = nn.Parameter(torch.zeros(()))

        def forward(self, tasks):
            return (tasks.query.y - self.value).square().mean()

    for _ in range(10):
        compiled.meta_gradient(Constant(), compile=True, backend="eager")(batch())
    learner = MAML(nn.Linear(1, 1), compile=True)
    learner.compiled_graphs.update({i: None for i in range(compiled.MOST_GRAPHS)})
    with pytest.warns(RuntimeWarning, match="batch shapes"):
        learner.meta_loss(batch()).backward()


def test_input_gradients_survive_the_fall_back():
    tasks = batch()
    tasks.support.y.requires_grad_()
    with pytest.warns(RuntimeWarning):
        MAML(net(), lr=0.1, compile=True).meta_loss(tasks).backward()
    assert tasks.support.y.grad.abs().sum() > 0


def test_the_choice_follows_shapes_and_steps():
    learner, tasks = MAML(net()), batch()
    assert compiled.should_compile(learner, 70_000, tasks)
    assert not compiled.should_compile(learner, 100, tasks)
    assert not compiled.should_compile(learner, 70_000, tasks, fixed_sizes=False)
    assert not compiled.should_compile(learner, 70_000, Tasks(masked(tasks.support, [5, 5, 5, 1]), tasks.query))
    assert not compiled.should_compile(
        MAML(nn.Sequential(nn.Linear(1, 4), nn.Dropout(), nn.Linear(4, 1))), 70_000, tasks
    )
    assert not compiled.should_compile(CNP(), 70_000, tasks)


def test_without_a_compiler_nothing_is_compiled(monkeypatch):
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    assert not compiled.should_compile(MAML(net()), 70_000, batch())


def test_freezing_a_layer_after_compiling_recompiles():
    learner, tasks = MAML(net(), lr=0.1), batch()
    gradient = compiled.meta_gradient(learner, compile=True, backend="eager")
    assert len(gradient(tasks)[1]) == 6
    learner.network.layers[0].requires_grad_(False)
    grads = gradient(tasks)[1]
    expected = compiled.meta_gradient(learner, compile=False)(tasks)[1]
    assert len(grads) == len(expected) == 4
    for a, b in zip(grads, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_copies_compile_their_own_and_nothing_lives_on():
    learner = MAML(net(), compile=True)
    learner.compiled_graphs["a shape"] = compiled.meta_gradient(learner, compile=True, backend="eager")
    assert not copy.deepcopy(learner).compiled_graphs
    last = weakref.ref(learner)
    del learner
    gc.collect()
    assert last() is None

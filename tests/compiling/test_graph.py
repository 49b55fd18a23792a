"""A traced graph is what eager torch does, second derivatives included; nothing it takes for granted may change."""

import pytest
import torch
from learner_table import Lines, net
from torch import nn

from quickstudy import tracing
from quickstudy.compiling import compiled, graph
from quickstudy.gradient.maml import MAML
from quickstudy.inner.fast import cost
from quickstudy.inner.optimizers import SGD
from quickstudy.training import gradients as training
from quickstudy.training.fit import fit


def second_derivative(x, y):
    x = x.detach().requires_grad_()
    (first,) = torch.autograd.grad((torch.sin(x) * y).sum(), x, create_graph=True)
    return torch.autograd.grad(first.square().sum(), x)[0], first.detach()


@pytest.mark.parametrize("backend", ["aot_eager", lambda traced, inputs: traced])
def test_autograd_inside_is_part_of_the_graph(backend):
    x, y = torch.linspace(-1, 1, 5), torch.linspace(1, 2, 5)
    found = graph.compile_graph(second_derivative, [x, y], backend)
    for shift in (0.0, 0.3):
        for a, b in zip(found(x + shift, y), second_derivative(x + shift, y), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize(
    "sizes",
    [
        (4, 1, 5),
        (4, 5, 1),
        (1, 4, 5),
        (1, 1, 1),
        (1, 5, 1),
        (3, 20, 5),
        (3, 5, 20),
        (20, 3, 5),
        (20, 3, 20),
        (3, 20, 20),
    ],
)
def test_small_products(sizes, batch):
    m, k, n = sizes
    a, b = torch.randn(*batch, m, k, dtype=torch.float64), torch.randn(*batch, k, n, dtype=torch.float64)
    traced = []
    found = graph.compile_graph(lambda a, b: (a @ b,), [a, b], lambda g, inputs: traced.append(g) or g)
    torch.testing.assert_close(found(a, b)[0], a @ b)
    products = [node for node in traced[0].graph.nodes if "mm" in str(node.target)]
    assert bool(products) == (sizes[-1] == 20 and sum(sizes) > 40)


def test_tracing_is_known_while_it_lasts():
    seen = []
    graph.compile_graph(lambda x: (seen.append(tracing.is_tracing()) or x + 1,), [torch.zeros(1)], "aot_eager")
    assert seen == [True] and not tracing.is_tracing()
    with tracing.rehearsing():
        assert tracing.is_for_graph()
    assert not tracing.is_for_graph()


def batch(seed=0):
    return Lines().sample(4, support=5, query=5, generator=torch.Generator().manual_seed(seed))


def broken(traced, inputs):
    """Changes a small part of the gradient."""

    def run(*tensors):
        loss, first, *rest = traced(*tensors)
        return loss, first * 1.1, *rest

    return run


def test_the_check_on_the_first_batch_catches_a_broken_backend():
    learner = MAML(net(), lr=0.1)
    training.compare(learner, compiled.meta_gradient(learner, compile=True, backend="aot_eager"), batch(), 0)
    with pytest.raises(RuntimeError, match="wrong on the first batch"):
        training.compare(learner, compiled.meta_gradient(learner, compile=True, backend=broken), batch(), 0)


def first_order(traced, inputs):
    """Loses the second-order term, as torch.compile did around a loss."""
    learner = MAML(net(), lr=0.1, first_order=True)
    names = [k for k, _ in learner.named_parameters()]

    def run(*tensors):
        with torch.enable_grad():
            state = {k: t.detach().requires_grad_() for k, t in zip(names, tensors, strict=False)}
            x, y, query_x, query_y = tensors[len(names) :]
            tasks = compiled.Tasks(compiled.Examples(x, y), compiled.Examples(query_x, query_y), {})
            loss = torch.func.functional_call(learner, state, (tasks,))
            return loss.detach(), *torch.autograd.grad(loss, list(state.values()))

    return run


def test_the_check_catches_a_lost_second_derivative():
    learner = MAML(net(), lr=0.1)
    with pytest.raises(RuntimeError, match="wrong on the first batch"):
        training.compare(learner, compiled.meta_gradient(learner, compile=True, backend=first_order), batch(), 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m, "steps", 3),
        lambda m: setattr(m.inner.rule, "lr", 0.5),
        lambda m: m.network.layers[0].requires_grad_(False),
        lambda m: setattr(m.network.layers[1], "weight", nn.Parameter(torch.zeros_like(m.network.layers[1].weight))),
        lambda m: m.eval(),
    ],
    ids=["steps", "rate", "frozen", "replaced", "mode"],
)
def test_a_changed_setting_gets_a_graph_of_its_own(change, monkeypatch):
    made = []

    def eager(function, inputs, backend):
        made.append(graph.compile_graph(function, inputs, "aot_eager"))
        return made[-1]

    monkeypatch.setattr(compiled, "compile_graph", eager)
    learner, tasks = MAML(net(), lr=0.1, compile=True), batch()
    learner.meta_loss(tasks).backward()
    learner.meta_loss(batch(1)).backward()
    assert len(made) == 1
    change(learner)
    learner.zero_grad()
    learner.meta_loss(tasks).backward()
    assert len(made) == 2
    found = [p.grad for p in learner.parameters()]
    expected = torch.autograd.grad(
        learner(tasks), [p for p in learner.parameters() if p.requires_grad], allow_unused=True
    )
    for a, b in zip([g for g in found if g is not None], expected, strict=True):
        torch.testing.assert_close(a, b)


class Forks(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(1, 4), nn.Linear(4, 1)

    def forward(self, x):
        h = self.one(x)
        return self.two(torch.tanh(2 * h if h.sum() > 0 else h))


@pytest.mark.filterwarnings("ignore:tasks run one by one")
def test_what_depends_on_values_falls_back_loudly(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "WORTH_COMPILING", 0)
    learner, tasks = MAML(Forks(), lr=0.1, compile=True), batch()
    with pytest.warns(RuntimeWarning, match="depends on the values"):
        learner.meta_loss(tasks).backward()
    with pytest.raises(ValueError, match="compile=True: what runs depends on the values"):
        fit(MAML(Forks()), Lines(), steps=2, out=tmp_path / "told", compile=True)
    run = fit(MAML(Forks()), Lines(), steps=1, out=tmp_path / "auto", compile="auto")
    assert run.config["compile"] is False


@pytest.mark.parametrize("rate", [[0.1, 0.2], {"*": 0.1}, torch.tensor(0.1)], ids=["list", "mapping", "tensor"])
def test_rates_of_every_kind_are_settings(rate):
    learner = MAML(net(), rule=SGD(rate), compile=True)
    before = compiled._settings(learner)
    assert before == compiled._settings(learner)
    if isinstance(rate, torch.Tensor):
        learner.inner.rule.lr.mul_(2)
    else:
        learner.inner.rule.lr[next(iter(rate)) if isinstance(rate, dict) else 0] = 0.5
    assert before != compiled._settings(learner)


def test_buffers_and_fixed_rates_are_read_anew():
    network = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).eval()
    learner = MAML(network, lr=0.1).eval()
    gradient = compiled.meta_gradient(learner, compile=True, backend="aot_eager")
    before = gradient(batch())[0]
    network[1].running_mean.add_(1.0)
    after, grads = gradient(batch())
    assert before != after
    expected, exact = compiled.meta_gradient(learner, compile=False)(batch())
    torch.testing.assert_close(after, expected)
    for a, b in zip(grads, exact, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("options", [{"chunk": 3}, {}], ids=["chunk", "what stays in the caches"])
def test_graphs_of_a_few_tasks_at_a_time_add_up(options, monkeypatch):
    made = []

    def eager(function, inputs, backend):
        made.append(len(inputs[-1]))
        return graph.compile_graph(function, inputs, "aot_eager")

    monkeypatch.setattr(compiled, "compile_graph", eager)
    monkeypatch.setattr(cost, "NEAR", 4 * 2 * 5 * (2 * 16 + 1))  # bytes of two tasks, as `net` puts them out
    learner, tasks = MAML(net(), lr=0.1, compile=True, **options), batch()
    learner.meta_loss(tasks).backward()
    assert made == ([3, 1] if options else [2])
    assert "2 tasks at a time" in str(learner.explain(tasks))
    loss, expected = compiled.meta_gradient(MAML(learner.network, lr=0.1), compile=False)(tasks)
    torch.testing.assert_close(learner.meta_loss(tasks), loss)
    for p, g in zip(learner.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, g)

"""Sparse gradients of embeddings, and sparse matrices in a network: as if they were dense."""

import pytest
import torch
from inner.crashes.oracle import ENGINES, adapted_modules, assert_close, expected, heard, meta, same
from torch import nn
from torch.nn import functional as F

import quickstudy as qs

ROWS, WIDTH = 6, 3
CURE = "sparse=False"  # what a refusal must name


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def words(num_tasks=2, support=4, query=3, length=2):
    """Tasks of `length` numbers of words a point; some stand twice, and some in one task alone."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, ROWS, (num_tasks, support + query, length), generator=generator)
    phase = torch.randn(num_tasks, 1, 1, generator=generator)
    y = torch.sin(x.sum(-1, keepdim=True) + phase)
    return qs.Tasks(qs.Examples(x[:, :support], y[:, :support]), qs.Examples(x[:, support:], y[:, support:]))


class OneTable(nn.Module):
    def __init__(self, sparse, **options):
        super().__init__()
        torch.manual_seed(1)
        self.table, self.last = nn.Embedding(ROWS, WIDTH, sparse=sparse, **options), nn.Linear(WIDTH, 1)

    def forward(self, x):
        return self.last(torch.tanh(self.table(x).sum(-2)))


class Product(nn.Module):
    """Users and items, a number for each pair: matrix factorisation, with biases that are tables, too."""

    def __init__(self, sparse):
        super().__init__()
        torch.manual_seed(1)
        self.user, self.item = (nn.Embedding(ROWS, WIDTH, sparse=sparse) for _ in range(2))
        self.bias = nn.Embedding(ROWS, 1, sparse=sparse)

    def forward(self, x):
        user, item = x.unbind(-1)
        return (self.user(user) * self.item(item)).sum(-1, keepdim=True) + self.bias(item)


class ByFunction(nn.Module):
    def __init__(self, sparse):
        super().__init__()
        torch.manual_seed(1)
        self.sparse = sparse
        self.table, self.last = nn.Parameter(torch.randn(ROWS, WIDTH)), nn.Linear(WIDTH, 1)

    def forward(self, x):
        return self.last(torch.tanh(F.embedding(x, self.table, sparse=self.sparse).mean(-2)))


class Gathered(ByFunction):
    def forward(self, x):
        places = x.reshape(-1, 1).expand(-1, WIDTH)
        rows = torch.gather(self.table, 0, places, sparse_grad=self.sparse)
        return self.last(torch.tanh(rows.view(*x.shape, WIDTH).sum(-2)))


class TiedTable(nn.Module):
    """The table is the output layer as well: a sparse gradient plus a dense one."""

    def __init__(self, sparse):
        super().__init__()
        torch.manual_seed(1)
        self.table, self.mix = nn.Embedding(ROWS, WIDTH, sparse=sparse), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        h = torch.tanh(self.mix(self.table(x).mean(-2)))
        return (h @ self.table.weight.t()).logsumexp(-1, keepdim=True)


class Rarely(nn.Module):
    """A table beside a dense network, read for large words only."""

    def __init__(self, sparse):
        super().__init__()
        torch.manual_seed(1)
        self.table, self.dense = nn.Embedding(2 * ROWS, 1, sparse=sparse), nn.Linear(2, 1)

    def forward(self, x):
        return self.dense(x.to(self.dense.weight.dtype)).tanh() + self.table(x.sum(-1))


NETWORKS = {
    "padding": lambda sparse: OneTable(sparse, padding_idx=0),
    "by its own rows": lambda sparse: OneTable(sparse, _weight=torch.linspace(-1, 1, ROWS * WIDTH).view(ROWS, WIDTH)),
    "product": Product,
    "function": ByFunction,
    "gather": Gathered,
    "tied": TiedTable,
    "rarely": Rarely,
}
OPTIONS = {
    "plain": {},
    "checkpoints": {"checkpoint": "every"},
    "mixed mode": {"mixed_mode": True},
    "chunks": {"chunk": 1},
    "minibatches": {"minibatch": 4},
}
every_network = pytest.mark.parametrize("kind", NETWORKS)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("engine", ENGINES)
@every_network
def test_second_order(engine, kind, option):
    tasks = words()
    wanted = expected(NETWORKS[kind](False), tasks)
    make = lambda: qs.MAML(NETWORKS[kind](True), lr=0.1, steps=2, engine=engine, **OPTIONS[option])  # noqa: E731
    same(engine, lambda: dense(meta(make(), tasks)), wanted, refusal=f"{CURE}|mixed_mode", warning="mixed_mode")


def dense(tensors):
    return [t.to_dense() if t.is_sparse else t for t in tensors]


@pytest.mark.parametrize("engine", ENGINES)
@every_network
def test_first_order(engine, kind):
    tasks = words()
    wanted = expected(NETWORKS[kind](False), tasks, graph=False)
    make = lambda: qs.FOMAML(NETWORKS[kind](True), lr=0.1, steps=2, engine=engine)  # noqa: E731
    same(engine, lambda: dense(meta(make(), tasks)), wanted, refusal=CURE)


@pytest.mark.parametrize("engine", ["loop", "auto"])
@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_bags(engine, mode):
    """`EmbeddingBag` has no second derivative in torch: first order is exact, second order refused."""

    class Bag(nn.Module):
        def __init__(self, sparse):
            super().__init__()
            torch.manual_seed(1)
            self.table, self.last = nn.EmbeddingBag(ROWS, WIDTH, mode=mode, sparse=sparse), nn.Linear(WIDTH, 1)

        def forward(self, x):
            return self.last(torch.tanh(self.table(x)))

    tasks = words()
    wanted = expected(Bag(False), tasks, graph=False)
    make = lambda kind: kind(Bag(True), lr=0.1, steps=2, engine=engine)  # noqa: E731
    same(engine, lambda: dense(meta(make(qs.FOMAML), tasks)), wanted, refusal=CURE)
    with pytest.raises(RuntimeError, match="not implemented|sparse=False"):
        heard(lambda: make(qs.MAML).meta_loss(tasks).backward())


RULES = {
    "momentum": lambda: qs.optimizers.SGD(0.1, momentum=0.9),
    "weight decay": lambda: qs.optimizers.SGD(0.1, weight_decay=0.1),
    "Adam": lambda: qs.optimizers.Adam(0.05, eps=1e-2),
    "RMSProp": lambda: qs.optimizers.RMSProp(0.05, eps=1e-2),
}


@pytest.mark.parametrize("engine", ["loop", "auto", "batched"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["padding", "product", "tied"])
def test_rules_take_a_sparse_gradient_as_a_dense_one(engine, rule, kind):
    tasks = words()
    wanted = meta(qs.MAML(NETWORKS[kind](False), rule=RULES[rule](), steps=3, engine="loop"), tasks)
    make = lambda: qs.MAML(NETWORKS[kind](True), rule=RULES[rule](), steps=3, engine=engine)  # noqa: E731
    same(engine, lambda: dense(meta(make(), tasks)), wanted, refusal=CURE)


@every_network
def test_predictions_and_training(kind):
    """`adapt`, one task's module, and an optimizer's step with the gradients that `backward` leaves."""
    tasks, network = words(), NETWORKS[kind](True)
    modules = adapted_modules(NETWORKS[kind](False), tasks.support)
    wanted = torch.stack([m(x) for m, x in zip(modules, tasks.query.x, strict=True)]).detach()
    learner = qs.MAML(network, lr=0.1, steps=2)
    try:
        predict, _ = heard(lambda: learner.adapt(tasks.support))
    except (RuntimeError, ValueError) as error:
        assert CURE in str(error), error
        return
    torch.testing.assert_close(predict(tasks.query.x).mean, wanted, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(predict.task(1)(tasks.query.x[1]).detach(), wanted[1], rtol=1e-9, atol=1e-10)
    heard(lambda: learner.meta_loss(tasks).backward())
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    wanted = expected(NETWORKS[kind](False), tasks)[1:]
    start = NETWORKS[kind](False).parameters()
    assert_close(
        [p.detach() for p in network.parameters()], [p.detach() - 0.1 * g for p, g in zip(start, wanted, strict=True)]
    )


# a sparse matrix that does not move: a graph


class Graph(nn.Module):
    """Two layers over a fixed graph, whose points are the points of the task."""

    def __init__(self, layout, where):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last = nn.Linear(2, WIDTH), nn.Linear(WIDTH, 1)
        edges = torch.eye(4) + torch.eye(4).roll(1, 0)
        edges = {"dense": edges, "coo": edges.to_sparse(), "csr": edges.to_sparse_csr()}[layout]
        if where == "buffer":
            self.register_buffer("edges", edges)
        elif where == "parameter":
            self.edges = nn.Parameter(edges, requires_grad=False)
        else:
            self.edges = edges

    def forward(self, x):
        h = torch.tanh(self.first(torch.mm(self.edges, x)))
        return self.last(torch.mm(self.edges, h))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("where", ["buffer", "attribute", "parameter"])
@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_graphs(engine, layout, where):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 8, 2, generator=generator), torch.randn(2, 8, 1, generator=generator)
    tasks = qs.Tasks(qs.Examples(x[:, :4], y[:, :4]), qs.Examples(x[:, 4:], y[:, 4:]))
    wanted = expected(Graph("dense", where), tasks)
    make = lambda: qs.MAML(Graph(layout, where), lr=0.1, steps=2, engine=engine)  # noqa: E731
    same(engine, lambda: meta(make(), tasks), wanted)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.parametrize("where", ["buffer", "attribute", "parameter"])
def test_predictions_on_graphs(where):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 8, 2, generator=generator), torch.randn(2, 8, 1, generator=generator)
    modules = adapted_modules(Graph("dense", where), qs.Examples(x[:, :4], y[:, :4]))
    wanted = torch.stack([m(x) for m, x in zip(modules, x[:, 4:], strict=True)]).detach()
    predict, _ = heard(lambda: qs.MAML(Graph("coo", where), lr=0.1, steps=2).adapt(qs.Examples(x[:, :4], y[:, :4])))
    torch.testing.assert_close(heard(lambda: predict(x[:, 4:]).mean)[0], wanted, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(predict.task(0)(x[0, 4:]).detach(), wanted[0], rtol=1e-9, atol=1e-10)

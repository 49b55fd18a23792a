"""Networks that use their weights in odd ways: caught or stacked, the meta-gradient is that of plain unrolling."""

import pytest
import torch
from inner.grid import InContext, assert_close, batch, mlp
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrizations, stateless

from quickstudy.gradient.maml import MAML


class Odd(nn.Module):
    """A network made of parts and a function of them."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.compute = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.compute(self, x)


def two(forward, first=lambda: nn.Linear(6, 6), width=6):
    """Two layers, the first read as `forward` says."""
    return lambda: Odd(lambda m, x: m.leave(forward(m.one, x)), one=first(), leave=nn.Linear(width, 1))


def sequence(x):
    return x.unflatten(1, (3, 2))


def categories(x):
    return (3 * x).round().long().clamp(-2, 2) + 2


def masked_attention(m, x):
    h = m.enter(sequence(x))
    later = torch.ones(3, 3, dtype=torch.bool).triu(1)
    h = h + m.mix(h, h, h, attn_mask=later, need_weights=False)[0]
    hidden = torch.tensor([False, False, True]).expand(len(x), 3)
    return m.leave(torch.tanh(h + m.mix(h, h, h, key_padding_mask=hidden)[0]).mean(1))


def cells(m, x):
    state = x.new_zeros(len(x), 4)
    for step in sequence(x).unbind(1):
        state = m.cell(step, state)
    return m.leave(state)


def counted(m, x):
    m.calls += 1
    m.average = 0.9 * m.average + 0.1 * x.mean(0)
    return m.leave(torch.tanh(m.one(x)[:, m.order] - m.average))


def as_often_as_points(m, x):
    for _ in range(len(x) - 3):
        x = torch.tanh(m.one(x))
    return m.leave(x)


def thrice(one, x):
    own, other = one.weight, one.bias.flip(0)
    return torch.tanh(F.linear(x, own, one.bias)) + torch.tanh(F.linear(x, own, other)) + torch.tanh(F.linear(x, own))


def conv(**options):
    return two(lambda c, x: torch.tanh(c(x.unflatten(1, (2, 3)))).flatten(1), lambda: nn.Conv1d(2, 3, 3, **options), 9)


class Weights(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(6, 6) / 3) for _ in range(3)])

    def forward(self, x):
        for i, weight in enumerate(self.weights):
            x = torch.tanh(F.linear(x, weight) if i % 2 else x @ weight)
        return x.sum(-1, keepdim=True)


NETWORKS = {
    "a list of weights": Weights,
    "called twice": two(lambda one, x: torch.tanh(one(x)) * torch.sin(one(2 * x.flip(-1)))),
    "called with three biases": two(thrice),
    "transposed": two(lambda one, x: torch.tanh(F.linear(x, one.weight.t(), one.bias))),
    "bias read again": two(lambda one, x: torch.tanh(one(x)) * one.bias),
    "weight decides the size": two(lambda one, x: torch.tanh(one(x)) * one.weight.square().mean()),
    "by keyword": two(lambda one, x: torch.tanh(F.linear(weight=one.weight, input=x, bias=one.bias))),
    "past torch.nn.functional": two(lambda one, x: torch.tanh(torch._C._nn.linear(x, one.weight, one.bias))),
    "as often as there are points": lambda: Odd(as_often_as_points, one=nn.Linear(6, 6), leave=nn.Linear(6, 1)),
    "a scalar parameter": lambda: Odd(
        lambda m, x: m.leave(torch.tanh(m.gain * x)), gain=nn.Parameter(torch.tensor(0.7)), leave=nn.Linear(6, 1)
    ),
    "embedding": two(lambda one, x: torch.tanh(one(categories(x))).flatten(1), lambda: nn.Embedding(5, 4), 24),
    "embedding and layer tied": lambda: Odd(
        lambda m, x: F.linear(torch.tanh(m.one(categories(x))).mean(1), m.one.weight).square().mean(-1, keepdim=True),
        one=nn.Embedding(5, 4),
    ),
    "padding same": conv(padding="same"),
    "padding same, around": conv(padding="same", padding_mode="circular"),
    "padding reflected": conv(padding=1, padding_mode="reflect"),
    "padding same, dilation, groups": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 3)),
        nn.Conv1d(2, 4, 3, padding="same", dilation=2, groups=2),
        nn.Flatten(),
        nn.Linear(12, 1),
    ),
    "convolution transposed": two(
        lambda c, x: torch.tanh(c(x.unflatten(1, (2, 3)))).flatten(1), lambda: nn.ConvTranspose1d(2, 3, 2), 12
    ),
    "convolution in three dimensions": two(
        lambda c, x: torch.tanh(c(x.reshape(-1, 1, 1, 2, 3))).flatten(1), lambda: nn.Conv3d(1, 2, (1, 2, 2)), 4
    ),
    "attention, masked": lambda: Odd(
        masked_attention,
        enter=nn.Linear(2, 4),
        mix=nn.MultiheadAttention(4, 2, batch_first=True),
        leave=nn.Linear(4, 1),
    ),
    "attention, keys of their own": lambda: Odd(
        lambda m, x: m.leave(torch.tanh(m.mix(m.enter(sequence(x)), sequence(x), sequence(x))[0]).mean(1)),
        enter=nn.Linear(2, 4),
        mix=nn.MultiheadAttention(4, 2, kdim=2, vdim=2, add_bias_kv=True, batch_first=True),
        leave=nn.Linear(4, 1),
    ),
    "orthogonal": lambda: nn.Sequential(parametrizations.orthogonal(nn.Linear(6, 6)), nn.Tanh(), nn.Linear(6, 1)),
    "buffers counted and replaced": lambda: Odd(
        counted,
        one=nn.Linear(6, 6),
        leave=nn.Linear(6, 1),
        calls=nn.Buffer(torch.tensor(0)),
        average=nn.Buffer(torch.zeros(6)),
        order=nn.Buffer(torch.arange(6).flip(0), persistent=False),
    ),
    "RMSNorm": lambda: mlp(nn.RMSNorm(6)),
    "PReLU": lambda: mlp(nn.PReLU(6)),
    "local response norm": lambda: mlp(nn.Unflatten(1, (2, 3)), nn.LocalResponseNorm(2), nn.Flatten()),
    "log softmax": lambda: mlp(nn.LogSoftmax(-1)),
    "max pooling": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 3, padding=1), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(12, 1)
    ),
    "no parameters": lambda: Odd(lambda m, x: x.sum(-1, keepdim=True)),
    "weight norm": lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 6)), nn.Tanh(), nn.Linear(6, 1)),
    "bilinear": two(lambda one, x: torch.tanh(one(x, x.flip(-1))), lambda: nn.Bilinear(6, 6, 4), 4),
    "RNN cell": lambda: Odd(cells, cell=nn.RNNCell(2, 4), leave=nn.Linear(4, 1)),
    "GRU cell": lambda: Odd(cells, cell=nn.GRUCell(2, 4), leave=nn.Linear(4, 1)),
}
SLOW = ("bilinear", "weight norm", "RNN cell", "GRU cell")  # torch batches them, and says that it does so slowly
OPTIONS = {"plain": {}, "mixed mode, checkpoints": {"mixed_mode": True, "checkpoint": 2}}


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def unrolled(network, tasks, steps, lr):
    """The meta-loss by its definition."""
    losses = []
    for i in range(tasks.num_tasks):
        params = dict(network.named_parameters())
        buffers = {k: b.clone() for k, b in network.named_buffers()}

        def loss(points, i=i, buffers=buffers):
            with stateless._reparametrize_module(network, {**params, **buffers}, tie_weights=True):
                out = network(points.x[i])
                buffers.update({k: b.detach() for k, b in network.named_buffers()})  # written into, or replaced
            return F.mse_loss(out, points.y[i])

        for _ in range(steps if params else 0):
            grads = torch.autograd.grad(loss(tasks.support), list(params.values()), create_graph=True)
            params = {k: p - lr * g for (k, p), g in zip(params.items(), grads, strict=True)}
        losses.append(loss(tasks.query))
    return torch.stack(losses).mean()


def gradient(loss, network):
    params = list(network.parameters())
    return torch.autograd.grad(loss, params) if params else []


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("name", NETWORKS)
def test_exact_however_the_weights_are_used(name):
    torch.manual_seed(1)
    network, tasks = NETWORKS[name](), batch()
    with sdpa_kernel(SDPBackend.MATH):
        expected_loss = unrolled(network, tasks, 3, 0.1)
        expected = gradient(expected_loss, network)
    for options in list(OPTIONS.values())[:2]:
        for engine in ("loop", "batched", "lowrank"):
            kept = [b.clone() for b in network.buffers()]
            loss = MAML(network, lr=0.1, steps=3, engine=engine, **options).meta_loss(tasks)
            found = gradient(loss, network)
            for b, k in zip(network.buffers(), kept, strict=True):
                b.copy_(k)
            torch.testing.assert_close(loss, expected_loss)
            assert_close(found, expected)


@pytest.mark.parametrize("name", [k for k in NETWORKS if k not in SLOW])
def test_auto_takes_them_without_a_warning(name):
    torch.manual_seed(1)
    network = NETWORKS[name]()
    network(torch.zeros(2, 6))
    assert MAML(network, lr=0.1, steps=2).meta_loss(batch()).isfinite()


def long_cells(m, x):
    state = x.new_zeros(len(x), 4), x.new_zeros(len(x), 4)
    for step in sequence(x).unbind(1):
        state = m.cell(step, state)
    return m.leave(state[0])


UNVECTORISED = {
    "LSTM cell": lambda: Odd(long_cells, cell=nn.LSTMCell(2, 4), leave=nn.Linear(4, 1)),
    "picks by values": lambda: Odd(
        lambda m, x: m.leave(torch.tanh(m.one(x))) + 0.1 * m.one(x)[m.one(x) > 0].sum(),
        one=nn.Linear(6, 6),
        leave=nn.Linear(6, 1),
    ),
    "asks for values": lambda: Odd(
        lambda m, x: m.leave(torch.tanh(x) if m.leave.bias.item() > 0 else torch.sin(x)), leave=nn.Linear(6, 1)
    ),
}


@pytest.mark.parametrize("name", UNVECTORISED)
def test_what_cannot_be_vectorised_falls_back_and_says_so(name):
    torch.manual_seed(1)
    network, tasks = UNVECTORISED[name](), batch()
    learner = MAML(network, lr=0.1, steps=3)
    with pytest.warns(RuntimeWarning, match="one by one"):
        loss = learner.meta_loss(tasks)
    expected = unrolled(network, tasks, 3, 0.1)
    torch.testing.assert_close(loss, expected)
    assert_close(gradient(loss, network), gradient(expected, network))
    assert learner.explain(tasks).engine == "loop"
    with pytest.raises(RuntimeError, match="vmap|atching rule"):
        MAML(network, lr=0.1, engine="batched").meta_loss(tasks)


@pytest.mark.parametrize("engine", ["loop", "batched", "lowrank", "auto"])
def test_a_context_that_every_layer_reads(engine):
    """Extra inputs are each task's own, from the first step on."""
    network, tasks = InContext(mlp()), batch()
    learner = MAML(network, lr=0.1, steps=2, inputs={"context": torch.zeros(6)}, adapt="context", engine=engine)
    adapted = learner.adapt(tasks.support).adapted
    assert adapted.params["context"].shape == (3, 6)
    assert torch.equal(adapted.params["network.0.weight"], network.network[0].weight.expand(3, 6, 6))
    for i in range(3):
        context = torch.zeros(6, requires_grad=True)
        for _ in range(2):
            loss = F.mse_loss(network(tasks.support.x[i], context), tasks.support.y[i])
            context = context - 0.1 * torch.autograd.grad(loss, context)[0]
        torch.testing.assert_close(adapted.params["context"][i], context.detach())

"""Whether a network mixes points is seen in its operations, not in what comes out for some points and weights."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

import quickstudy as qs
from quickstudy.inner.modules.mixing import mixes_points

POINTS = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
SEQUENCES = torch.randn(2, 6, 7, 4, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randint(0, 9, (2, 6, 5), generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(2, 6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def mixes(network, x=POINTS, sizes=(2, 7)):
    return mixes_points(network, qs.Examples(x, torch.zeros(*x.shape[:2], 1)), sizes)


class By(nn.Module):
    """`function(h)` between two layers."""

    def __init__(self, function):
        super().__init__()
        self.first, self.last, self.function = nn.Linear(3, 3), nn.Linear(3, 2), function
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        return self.last(self.function(self.first(x)))


def summed_in_place(h):
    total = torch.zeros(3)
    total += h.sum(0)
    return h * total


def summed_in_a_corner(h):
    """One number of a tensor is written; another view of it is read."""
    totals = torch.zeros(5)
    totals[2].add_(h.sum())
    return h + totals.view(5, 1).sum()


def every_second(h):
    """By whether there is an even number of points."""
    return h if len(h) % 2 else 2 * h


def in_turn(h):
    return torch.stack([h[i] + h[i - 1] for i in range(len(h))])


def shuffled(h):
    return h[torch.randperm(len(h))]


def as_others_are_large(h):
    return h / h.norm(dim=0, keepdim=True)


def whitened(h):
    return torch.linalg.solve(h.T @ h + torch.eye(3), h.T).T


def drawn_in(h):
    memory = torch.zeros(8, 3)
    memory[: len(h)] = h
    return h + memory.roll(1, 0)[: len(h)]


def ranked(h):
    return h + F.one_hot(h[:, 0].argsort(), len(h)).sum(0)[:, None]


MIXING = {
    "dead": lambda h: h + F.relu(h.mean(0) - 1e6),
    "weak": lambda h: torch.add(h, h.mean(0), alpha=1e-8),
    "first": lambda h: h - h[:1],
    "first two": lambda h: h - h[:2].mean(0),
    "convolution": lambda h: F.conv1d(h.T[None], torch.ones(3, 1, 3), padding=1, groups=3)[0].T,
    "softmax": lambda h: h * h.softmax(0),
    "any": lambda h: torch.where((h > 1e6).any(), h, 2 * h),
    "all tokens": lambda h: h + (h.abs() < 1e6).all(0),
    "read": lambda h: h - h.mean(0) if h.max() > 1e6 else h,
    "item": lambda h: h * float(h[0, 0] < 1e6),
    "count": lambda h: h / len(h),
    "root": lambda h: h * h.shape[0] ** -0.5,
    "table": lambda h: h * torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0])[len(h)],
    "from the end": lambda h: h + torch.arange(len(h)).flip(0)[:, None],
    "steps of one": lambda h: h + torch.linspace(0, 1, len(h))[:, None],
    "ones": lambda h: h * torch.ones_like(h).sum(0),
    "a number of points": lambda h: h * torch.tensor(float(len(h))),
    "outside torch": lambda h: h + torch.from_numpy(h.detach().numpy().max(0)),
    "cumulative": lambda h: h.cumsum(0),
    "pairwise": lambda h: torch.cdist(h, h).topk(2, largest=False).values.sum(1, keepdim=True) + h,
    "normalised": lambda h: F.batch_norm(h, None, None, training=True),
    "instance": lambda h: F.instance_norm(h.T[None])[0].T,
    **{f.__name__: f for f in (summed_in_place, summed_in_a_corner, every_second, in_turn, shuffled)},
    **{f.__name__: f for f in (as_others_are_large, whitened, drawn_in, ranked)},
}


@pytest.mark.parametrize("how", MIXING)
def test_these_mix(how):
    try:
        assert mixes(By(MIXING[how]))
    except RuntimeError:  # it cannot run on so few points: in doubt, which counts as mixing
        assert how == "table"


class Counts(By):
    """A buffer keeps a sum over the points, which no output shows."""

    def forward(self, x):
        self.count += x.sum()
        return super().forward(x)


def test_buffers_count_too():
    assert mixes(Counts(lambda h: h))


@pytest.mark.parametrize("function", [lambda h: h.mean(0), lambda h: h[:1], lambda h: h.T])
def test_outputs_are_one_of_each_point(function):
    network = nn.Module()
    network.forward = function
    assert mixes(network)


class Recurrent(nn.Module):
    def __init__(self, kind, first):
        super().__init__()
        self.layer, self.last, self.first = kind(4, 3, batch_first=first), nn.Linear(3, 1), first

    def forward(self, x):
        h = self.layer(x if self.first else x.transpose(0, 1))[0]
        return self.last(h[:, -1] if self.first else h[-1])


class Transformer(nn.Module):
    """With a class token, so that the number of points is asked for."""

    def __init__(self, first, dropout=0.0):
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=dropout, batch_first=first)
        self.layers, self.first = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), first
        self.last, self.token = nn.Linear(4, 1), nn.Parameter(torch.zeros(1, 1, 4))

    def forward(self, x):
        x = torch.cat([self.token.repeat(len(x), 1, 1), x], 1)
        h = self.layers(x if self.first else x.transpose(0, 1))
        return self.last(h[:, 0] if self.first else h[0])


class Words(nn.Module):
    """The mean of the words that are no padding, and their places."""

    def __init__(self):
        super().__init__()
        self.table, self.places, self.last = nn.Embedding(9, 4, padding_idx=0), nn.Parameter(torch.ones(8, 4)), None
        self.last = nn.Linear(4, 1)

    def forward(self, x):
        there = (x != 0)[..., None].float()
        h = self.table(x) + self.places[: x.shape[1]]
        return self.last((h * there).sum(1) / there.sum(1).clamp(min=1))


class Force(nn.Module):
    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, x):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]


class Mapped(Force):
    def forward(self, x):
        return torch.func.vmap(torch.func.grad(lambda point: self.energy(point).squeeze()))(x)


def into_a_buffer(h):
    out = torch.zeros(len(h), 5)
    out[:, :3] = h
    return out[:, :3]


def mlp(*middle):
    return nn.Sequential(nn.Linear(3, 4), *middle, nn.Linear(4, 2))


APART = {
    "layers": (lambda: mlp(nn.ReLU()), POINTS),
    "ours": (lambda: qs.nets.MLP(3, [4, 4], 2), POINTS),
    "layer norm": (lambda: mlp(nn.LayerNorm(4)), POINTS),
    "running statistics": (lambda: mlp(nn.BatchNorm1d(4)).eval(), POINTS),
    "dropout": (lambda: mlp(nn.Dropout(0.5)), POINTS),
    "weight norm": (lambda: nn.Sequential(weight_norm(nn.Linear(3, 2))), POINTS),
    "activations in place": (lambda: mlp(nn.ReLU(inplace=True)), POINTS),
    "half": (lambda: mlp(nn.GELU()).bfloat16(), POINTS.bfloat16()),
    "double": (lambda: mlp(nn.Softplus()).double(), POINTS.double()),
    "into a buffer": (lambda: By(into_a_buffer), POINTS),
    "places": (lambda: By(lambda h: h + torch.arange(len(h))[:, None]), POINTS),
    "softmax of each": (lambda: By(lambda h: h.softmax(-1)), POINTS),
    "a sum beside": (lambda: By(lambda h: (h, h.sum())[0]), POINTS),
    "images": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2)
        ),
        IMAGES,
    ),
    "words": (Words, TOKENS),
    "force": (Force, POINTS),
    "mapped": (Mapped, POINTS),
    **{
        f"{kind.__name__} {order}": (lambda kind=kind, order=order: Recurrent(kind, order == "first"), SEQUENCES)
        for kind in (nn.RNN, nn.GRU, nn.LSTM)
        for order in ("first", "last")
    },
    "transformer": (lambda: Transformer(True), SEQUENCES),
    "transformer, points second": (lambda: Transformer(False), SEQUENCES),
    "transformer with dropout": (lambda: Transformer(True, 0.1), SEQUENCES),
    "transformer in eval mode": (lambda: Transformer(True).eval(), SEQUENCES),
}


@pytest.mark.parametrize("kind", APART)
def test_these_do_not(kind):
    """Or unequal tasks would run grouped by size for nothing."""
    make, x = APART[kind]
    assert not mixes(make(), x, sizes=(1, 2, 7))


def test_nothing_is_left_behind():
    network, before = mlp(nn.BatchNorm1d(4)), torch.get_rng_state()
    kept = {k: t.clone() for k, t in network.state_dict().items()}
    assert mixes(network)
    assert all(torch.equal(t, kept[k]) for k, t in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), before)

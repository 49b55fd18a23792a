"""What an inner loop can be made of: engines, layers, options, rules, what moves, data, losses; and how to judge it."""

import itertools
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as F

import quickstudy as qs
from quickstudy.gradient.maml import MAML
from quickstudy.inner.optimizers import SGD, Adam, RMSProp
from quickstudy.inner.rates import Rates

ENGINES = ("loop", "batched", "lowrank", "auto")
OPTIONS = {
    "plain": {},
    "checkpoint every": {"checkpoint": "every"},
    "checkpoint sqrt": {"checkpoint": "sqrt"},
    "mixed mode": {"mixed_mode": True},
    "mixed mode, checkpoint 2": {"mixed_mode": True, "checkpoint": 2},
    "proximal": {"proximal": 0.3},
    "same masks": {"randomness": "same"},
    "first order": {"first_order": True},
    "truncate": {"truncate": 1},
}
NOT_A_DERIVATIVE = ("first order", "truncate")
RULES = {  # of the shapes of what may move
    "SGD": lambda shapes: SGD(0.1),
    "momentum": lambda shapes: SGD(0.1, momentum=0.8),
    "Nesterov": lambda shapes: SGD(0.1, momentum=0.8, nesterov=True, weight_decay=0.05),
    "learned rate": lambda shapes: SGD(nn.Parameter(torch.tensor(0.1))),
    "rate a step": lambda shapes: SGD([0.15, 0.0, 0.05], momentum=0.5),
    "rate a pattern": lambda shapes: SGD({"*weight": 0.1, "*bias": [0.05, 0.2], "*": torch.tensor(0.07)}),
    "rate a layer and step": lambda shapes: SGD(Rates(shapes, 0.1, per="layer", steps=2)),
    "rate a parameter": lambda shapes: SGD(Rates(shapes, 0.1, per="parameter", log=True)),
    "Adam": lambda shapes: Adam(nn.Parameter(torch.tensor(0.05)), eps=1e-2),
    "RMSProp": lambda shapes: RMSProp([0.02, 0.01], alpha=0.9, eps=1e-2),
}
DENSE_RULES = ("rate a parameter", "Adam", "RMSProp")
MOVES = ("everything", "a part", "with a context", "with a learned context", "the context alone")
DATA = ("all points", "unequal", "minibatch", "chunks", "other data at every step")
LOSSES = ("squared", "with a parameter", "objective and outer")


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix, self.leave = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 1)

    def forward(self, x):
        h = x[:, None] * torch.linspace(0.5, 1.5, 3)[:, None]
        return self.leave(torch.tanh(self.mix(h, h, h, need_weights=False)[0]).mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cell, self.leave = kind(1, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, x):
        return self.leave(self.cell(x.unsqueeze(-1))[0][:, -1])


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.leave = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 1)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.leave(torch.tanh(self.two(torch.tanh(self.one(x)))))


class ReadTwice(nn.Module):
    """A weight that is a layer's and is also read as a plain tensor: it must not be kept low-rank."""

    def __init__(self):
        super().__init__()
        self.one, self.leave = nn.Linear(6, 6), nn.Linear(6, 1)

    def forward(self, x):
        return self.leave(torch.tanh(F.linear(self.one(x), self.one.weight.t())))


class Partial(nn.Module):
    """A frozen layer, a parameter that the loss never sees, a buffer, and an operation in place."""

    def __init__(self):
        super().__init__()
        self.fixed, self.unused, self.leave = nn.Linear(6, 6), nn.Linear(2, 2), nn.Linear(6, 1)
        self.fixed.requires_grad_(False)
        self.register_buffer("shift", torch.linspace(-1, 1, 6))

    def forward(self, x):
        h = self.fixed(x)
        h.mul_(0.5).add_(self.shift)
        return self.leave(torch.tanh(h))


class InContext(nn.Module):
    """Any network with one more input, which is added to each point: what CAVIA adapts (arXiv 1810.03642)."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, context):
        return self.network(x + context)


def mlp(*middle):
    return nn.Sequential(nn.Linear(6, 6), *middle, nn.Tanh(), nn.Linear(6, 1))


def conv(*middle, **options):
    first = nn.Conv2d(2, 4, 2, **options)
    body = nn.Sequential(
        nn.Unflatten(1, (2, 3, 1)), nn.Upsample(scale_factor=(1, 3)), first, *middle, nn.Tanh(), nn.Flatten()
    )
    return nn.Sequential(body, nn.LazyLinear(1))


LAYERS = {
    "MLP": mlp,
    "LayerNorm": lambda: mlp(nn.LayerNorm(6)),
    "BatchNorm": lambda: mlp(nn.BatchNorm1d(6)),
    "GroupNorm": lambda: mlp(nn.GroupNorm(2, 6, eps=0.1)),
    "InstanceNorm": lambda: mlp(nn.Unflatten(1, (2, 3)), nn.InstanceNorm1d(2, affine=True, eps=0.1), nn.Flatten()),
    "dropout": lambda: mlp(nn.Dropout(0.3)),
    "attention": Attention,
    "transformer layer": lambda: nn.Sequential(
        nn.Unflatten(1, (3, 2)),
        nn.TransformerEncoderLayer(2, 1, 4, 0.0, activation="gelu", batch_first=True),
        nn.Flatten(),
        nn.Linear(6, 1),
    ),
    "tied weights": Tied,
    "weight read twice": ReadTwice,
    "frozen, unreached, buffer, in place": Partial,
    "GRU": lambda: Recurrent(nn.GRU),
    "LSTM": lambda: Recurrent(nn.LSTM),
    "conv1d": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 1)
    ),
    "conv2d, stride, padding": lambda: conv(nn.BatchNorm2d(4), stride=(1, 2), padding=1),
    "conv2d, groups": lambda: conv(groups=2),
}
RECURRENT = ("GRU", "LSTM")
AXES = {"layer": LAYERS, "option": OPTIONS, "rule": RULES, "moves": MOVES, "data": DATA, "loss": LOSSES}


class Scaled(nn.Module):
    """Squared error with a factor that is learned."""

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-0.2))

    def forward(self, output, y):
        return self.log_scale.exp() * (output - y).square().sum(-1)


def weighted(model, examples, outer):
    """Squared error with a learned weight for every point."""
    x, y, mask = examples
    errors = outer["log_weights"][: len(x)].exp() * (model(x) - y).square().sum(-1)
    return errors.mean() if mask is None else torch.where(mask, errors, 0.0).sum() / mask.sum().clamp_min(1)


class Study(nn.Module):
    """A meta-loss from the inner loop alone: data that change from step to step, and losses that are free."""

    def __init__(self, network, *, rule, other_data, loss, inputs=None, **options):
        super().__init__()
        self.network, self.rule, self.other_data, self.outer = network, rule, other_data, None
        self.inputs = nn.ParameterDict(
            {k: v if isinstance(v, nn.Parameter) else nn.Parameter(v, False) for k, v in (inputs or {}).items()}
        )
        if loss is weighted:
            self.outer = nn.ParameterDict({"log_weights": torch.linspace(-0.5, 0.5, 5)})
            options["objective"] = weighted
        else:
            self.loss = options["loss"] = loss
        self.inner = qs.inner_loop(network, rule=rule, inputs=self.inputs, **options)

    def meta_loss(self, tasks):
        outer = None if self.outer is None else dict(self.outer)
        if self.other_data:

            def batch(step, adapted):
                x, y, _ = tasks.support
                return qs.Examples(x.roll(step, 1) * (1 + 0.1 * step), y.roll(step, 1) - 0.1 * step)

            adapted = self.inner(batch=batch, num_tasks=tasks.num_tasks, outer=outer)
        else:
            adapted = self.inner(tasks.support, outer=outer)
        return adapted.evaluate(self.inner.objective or self.inner.point_loss, tasks.query).mean()


def refused(engine, case):
    """What cannot go together, by design: it is refused, or has no batching rule in torch."""
    layer, _, rule, *_ = case
    return (engine == "lowrank" and rule in DENSE_RULES) or (layer in RECURRENT and engine in ("batched", "lowrank"))


def legal(case):
    """Whether such a study can be built at all: chunks belong to the learners, which have no objective."""
    return not {"chunks", "objective and outer"} <= set(case)


def pairs(case) -> set:
    return set(itertools.combinations(enumerate(case), 2))


def covering(axes) -> Iterator[tuple]:
    """Few legal cases which hold every legal pair: each is built around a pair still missing, to hold many more."""
    axes = [list(axis) for axis in axes]
    both = itertools.combinations(range(len(axes)), 2)
    left = {((i, a), (j, b)): None for i, j in both for a in axes[i] for b in axes[j] if legal((a, b))}
    while left:
        case = dict(next(iter(left)))
        for i in sorted(set(range(len(axes))) - set(case), key=lambda i: -len(axes[i])):

            def gain(value, i=i, case=case):
                pairs = [tuple(sorted(((i, value), other))) for other in case.items()]
                return sum(pair in left for pair in pairs) if legal((*case.values(), value)) else -1

            case[i] = max(axes[i], key=gain)
        found = tuple(case[i] for i in range(len(axes)))
        for pair in pairs(found):
            left.pop(pair, None)
        yield found


def build(engine, case, steps=3, **more):
    """The learner of a case, the same each time, with more options if wanted."""
    layer, option, rule, moves, data, loss = case
    torch.manual_seed(4)
    network = LAYERS[layer]()
    network(torch.zeros(2, 6))
    options = {"steps": steps, "engine": engine, **OPTIONS[option]}
    context = torch.linspace(-0.3, 0.3, 6)
    if "context" in moves:
        network = InContext(network)
        options["inputs"] = {"context": nn.Parameter(context) if "learned" in moves else context}
    names = {k: list(p.shape) for k, p in network.named_parameters()}
    if moves == "a part":
        options["adapt"] = [k for k, p in network.named_parameters() if p.requires_grad][::2]
    if moves == "the context alone":
        options["adapt"] = "context"
    options["rule"] = RULES[rule]({**names, "context": [6]} if "context" in moves else names)
    options |= {"minibatch": {"minibatch": 3}, "chunks": {"chunk": 2}}.get(data, {}) | more
    judge = {"squared": None, "with a parameter": Scaled(), "objective and outer": weighted}[loss]
    if judge is weighted or data == "other data at every step":
        return Study(network, loss=judge, other_data=data == "other data at every step", **options)
    return MAML(network, loss=judge, **options)


def batch(data="all points", sizes=(5, 3, 5)):
    """Three tasks of five support and four query points; "unequal" ones have so many support points."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(3, 9, 6, generator=g)
    y = torch.sin(x.sum(-1, keepdim=True) + torch.randn(3, 1, 1, generator=g))
    mask = torch.arange(5) < torch.tensor(sizes)[:, None] if data == "unequal" else None
    return qs.Tasks(qs.Examples(x[:, :5], y[:, :5], mask), qs.Examples(x[:, 5:], y[:, 5:]))


def loss_and_gradient(learner, tasks):
    """With the statistics put back, so that every call sees the same network."""
    torch.manual_seed(9)
    kept = [b.clone() for b in learner.buffers()]
    params = [p for p in learner.parameters() if p.requires_grad]
    loss = learner.meta_loss(tasks)
    grads = torch.autograd.grad(loss, params, allow_unused=True)
    for b, k in zip(learner.buffers(), kept, strict=True):
        b.copy_(k)
    return loss.item(), [torch.zeros_like(p) if g is None else g for g, p in zip(grads, params, strict=True)]


def assert_close(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def assert_is_the_slope(learner, grads, tasks, h):
    slope, along = difference(learner, tasks, h)
    found = sum((g * d).sum() for g, d in zip(grads, along, strict=True)).item()
    size = max(abs(slope), sum(g.square().sum() for g in grads).sqrt().item())
    assert abs(found - slope) <= 1e-6 * size, (found, slope)


def difference(learner, tasks, h):
    """The meta-loss's slope along a random direction, by central differences of fourth order; and the direction."""
    params = [p for p in learner.parameters() if p.requires_grad]
    generator = torch.Generator().manual_seed(1)
    along = [torch.randn(p.shape, generator=generator) for p in params]
    start = [p.detach().clone() for p in params]

    def at(step):
        with torch.no_grad():
            for p, s, d in zip(params, start, along, strict=True):
                p.copy_(s + step * d)
        torch.manual_seed(9)
        kept = [b.clone() for b in learner.buffers()]
        loss = learner.meta_loss(tasks).item()
        for b, k in zip(learner.buffers(), kept, strict=True):
            b.copy_(k)
        return loss

    return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h), along

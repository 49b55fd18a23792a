"""Engines, options, rules and layers, every pair of them: exact against finite differences, and all engines agree.

A loss that is differentiated once more is at stake, so the oracle is a fourth-order central difference of the meta-loss
along a random direction, in float64. Where the gradient is by definition not the derivative of the loss (first order,
truncation), the loop engine is the oracle, itself checked in test_exact.py.
"""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import quickstudy as qs
from quickstudy.gradient.maml import MAML
from quickstudy.gradient.optimizers import SGD, Adam, Rates, RMSProp

ENGINES = ("loop", "batched", "lowrank", "auto")
OPTIONS = {
    "plain": {},
    "checkpoint every": {"checkpoint": "every"},
    "checkpoint sqrt": {"checkpoint": "sqrt"},
    "mixed mode": {"mixed_mode": True},
    "mixed mode, checkpoint 2": {"mixed_mode": True, "checkpoint": 2},
    "chunk": {"chunk": 2},
    "minibatch": {"minibatch": 3},
    "proximal": {"proximal": 0.3},
    "same masks": {"randomness": "same"},
    "first order": {"first_order": True},
    "truncate": {"truncate": 1},
}
NOT_A_DERIVATIVE = ("first order", "truncate")
RULES = {
    "SGD": lambda net: SGD(0.1),
    "momentum": lambda net: SGD(0.1, momentum=0.8),
    "Nesterov": lambda net: SGD(0.1, momentum=0.8, nesterov=True, weight_decay=0.05),
    "rate a layer and step": lambda net: SGD(Rates(net, 0.1, per="layer", steps=2)),
    "rate a parameter": lambda net: SGD(Rates(net, 0.1, per="parameter")),
    "Adam": lambda net: Adam(0.05, eps=1e-2),
    "RMSProp": lambda net: RMSProp(0.02, alpha=0.9, eps=1e-2),
}
DENSE_RULES = ("rate a parameter", "Adam", "RMSProp")


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


def refused(case):
    """What cannot go together, by design (and is refused, or has no batching rule in torch)."""
    engine, option, rule, layer = case
    if engine == "lowrank" and rule in DENSE_RULES:
        return True
    if layer in RECURRENT and engine in ("batched", "lowrank"):
        return True
    return layer == "LSTM" and option.startswith("mixed")  # torch has no forward mode for it


def pairs(case):
    return {(i, case[i], j, case[j]) for i, j in itertools.combinations(range(4), 2)}


def covering():
    """Few cases that hold every pair which any legal case holds: greedily, the one with most new pairs next."""
    legal = [c for c in itertools.product(ENGINES, OPTIONS, RULES, LAYERS) if not refused(c)]
    left, chosen = set().union(*map(pairs, legal)), []
    while left:
        best = max(legal, key=lambda c: len(pairs(c) & left))
        chosen.append(best)
        left -= pairs(best)
    return chosen


CASES = covering()


def build(case, engine=None):
    chosen, option, rule, layer = case
    torch.manual_seed(4)
    network = LAYERS[layer]()
    network(torch.zeros(2, 6))
    return MAML(network, steps=3, rule=RULES[rule](network), engine=engine or chosen, **OPTIONS[option])


def batch(seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 9, 6, generator=g)
    y = torch.sin(x.sum(-1, keepdim=True) + torch.randn(3, 1, 1, generator=g))
    return qs.Tasks(qs.Examples(x[:, :5], y[:, :5]), qs.Examples(x[:, 5:], y[:, 5:]))


def loss_and_gradient(learner, tasks):
    """With the statistics put back, so that every call sees the same network."""
    torch.manual_seed(9)
    kept = [b.clone() for b in learner.buffers()]
    params = [p for p in learner.parameters() if p.requires_grad]
    loss = learner.meta_loss(tasks)
    grads = torch.autograd.grad(loss, params, allow_unused=True)
    for b, k in zip(learner.buffers(), kept, strict=True):
        b.copy_(k)
    return loss.item(), [torch.zeros_like(p) if g is None else g for g, p in zip(grads, params, strict=True)], params


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def test_every_legal_pair_is_covered():
    legal = [c for c in itertools.product(ENGINES, OPTIONS, RULES, LAYERS) if not refused(c)]
    assert set().union(*map(pairs, CASES)) == set().union(*map(pairs, legal))
    singles = {value for case in CASES for value in case}
    assert singles == {*ENGINES, *OPTIONS, *RULES, *LAYERS}


@pytest.mark.parametrize("case", CASES, ids=" | ".join)
def test_exact(case):
    learner, tasks = build(case), batch()
    _, grads, params = loss_and_gradient(learner, tasks)
    if case[1] in NOT_A_DERIVATIVE:
        oracle = build(case, engine="loop")
        if case[3] != "dropout":
            _, expected, _ = loss_and_gradient(oracle, tasks)
            for a, b in zip(grads, expected, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
        return
    generator = torch.Generator().manual_seed(1)
    along = [torch.randn(p.shape, generator=generator) for p in params]
    start = [p.detach().clone() for p in params]

    def at(step):
        with torch.no_grad():
            for p, s, d in zip(params, start, along, strict=True):
                p.copy_(s + step * d)
        return loss_and_gradient(learner, tasks)[0]

    h = 1e-4 if case[2] not in ("Adam", "RMSProp") else 2e-6
    slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    found = sum((g * d).sum() for g, d in zip(grads, along, strict=True)).item()
    size = max(abs(slope), sum(g.square().sum() for g in grads).sqrt().item())
    assert abs(found - slope) <= 1e-6 * size, (found, slope)


@pytest.mark.parametrize("layer", [k for k in LAYERS if k not in RECURRENT and k != "dropout"])
@pytest.mark.parametrize("option", [k for k in OPTIONS if k not in ("plain", "chunk", "same masks")])
def test_engines_agree(layer, option):
    tasks = batch()
    _, expected, _ = loss_and_gradient(build(("loop", option, "Nesterov", layer)), tasks)
    for engine in ("batched", "lowrank"):
        _, found, _ = loss_and_gradient(build((engine, option, "Nesterov", layer)), tasks)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_the_same_dropout_masks_are_the_same_in_every_engine():
    tasks = batch()
    _, expected, _ = loss_and_gradient(build(("loop", "same masks", "SGD", "dropout")), tasks)
    for engine in ("batched", "lowrank"):
        _, found, _ = loss_and_gradient(build((engine, "same masks", "SGD", "dropout")), tasks)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rule", DENSE_RULES)
def test_lowrank_refuses_what_is_not_linear(rule):
    with pytest.raises(ValueError, match="linear in the gradients"):
        build(("lowrank", "plain", rule, "MLP"))


def test_unequal_tasks_agree_between_engines():
    tasks = batch()
    mask = torch.arange(5) < torch.tensor([5, 2, 0])[:, None]
    unequal = qs.Tasks(qs.Examples(tasks.support.x, tasks.support.y, mask), tasks.query)
    for layer in ("MLP", "BatchNorm", "attention"):
        case = ("loop", "plain", "momentum", layer)
        _, expected, _ = loss_and_gradient(build(case), unequal)
        for engine in ("batched", "lowrank", "auto"):
            _, found, _ = loss_and_gradient(build(case, engine=engine), unequal)
            for a, b in zip(found, expected, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)

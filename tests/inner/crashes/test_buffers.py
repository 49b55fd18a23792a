"""Running statistics and other buffers that a network writes, beside random layers, in training mode."""

import copy
import itertools

import pytest
import torch
from inner.crashes.oracle import ENGINES, adapt, assert_close, batch, expected, heard, judge, learned, meta, mlp, one
from torch import nn

import quickstudy as qs


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


class Noise(nn.Module):
    """Gaussian noise in training."""

    def forward(self, x):
        return x + 0.1 * torch.randn_like(x) if self.training else x


class LayerDrop(nn.Module):
    """A layer that is left out at random, by a factor: no branch."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return x + self.layer(x) * (torch.rand(()) < 0.5) if self.training else x + self.layer(x)


class Averaged(nn.Module):
    """A home-made average of what passes, written in place, with a count in whole numbers."""

    def __init__(self, width):
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        if self.training:
            self.mean.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
            self.count += 1
        return x - self.mean


class Replaced(Averaged):
    """The same, by other tensors in the place of the buffers."""

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
            self.count = self.count + 1
        return x - self.mean


class Writes(Averaged):
    """Writes, and reads it in eval mode alone."""

    def forward(self, x):
        passed = super().forward(x)
        return x if self.training else passed


class WithGraph(Averaged):
    """Careless: what is kept carries the graph of the pass."""

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return x - self.mean


def batch_norm(**options):
    return nn.BatchNorm1d(3, **options)


STATISTICS = {
    "batch norm": batch_norm,
    "no momentum": lambda: batch_norm(momentum=None),
    "not affine": lambda: batch_norm(affine=False),
    "instance norm": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 3)), nn.InstanceNorm1d(1, affine=True, track_running_stats=True), nn.Flatten()
    ),
    "spectral norm": lambda: torch.nn.utils.spectral_norm(nn.Linear(3, 3)),
    "spectral parametrisation": lambda: torch.nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)),
    "average": lambda: Averaged(3),
    "replaced": lambda: Replaced(3),
    "writes": lambda: Writes(3),
    "with graph": lambda: WithGraph(3),
}
CHANCE = {
    "nothing": lambda: nn.Identity(),
    "dropout": lambda: nn.Dropout(0.4),
    "alpha dropout": lambda: nn.AlphaDropout(0.3),
    "noise": Noise,
    "layer drop": lambda: LayerDrop(nn.Linear(3, 3)),
    "rrelu": lambda: nn.RReLU(0.1, 0.9),
    "random gate": lambda: Gate(),
}
OPTIONS = {
    "plain": {},
    "mixed mode": {"mixed_mode": True},
    "checkpoints": {"checkpoint": "every"},
    "mixed mode, checkpoints": {"mixed_mode": True, "checkpoint": 2},
    "chunks": {"chunk": 1},
}


class Gate(nn.Module):
    """Bernoulli gates and uniform numbers together."""

    def forward(self, x):
        return x * torch.bernoulli(torch.full_like(x, 0.7)) + 0.1 * torch.rand_like(x) if self.training else x


def network_of(statistics, chance):
    torch.manual_seed(1)
    return mlp(STATISTICS[statistics](), CHANCE[chance]())


def kept(module):
    return copy.deepcopy(dict(module.named_buffers()))


def put_back(module, buffers):
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            buffer.copy_(buffers[name])


def seeded(learner, tasks, buffers):
    """Every call with the same random numbers and the same network."""
    put_back(learner.network, buffers)
    torch.manual_seed(9)
    found, said = heard(lambda: meta(learner, tasks, learned(learner.network)))
    return found, said


def slope(learner, tasks, buffers, along, h=1e-4):
    """Along a direction, by central differences of fourth order; of the learner's own loss."""
    params = learned(learner.network)
    start = [p.detach().clone() for p in params]

    def at(step):
        with torch.no_grad():
            for p, s, d in zip(params, start, along, strict=True):
                p.copy_(s + step * d)
        put_back(learner.network, buffers)
        torch.manual_seed(9)
        return heard(lambda: learner.meta_loss(tasks).item())[0]

    found = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    at(0.0)
    return found


def allowed(engine, error):
    """An engine that was asked for by name may refuse, with the cure."""
    if engine not in ("batched", "lowrank") or ("'loop'" not in str(error) and "engine='auto'" not in str(error)):
        raise error


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("statistics", STATISTICS)
def test_without_chance_all_is_the_unrolled_loop(engine, statistics, option):
    """To 1e-9: gradients, and the statistics that `meta_loss` leaves (the mean over tasks of what each one left)."""
    network, tasks = network_of(statistics, "nothing"), batch()
    buffers = kept(network)
    wanted, left = expected(network, tasks), buffers_left(network, tasks)
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine, **OPTIONS[option])
    try:
        found, said = seeded(learner, tasks, buffers)
    except (RuntimeError, ValueError) as error:
        allowed(engine, error)
        return
    assert_close(found, wanted)
    for name, buffer in network.named_buffers():
        assert not buffer.requires_grad and buffer.dtype == buffers[name].dtype
        torch.testing.assert_close(buffer, left[name], rtol=1e-9, atol=1e-10)
    assert engine == "auto" or not [line for line in said if "mixed_mode" not in line]


def buffers_left(network, tasks):
    found = []
    for i in range(tasks.num_tasks):
        weights, buffers = adapt(network, one(tasks.support, i), graph=False)
        found.append(judge(network, weights, buffers, set(), squared, one(tasks.query, i))[1])
    means = {k: torch.stack([b[k] for b in found]) for k in found[0]}
    return {k: b.mean(0) if b.is_floating_point() else b[0] for k, b in means.items()}


def squared(model, examples, outer=None):
    return (model(examples.x) - examples.y).square().sum(-1).mean()


# (what is not read in training: a value that is detached and read has a slope, and no gradient)
UNREAD = ("batch norm", "no momentum", "not affine", "instance norm", "writes")
PAIRS = list(itertools.product(UNREAD, [c for c in CHANCE if c != "nothing"]))
WAYS = ("mixed mode", "mixed mode, checkpoints", "checkpoints")
CASES = [(*pair, WAYS[i % 3]) for i, pair in enumerate(PAIRS)] + [("no momentum", "dropout", way) for way in WAYS[1:]]


@pytest.mark.parametrize("engine", ["loop", "auto", "batched"])
@pytest.mark.parametrize(("statistics", "chance", "option"), CASES)
def test_beside_chance_the_gradient_is_the_slope(engine, statistics, chance, option):
    """What is run again draws the same numbers and begins with the same statistics."""
    network, tasks = network_of(statistics, chance), batch()
    assert_is_the_slope(qs.MAML(network, lr=0.1, steps=2, engine=engine, **OPTIONS[option]), tasks, engine)


def assert_is_the_slope(learner, tasks, engine):
    network, buffers = learner.network, kept(learner.network)
    try:
        found, _ = seeded(learner, tasks, buffers)
    except (RuntimeError, ValueError) as error:
        allowed(engine, error)
        return
    torch.manual_seed(3)
    along = [torch.randn_like(p) for p in learned(network)]
    along_found = sum((g * d).sum() for g, d in zip(found[1:], along, strict=True)).item()
    size = max(1e-2, sum(g.square().sum() for g in found[1:]).sqrt().item())
    assert abs(along_found - slope(learner, tasks, buffers, along)) <= 1e-6 * size


@pytest.mark.parametrize("engine", ["loop", "batched"])  # "auto" might take the one for some and the other for others
@pytest.mark.parametrize("chance", ["dropout", "noise", "random gate"])
@pytest.mark.parametrize("statistics", ["batch norm", "average", "replaced", "spectral norm"])
def test_options_do_not_change_the_numbers(engine, statistics, chance):
    """With one seed, all ways of keeping less give what plain unrolling in the same engine gives."""
    tasks, found = batch(), {}
    for option in ("plain", *WAYS):
        network = network_of(statistics, chance)
        learner = qs.MAML(network, lr=0.1, steps=2, engine=engine, **OPTIONS[option])
        buffers = kept(network)
        try:
            found[option] = [*seeded(learner, tasks, buffers)[0], *map(torch.clone, network.buffers())]
        except (RuntimeError, ValueError) as error:
            allowed(engine, error)
    for option in found:
        for a, b in zip(found[option], found.get("plain", found[option]), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("chance", ["nothing", "dropout"])
@pytest.mark.parametrize("statistics", STATISTICS)
def test_adapting_leaves_none(statistics, chance, option):
    """`adapt` and the predictor write into copies; so does a loss of eval mode."""
    network, tasks = network_of(statistics, chance), batch()
    buffers = kept(network)
    learner = qs.MAML(network, lr=0.1, steps=2, **OPTIONS[option])
    predict, _ = heard(lambda: learner.adapt(tasks.support))
    heard(lambda: predict(tasks.query.x))
    heard(lambda: predict.adapted.losses(tasks.query))
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, buffers[name]), name
    network.eval()
    heard(lambda: learner.meta_loss(tasks).backward())
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, buffers[name]), name


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("option", ["mixed mode", "checkpoints", "mixed mode, checkpoints"])
def test_buffers_of_every_type(engine, option):
    """Whole numbers, truth values, complex numbers and nothing at all beside dropout: none needs a gradient."""

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp(nn.Dropout(0.3))
            self.register_buffer("steps", torch.zeros((), dtype=torch.int32))
            self.register_buffer("seen", torch.zeros(3, dtype=torch.bool))
            self.register_buffer("wave", torch.zeros(2, dtype=torch.complex128))
            self.register_buffer("empty", torch.zeros(0))
            self.register_buffer("short", torch.zeros(2, dtype=torch.float16))
            self.register_buffer("none", None)
            self.register_buffer("passing", torch.ones(1), persistent=False)

        def forward(self, x):
            if self.training:
                self.steps += 1
                self.seen = self.seen | (x.mean() > 0)
                self.wave = self.wave + torch.complex(x.mean(0), x.std(0)).detach()
                self.passing *= 0.9
            return self.body(x) * self.passing + self.wave.real.sum()

    network, tasks = Mixed(), batch()
    types = {k: b.dtype for k, b in network.named_buffers()}
    assert_is_the_slope(qs.MAML(network, lr=0.1, steps=2, engine=engine, **OPTIONS[option]), tasks, engine)
    assert {k: b.dtype for k, b in network.named_buffers()} == types

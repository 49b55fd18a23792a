"""Padding changes nothing, in whichever way a network mixes the points of a task.

Unequal tasks share a pass only if no point's output depends on another point, or on how many there are.
"""

import pytest
import torch
from inner.faults.oracle import (
    every_way,
    no_other_warnings,
    points,
)
from inner.faults.unequal import alone, judge_unequal, loop_of, some_unequal
from torch import nn

import quickstudy as qs


class Mixes(nn.Module):
    """`how(self, h)` mixes the features of the points, or some of them, between two layers."""

    def __init__(self, how):
        super().__init__()
        self.first, self.last, self.how = nn.Linear(3, 4), nn.Linear(4, 2), how
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.last(torch.tanh(self.how(self, self.first(x))))


# points see each other


def largest(network, h):
    return h - h.amax(0)


def smallest_and_largest(network, h):
    return torch.cat([h[:, :2] - h[:, :2].amin(0), h[:, 2:] - h[:, 2:].amax(0)], 1)


def median(network, h):
    return h - h.median(0).values


def middle_two(network, h):
    return h + h.sort(0).values[len(h) // 2 - 1 : len(h) // 2 + 1].mean(0)


def sharp_attention(network, h):
    return h + (20 * h @ h.t()).softmax(-1) @ h


def winner(network, h):
    """Only the point with the largest first feature is seen by others."""
    return h + h[h[:, 0].argmax()]


def from_before(network, h):
    """Every point sees the one before it."""
    return h + torch.cat([h[:1] * 0, h[:-1]])


def from_after(network, h):
    return h + torch.cat([h[1:], h[:1] * 0])


def so_far(network, h):
    return h - h.cumsum(0) / torch.arange(1, len(h) + 1)[:, None]


def in_pairs(network, h):
    other = torch.tensor([min(i ^ 1, len(h) - 1) for i in range(len(h))])
    return h + 0.5 * h[other]


def rank(network, h):
    """Only the order counts."""
    return h + h.argsort(0).argsort(0).to(h)


def nearest(network, h):
    distance = (h[:, None] - h).square().sum(-1) + 1e9 * torch.eye(len(h))
    return h + 0.5 * h[distance.argmin(1)] if len(h) > 1 else h


def near(network, h):
    """Only points that are close see each other."""
    close = ((h[:, None] - h).square().sum(-1) < 0.4).to(h)
    return close @ h / close.sum(1, keepdim=True)


def half_of_the_features(network, h):
    return torch.cat([h[:, :3], h[:, 3:] - h[:, 3:].mean(0)], 1)


def weakly(network, h):
    return h + 1e-5 * h.mean(0)


def very_weakly(network, h):
    return h + 1e-8 * h.mean(0).exp()


def where_it_is_large(network, h):
    """The mean goes through a unit that is dead at most inputs."""
    return h + torch.relu(h.mean(0) - 0.4)


def largest_norm(network, h):
    return h / (1 + h.norm(dim=1).max())


def of_the_whole(network, h):
    return h / (1 + h.norm())


def zero_at_first(network, h):
    """The weight of the mixture begins at zero, as in ReZero."""
    return h + network.gate * (1 + h.mean(0))


def by_branch(network, h):
    return h - h.mean(0) if h.max() > 1.0 else h


def statistics(network, h):
    return nn.functional.batch_norm(h, None, None, training=True)


# and how many there are, or where


def by_number(network, h):
    return h / len(h)


def by_number_in_a_table(network, h):
    return h + torch.tensor([0.0, 0.3, -0.4, 0.7, 0.1])[len(h)]


def by_square_root(network, h):
    return h * h.shape[0] ** -0.5


def from_the_end(network, h):
    return h + 0.1 * torch.arange(len(h)).flip(0)[:, None]


def place(network, h):
    """Where a point stands is the same with padding behind it, and not with padding before it."""
    return h + 0.1 * torch.arange(len(h))[:, None]


def mean_of_ones(network, h):
    return h * torch.ones_like(h).sum(0)


HOWS = (
    largest,
    smallest_and_largest,
    median,
    middle_two,
    sharp_attention,
    winner,
    from_before,
    from_after,
    so_far,
    in_pairs,
    rank,
    nearest,
    near,
    half_of_the_features,
    weakly,
    very_weakly,
    where_it_is_large,
    largest_norm,
    of_the_whole,
    zero_at_first,
    by_branch,
    by_number,
    by_number_in_a_table,
    by_square_root,
    from_the_end,
    place,
    mean_of_ones,
)


@every_way
@pytest.mark.parametrize("how", HOWS)
def test_ways_to_mix(how, way):
    torch.manual_seed(0)
    judge_unequal(Mixes(how), some_unequal(), way)


@pytest.mark.parametrize("way", ["loop", "auto", "lowrank"])
@pytest.mark.parametrize("how", [largest, place, from_before, by_number])
def test_padding_anywhere(how, way):
    """Between the points, or before them."""
    torch.manual_seed(0)
    tasks = some_unequal()
    order = torch.tensor([3, 0, 2, 1])
    moved = qs.Tasks(*(qs.Examples(*(t[:, order] for t in e)) for e in tasks[:2]))
    judge_unequal(Mixes(how), moved, way)


@pytest.mark.parametrize("fill", [0.0, 1e6, float("inf"), float("nan")])
@pytest.mark.parametrize("how", [largest, statistics, of_the_whole])
def test_whatever_padding_holds(how, fill):
    torch.manual_seed(0)
    judge_unequal(Mixes(how), some_unequal((4, 3, 3), (3, 4, 2), fill=fill), "auto")


@every_way
def test_points_that_are_near_in_the_third_task_alone(way):
    """What was tried on two of the tasks showed nothing."""
    torch.manual_seed(0)
    tasks = some_unequal((4, 2, 3))
    x = tasks.support.x * 5
    x[2, 1] = x[2, 0] + 0.01
    judge_unequal(Mixes(near), qs.Tasks(tasks.support._replace(x=x), tasks.query), way)


@every_way
def test_equal_points_that_count_once(way):
    """Points are merged where they are equal: most data show nothing of it."""

    def merged(network, h):
        same = (h[:, None] == h).all(-1).to(h)
        return h / same.sum(1, keepdim=True)

    torch.manual_seed(0)
    tasks = some_unequal((4, 2, 3))
    x = tasks.support.x.clone()
    x[2, 1] = x[2, 0]
    judge_unequal(Mixes(merged), qs.Tasks(tasks.support._replace(x=x), tasks.query), way)


@every_way
def test_mixing_that_shows_in_a_later_call(way):
    """By a branch on the data: none of the first call's points is large."""
    torch.manual_seed(0)
    network = Mixes(lambda network, h: h - h.mean(0) if float(h.detach().max()) > 2.0 else h)
    loop, tasks = loop_of(network, way), some_unequal()
    for factor in (0.1, 0.1, 4.0):
        scaled = qs.Tasks(*(e._replace(x=e.x * factor) for e in tasks[:2]))
        judge_unequal(network, scaled, way, loop)


@every_way
def test_mixing_that_grows_with_the_weights(way):
    """Outer steps wake a unit that was dead when the network was tried."""
    torch.manual_seed(0)
    network = Mixes(lambda network, h: h + torch.relu(h.mean(0) + network.gate - 4.0))
    loop, tasks = loop_of(network, way), some_unequal()
    for gate in (0.0, 0.0, 4.5):
        with torch.no_grad():
            network.gate.fill_(gate)
        judge_unequal(network, tasks, way, loop)


# random networks


class Largest(nn.Module):
    """Of 64 units over the points: the points between the smallest and the largest decide nothing."""

    def __init__(self):
        super().__init__()
        self.body, self.last = nn.Sequential(nn.Linear(1, 64), nn.ReLU()), nn.Linear(65, 2)

    def forward(self, x):
        seen = self.body(x).amax(0).expand(len(x), 64)
        return self.last(torch.cat([x, seen], 1) / 8)


def narrow():
    """Batch statistics behind two units, which may both be dead."""
    return nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.BatchNorm1d(2), nn.Linear(2, 2))


def positive(seed):
    """Inputs in [1, 5]."""
    tasks = some_unequal((4, 2, 3), (3, 4, 2))
    x = 1 + 4 * torch.rand(3, 4, 1, generator=torch.Generator().manual_seed(seed))
    return qs.Tasks(*(e._replace(x=torch.where(e.mask[..., None], x, float("nan"))) for e in tasks[:2]))


@pytest.mark.parametrize("seed", range(40))
def test_random_networks_with_a_maximum(seed):
    torch.manual_seed(seed)
    judge_unequal(Largest(), positive(seed), "auto", steps=1)


@pytest.mark.parametrize("seed", range(40))
def test_random_networks_with_few_units_before_batch_statistics(seed):
    torch.manual_seed(seed)
    judge_unequal(narrow(), positive(seed), "auto", steps=1)


@pytest.mark.parametrize("way", ["loop", "lowrank", "loop, checkpoints", "auto, mixed mode, checkpoints"])
@pytest.mark.parametrize("make", [Largest, narrow])
@pytest.mark.parametrize("seed", range(4))
def test_random_networks_in_other_ways(seed, make, way):
    torch.manual_seed(seed)
    judge_unequal(make(), positive(seed), way)


# other kinds of points


class Tokens(nn.Module):
    """Points of integers, whose largest features are shared."""

    def __init__(self):
        super().__init__()
        self.table, self.last = nn.Embedding(7, 4), nn.Linear(4, 2)

    def forward(self, x):
        h = self.table(x).mean(1)
        return self.last(torch.tanh(h - h.amax(0)))


class Attention(nn.Module):
    """Points attend to points."""

    def __init__(self):
        super().__init__()
        self.first, self.mix, self.last = nn.Linear(3, 4), nn.MultiheadAttention(4, 2), nn.Linear(4, 2)

    def forward(self, x):
        h = self.first(x)
        return self.last(torch.tanh(h + self.mix(h, h, h, need_weights=False)[0]))


class InOrder(nn.Module):
    """A recurrent layer along the points."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.first(x[None])[0][0])


@every_way
def test_points_of_integers(way):
    torch.manual_seed(0)
    tasks = some_unequal()
    tokens = torch.randint(0, 7, (3, 4, 3), generator=torch.Generator().manual_seed(0))
    judge_unequal(Tokens(), qs.Tasks(*(e._replace(x=tokens) for e in tasks[:2])), way)


@every_way
def test_points_that_attend_to_points(way):
    torch.manual_seed(0)
    judge_unequal(Attention(), some_unequal(), way)


@pytest.mark.parametrize("way", ["loop", "auto", "loop, checkpoints"])
def test_points_in_order(way):
    torch.manual_seed(0)
    judge_unequal(InOrder(), some_unequal(), way)


# learners


@pytest.mark.parametrize("options", [{}, {"engine": "loop"}, {"chunk": 1}, {"mixed_mode": True}])
@pytest.mark.parametrize("how", [largest, by_number, so_far, weakly])
def test_learners(how, options):
    """Losses, predictions and each task's own network are those of the real points."""
    torch.manual_seed(0)
    network, tasks = Mixes(how), some_unequal(queries=(4, 4, 4), fill=0.0)
    with no_other_warnings():
        learner = qs.MAML(network, lr=0.1, steps=2, **options)
        loss = learner.meta_loss(tasks)
        predictor = learner.adapt(tasks.support)
        mean = predictor(tasks.query.x).mean
    expected = alone(network, tasks, 2)
    torch.testing.assert_close(loss, expected.mean(), rtol=1e-9, atol=1e-10)
    losses = (mean - tasks.query.y).square().sum(-1).mean(1)
    torch.testing.assert_close(losses.detach(), expected.detach(), rtol=1e-9, atol=1e-10)
    for i in range(3):
        torch.testing.assert_close(predictor.task(i)(tasks.query.x[i]), mean[i], rtol=1e-9, atol=1e-10)


def test_networks_that_do_not_mix_run_together():
    """What is right for all would be to run each task alone; a plain network need not pay for the others."""
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    explanation = qs.MAML(network, lr=0.1, steps=2).explain(some_unequal((4, 3, 4), (4, 4, 4), fill=0.0))
    assert explanation.engine != "loop" and points

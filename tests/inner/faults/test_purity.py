"""Adapting, judging, explaining and trying leave everything of the user's as it was, to the bit."""

import random
import threading
import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from inner.faults import snapshot
from inner.faults.oracle import (
    WAYS,
    every_way,
    judge,
    no_other_warnings,
    of,
    points,
)
from inner.faults.unequal import some_unequal
from torch import nn

import quickstudy as qs


class Network(nn.Module):
    """Two layers; `during(self, h)` is what a kind of network does on the way, besides."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)
        self.prepare()

    def prepare(self):
        """More of its parts."""

    def during(self, h):
        return h

    def forward(self, x):
        return self.last(self.during(torch.tanh(self.first(x))))


class MovedCopy(Network):
    """A frozen copy of the first layer follows it: the example of the issue."""

    def prepare(self):
        self.slow = nn.Linear(3, 4).requires_grad_(False)

    def forward(self, x):
        for a, b in zip(self.slow.parameters(), self.first.parameters(), strict=True):
            a.mul_(0.9).add_(b.detach(), alpha=0.1)
        return self.last(torch.tanh(self.first(x)) + torch.tanh(self.slow(x)))


class FrozenStatistics(Network):
    """Running statistics held as frozen parameters."""

    def prepare(self):
        self.mean = nn.Parameter(torch.zeros(4), requires_grad=False)
        self.var = nn.Parameter(torch.ones(4), requires_grad=False)

    def during(self, h):
        self.mean.mul_(0.9).add_(0.1 * h.detach().mean(0))
        self.var.data = 0.9 * self.var.data + 0.1 * h.detach().var(0)
        return (h - self.mean) / self.var.sqrt()


class Whitened(Network):
    """A frozen matrix is made orthogonal again before each use."""

    def prepare(self):
        self.turn = nn.Parameter(torch.randn(4, 4), requires_grad=False)

    def during(self, h):
        with torch.no_grad():
            self.turn.copy_(torch.linalg.qr(self.turn + 0.1)[0])
        return h @ self.turn.clone()


class Memory(Network):
    """A plain tensor keeps what was seen, and another counts."""

    def prepare(self):
        self.seen, self.bank = torch.tensor(0), torch.zeros(3, 4)

    def during(self, h):
        self.seen += 1
        self.bank[0] = h.detach().mean(0)
        return h + 0.1 * self.bank.mean(0)


class Renewed(Network):
    """A plain tensor is replaced at each pass."""

    def prepare(self):
        self.average = torch.zeros(4)

    def during(self, h):
        self.average = 0.9 * self.average + 0.1 * h.detach().mean(0)
        return h - self.average


class Clipped(Network):
    """Weights are clipped in place before they are used, as in WGAN."""

    def during(self, h):
        self.last.weight.data.clamp_(-0.2, 0.2)
        return h


class UnitRows(Network):
    """Weights are divided in place by their norm."""

    def during(self, h):
        with torch.no_grad():
            self.last.weight.div_(self.last.weight.norm(dim=1, keepdim=True))
        return h


class Spectral(Network):
    """Spectral normalisation, whose vectors move at every pass in training mode."""

    def prepare(self):
        self.middle = torch.nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))

    def during(self, h):
        return torch.tanh(self.middle(h))


class Codebook(Network):
    """Codes follow the features that chose them."""

    def prepare(self):
        self.register_buffer("codes", torch.randn(5, 4))
        self.register_buffer("sizes", torch.ones(5))

    def during(self, h):
        chosen = (h.detach()[:, None] - self.codes).square().sum(-1).argmin(-1)
        if self.training:
            picked = torch.nn.functional.one_hot(chosen, 5).to(h)
            self.sizes.data.mul_(0.9).add_(picked.sum(0), alpha=0.1)
            self.codes.data.copy_(0.9 * self.codes + 0.1 * picked.t() @ h.detach())
        return h + (self.codes[chosen] - h).detach()


class Log(Network):
    """Python's own objects keep count."""

    def prepare(self):
        self.calls, self.log, self.by_size, self.counter = 0, [], {}, Counter()

    def during(self, h):
        self.calls += 1
        self.log.append(tuple(h.shape))
        self.by_size[len(h)] = self.calls
        self.counter["forward"] += 1
        return h


class Activation(Network):
    """An activation is kept."""

    def prepare(self):
        self.kept, self.every = None, []

    def during(self, h):
        self.kept = h
        self.every.append(h.detach())
        return h


@dataclass
class Held:
    value: torch.Tensor


class Holder(Network):
    """Tensors in objects that are neither modules nor containers of torch's."""

    def prepare(self):
        self.held, self.space = Held(torch.zeros(4)), SimpleNamespace(count=torch.tensor(0.0))
        self.nested = {"a": [torch.zeros(4)]}

    def during(self, h):
        self.held.value.add_(h.detach().mean(0))
        self.space.count += 1
        self.nested["a"][0].mul_(0.5).add_(h.detach().mean(0))
        return h + 0.1 * self.held.value + self.nested["a"][0]


class Modes(Network):
    """A layer's mode is set in forward."""

    def prepare(self):
        self.drop = nn.Dropout(0.0)

    def during(self, h):
        self.drop.eval() if self.drop.training else self.drop.train()
        return self.drop(h)


class Hooked(Network):
    """Hooks that write, and one that is registered anew at each pass."""

    def prepare(self):
        self.register_buffer("largest", torch.zeros(4))
        self.first.register_forward_hook(self.note)
        self.last.register_forward_pre_hook(lambda module, args: (args[0] * 1.1,))
        self.handles = []

    def note(self, module, args, output):
        self.largest.copy_(torch.maximum(self.largest, output.detach().amax(0)))

    def during(self, h):
        self.handles.append(self.last.register_forward_hook(lambda *args: None))
        return h


class OldWeightNorm(Network):
    """Old weight normalisation sets its weight as a plain attribute, by a hook."""

    def prepare(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.middle = torch.nn.utils.weight_norm(nn.Linear(4, 4))

    def during(self, h):
        return torch.tanh(self.middle(h))


class NotToBeCopied(Network):
    """Attributes that `copy.deepcopy` refuses."""

    def prepare(self):
        self.lock, self.numbers = threading.Lock(), (i for i in range(100))

    def during(self, h):
        with self.lock:
            return h


class InPlaceFirst(Network):
    """What comes in is written into."""

    def prepare(self):
        self.first = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 4))


class Recording(Network):
    """The network appends, sets and deletes attributes of its layers."""

    def during(self, h):
        self.last.came_in = h.shape
        self.first.__dict__.pop("went_out", None)
        self.first.went_out = int(h.numel())
        return h


KINDS = {
    kind.__name__: kind
    for kind in (
        MovedCopy,
        FrozenStatistics,
        Whitened,
        Memory,
        Renewed,
        Clipped,
        UnitRows,
        Spectral,
        Codebook,
        Log,
        Activation,
        Holder,
        Modes,
        Hooked,
        OldWeightNorm,
        NotToBeCopied,
        InPlaceFirst,
        Recording,
    )
}
# whose attributes `copy.deepcopy` cannot copy, and where the data would be written into by plain PyTorch, too
UNCOPIED = ("NotToBeCopied", "Activation", "OldWeightNorm", "InPlaceFirst")


def some_tasks():
    return qs.Tasks(qs.Examples(*points()), qs.Examples(*points(seed=1)))


def unequal():
    """Here it is also tried whether the network mixes points."""
    return some_unequal(queries=(4, 4, 4))


def adapt(learner, tasks):
    learner.adapt(tasks.support)(tasks.query.x)


def meta_loss(learner, tasks):
    torch.autograd.grad(learner.meta_loss(tasks), list(learner.parameters()), allow_unused=True)


def explain(learner, tasks):
    str(learner.explain(tasks))


def use(learner, tasks):
    predictor = learner.adapt(tasks.support).append(tasks.query)
    predictor.task(0)(tasks.query.x[0].clone())  # a plain module, which may write into what it is given


def without_steps(learner, tasks):
    learner.adapt(tasks.support, steps=0)(tasks.query.x)


def without_gradient(learner, tasks):
    with torch.no_grad():
        learner.meta_loss(tasks)


ACTS = (adapt, meta_loss, explain, use, without_steps, without_gradient)


@pytest.mark.parametrize("way, training", [*((way, True) for way in WAYS), ("loop", False), ("auto", False)])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_user_s_changes(kind, way, training):
    """Whether it works or is refused. (In training mode a meta-loss leaves the mean of the tasks' buffers.)"""
    torch.manual_seed(0)
    network = KINDS[kind]().train(training)
    network.last.weight.grad = torch.full_like(network.last.weight, 0.5)
    for act, tasks in [*((act, some_tasks()) for act in ACTS), (adapt, unequal()), (explain, unequal())]:
        buffers = not (training and act in (meta_loss, without_gradient))
        before, around = snapshot.of_module(network, buffers=buffers), snapshot.of_surroundings()
        given = snapshot.frozen(tuple(tasks))
        with suppress(RuntimeError, ValueError, TypeError), no_other_warnings():
            act(qs.MAML(network, lr=0.1, steps=2, **WAYS[way]), tasks)
        changed = snapshot.difference(before, snapshot.of_module(network, buffers=buffers))
        assert not changed, (act.__name__, changed)
        assert not snapshot.difference(around, snapshot.of_surroundings()), act.__name__
        same = snapshot.frozen(tuple(tasks)) == given
        assert same, f"{act.__name__} wrote into the data"


@every_way
@pytest.mark.parametrize("kind", [k for k in KINDS if k not in UNCOPIED])
def test_and_each_task_has_what_a_copy_of_the_network_would_have(kind, way):
    """What a network keeps goes from step to step with its task, as in a copy of the network made for it."""
    torch.manual_seed(0)
    judge(of(KINDS[kind]().eval()), way)


@pytest.mark.parametrize("kind", UNCOPIED)
def test_and_what_cannot_be_copied_works(kind):
    torch.manual_seed(0)
    network = KINDS[kind]()
    losses = []
    for engine in ("loop", "auto"):
        with no_other_warnings():
            loss = qs.MAML(network, lr=0.1, steps=2, engine=engine).meta_loss(some_tasks())
        torch.autograd.grad(loss, list(network.parameters()))
        losses.append(loss)
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("way", ["loop", "auto"])
@pytest.mark.parametrize("kind", KINDS)
def test_tasks_do_not_see_each_other(kind, way):
    """What a network keeps is each task's own: together as alone."""
    torch.manual_seed(0)
    network, tasks = KINDS[kind]().eval(), some_tasks()
    with no_other_warnings():
        together = qs.inner_loop(network, lr=0.1, steps=3, **WAYS[way])(tasks.support).losses(tasks.query)
        alone = [
            qs.inner_loop(network, lr=0.1, steps=3, **WAYS[way])(tasks.select(i).support).losses(tasks.select(i).query)
            for i in range(3)
        ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-10)


# trying leaves alone also what the network does not own


class Teacher(Network):
    """A teacher that is hidden in a list, so that it counts as no part, with running statistics of its own."""

    def prepare(self):
        self.hidden = [nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))]

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)) + self.hidden[0](x).detach())


class ClosesOver(Network):
    """A function that keeps a tensor of its own."""

    def prepare(self):
        self.kept = torch.zeros(4)
        self.function = keeping(self.kept)

    def during(self, h):
        return self.function(h)


def keeping(kept):
    def function(h):
        kept.add_(h.detach().mean(0))
        return h + kept

    return function


class OnTheClass(Network):
    """A tensor that all of its kind share."""

    shared = torch.zeros(4, dtype=torch.float64)

    def during(self, h):
        self.shared.add_(h.detach().mean(0))
        return h + self.shared


class Draws(Network):
    """Random numbers of every source."""

    def prepare(self):
        self.own, self.theirs = torch.Generator().manual_seed(0), np.random.default_rng(0)
        self.third = random.Random(0)

    def during(self, h):
        noise = torch.randn(4, generator=self.own) + float(self.theirs.random()) + self.third.random()
        return h + 0.1 * noise + 0.1 * random.random() + 0.1 * float(np.random.rand()) + 0.1 * torch.rand(())


class Seeds(Network):
    """Sets the seed itself."""

    def during(self, h):
        torch.manual_seed(3), random.seed(3), np.random.seed(3)
        return h + 0.1 * torch.rand(())


TRIED = {kind.__name__: kind for kind in (Teacher, ClosesOver, OnTheClass, Draws, Seeds)}


@every_way
@pytest.mark.parametrize("kind", TRIED)
def test_explaining_leaves_alone_what_the_network_reads(kind, way):
    network, tasks = TRIED[kind](), some_tasks()
    kept = OnTheClass.shared.zero_().clone()
    before, around = snapshot.of_module(network), snapshot.of_surroundings()
    with suppress(RuntimeError, ValueError, TypeError), no_other_warnings():
        explain(qs.MAML(network, lr=0.1, steps=2, **WAYS[way]), tasks)
    assert not snapshot.difference(before, snapshot.of_module(network))
    assert not snapshot.difference(around, snapshot.of_surroundings())
    assert torch.equal(OnTheClass.shared, kept)


class Scaled(nn.Module):
    """A loss that divides by a running mean of itself."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.ones(()))
        self.calls = 0

    def forward(self, output, y):
        losses = (output - y).square().sum(-1)
        self.mean.mul_(0.9).add_(0.1 * losses.detach().mean())
        self.calls += 1
        return losses / self.mean


@every_way
def test_explaining_leaves_a_loss_alone(way):
    loss, tasks = Scaled(), some_tasks()
    before = snapshot.of_module(loss)
    with suppress(RuntimeError, ValueError), no_other_warnings():
        explain(qs.MAML(Network(), lr=0.1, steps=2, loss=loss, **WAYS[way]), tasks)
    assert not snapshot.difference(before, snapshot.of_module(loss))


@pytest.mark.parametrize("way", ["loop", "auto"])
def test_trying_draws_no_numbers(way):
    """With one task there is one order of the draws: a first call, which tries, ends where a second would."""
    tasks = some_tasks().select(0)
    ends = []
    for tried in (False, True):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
        learner = qs.MAML(network, lr=0.1, steps=2, **WAYS[way])
        with no_other_warnings():
            if tried:
                learner.meta_loss(tasks)
            torch.manual_seed(1)
            ends.append((learner.meta_loss(tasks).item(), snapshot.of_surroundings()["torch"]))
    assert ends[0] == ends[1]


# whatever happens


@every_way
@pytest.mark.parametrize("when", [1, 2, 3, 4, 6, 9])
def test_an_error_in_the_middle_leaves_everything_as_it_was(way, when):
    """A network that fails at some call: in the trial, in a step, at the query points, on the way back."""
    left = [when]

    class Fails(Network):
        def during(self, h):
            left[0] -= 1
            if left[0] == 0:
                raise ZeroDivisionError("mine")
            return h

    network, tasks = Fails(), some_tasks()
    before, around = snapshot.of_module(network), snapshot.of_surroundings()
    with suppress(ZeroDivisionError, RuntimeError, ValueError), no_other_warnings():
        meta_loss(qs.MAML(network, lr=0.1, steps=3, **WAYS[way]), tasks)
    assert not snapshot.difference(before, snapshot.of_module(network))
    assert not snapshot.difference(around, snapshot.of_surroundings())


@pytest.mark.parametrize("kind", ["MovedCopy", "FrozenStatistics", "Memory", "Log", "Modes", "Hooked", "Holder"])
@pytest.mark.parametrize("options", [{}, {"engine": "loop"}, {"mixed_mode": True}, {"checkpoint": "sqrt"}])
def test_a_run_that_learns_nothing_changes_nothing(kind, options, tmp_path):
    """What `fit` tries, and the steps it takes, at a rate of zero."""
    torch.manual_seed(0)
    network = KINDS[kind]()
    learner = qs.MAML(network, lr=0.01, steps=2, **options)
    buffers = kind != "Hooked"
    before = snapshot.of_module(network, buffers=buffers)
    with suppress(RuntimeError, ValueError), no_other_warnings():
        qs.fit(
            learner,
            Planes(),
            steps=1,
            out=tmp_path / "run",
            tasks=2,
            support=4,
            query=4,
            compile=False,
            optimizer=lambda params: torch.optim.SGD(params, lr=0.0),
            validation_tasks=2,
            device="cpu",
        )
    for p in network.parameters():
        p.grad = None
    assert not snapshot.difference(before, snapshot.of_module(network, buffers=buffers))


@pytest.mark.parametrize("layer", [nn.Identity, lambda: nn.Dropout(0.5), lambda: nn.BatchNorm1d(4)])
def test_a_run_with_trials_is_the_run_without(layer, tmp_path):
    """To the bit: trying draws no random number and leaves no statistic."""
    ends = []
    for verify in (True, False):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 4), layer(), nn.Tanh(), nn.Linear(4, 2))
        learner = qs.MAML(network, lr=0.1, steps=2, verify=verify)
        options = {"tasks": 2, "support": 4, "query": 4, "compile": False, "validation_tasks": 2, "device": "cpu"}
        with no_other_warnings():
            qs.fit(learner, Planes(), steps=3, out=tmp_path / str(verify), **options)
        ends.append(network.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ends[0].values(), ends[1].values(), strict=True))


class Planes:
    """A family of linear functions."""

    dx, dy = 3, 2

    def sample(self, num_tasks, *, support, query, split="train", generator=None):
        x = torch.randn(num_tasks, support + query, 3, generator=generator)
        y = x @ torch.randn(num_tasks, 3, 2, generator=generator)
        return qs.Tasks(qs.Examples(x[:, :support], y[:, :support]), qs.Examples(x[:, support:], y[:, support:]))

"""Networks that use `torch.utils.checkpoint`, or keep what they save elsewhere: run again, they find their weights."""

import functools

import pytest
import torch
from inner.faults.oracle import (
    every_way,
    found,
    judge,
    made,
    no_other_warnings,
    of,
    plain,
    points,
    squared,
)
from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import quickstudy as qs

again = functools.partial(checkpoint, use_reentrant=False)


class Blocks(nn.Module):
    """Two layers and a block between them, which `run(self, h)` runs."""

    def __init__(self, run, block=None):
        super().__init__()
        self.first, self.last, self.run = nn.Linear(3, 4), nn.Linear(4, 2), run
        self.block = block or nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
        self._gradient_checkpointing_func = again
        self.scale = nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        return self.last(torch.tanh(self.run(self, self.first(x))))


def block(network, h):
    return again(network.block, h)


def a_function(network, h):
    return again(lambda h: network.scale * network.block(h), h)


def nested(network, h):
    return again(lambda h: h + again(network.block, network.scale * h), h)


def in_pieces(network, h):
    return checkpoint_sequential(network.block, 2, h, use_reentrant=False)


def named_arguments(network, h):
    def run(h, *, scale, keep):
        return network.block(h) * scale + keep

    return again(run, h, scale=network.scale, keep=1.0)


def by_attribute(network, h):
    """As transformers do it."""
    return network._gradient_checkpointing_func(network.block.__call__, h)


def a_method(network, h):
    return again(network.block.forward, h)


def without_early_stop(network, h):
    with torch.utils.checkpoint.set_checkpoint_early_stop(False):
        return again(network.block, h)


def some_operations(network, h):
    def keep_products():
        return torch.utils.checkpoint.create_selective_checkpoint_contexts([torch.ops.aten.mm.default])

    return again(network.block, h, context_fn=keep_products)


def saved_elsewhere(network, h):
    with torch.autograd.graph.save_on_cpu():
        return network.block(h)


def saved_in_a_list(network, h):
    kept = []

    def pack(tensor):
        kept.append(tensor.detach().clone())
        return len(kept) - 1

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda i: kept[i]):
        return network.scale * h.sin()


def all_of_it(network, h):
    return again(lambda: network.block(torch.tanh(h)))


RUNS = (
    block,
    a_function,
    nested,
    in_pieces,
    named_arguments,
    by_attribute,
    a_method,
    without_early_stop,
    some_operations,
    saved_elsewhere,
    all_of_it,
)


@every_way
@pytest.mark.parametrize("run", RUNS)
def test_blocks(run, way):
    torch.manual_seed(0)
    judge(of(Blocks(run)), way)


@every_way
@pytest.mark.parametrize("steps", [1, 5])
def test_few_steps_and_many(steps, way):
    judge(of(Blocks(block), steps=steps), way)


BLOCKS = {
    "normalised": lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Tanh()),
    "batch statistics": lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh()),
    "convolution": lambda: nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Conv1d(2, 2, 1), nn.Flatten()),
    "recurrent": lambda: nn.Sequential(nn.Unflatten(1, (2, 2)), nn.GRU(2, 2, batch_first=True), First(), nn.Flatten()),
    "a checkpoint inside": lambda: Inside(),
}


class First(nn.Module):
    def forward(self, pair):
        return pair[0]


class Inside(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, h):
        return again(self.layer, torch.tanh(h))


@every_way
@pytest.mark.parametrize("kind", BLOCKS)
def test_kinds_of_blocks(kind, way):
    torch.manual_seed(0)
    judge(of(Blocks(block, BLOCKS[kind]()).eval()), way)


@every_way
def test_a_checkpoint_around_the_network_in_the_objective(way):
    def objective(model, data, outer):
        x, y = data
        return (again(model, x) - y).square().sum(-1).mean()

    judge(of(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), objective=objective), way)


@every_way
def test_a_checkpoint_around_the_loss(way):
    def objective(model, data, outer):
        return again(squared, model, data, None)

    judge(of(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), objective=objective), way)


@pytest.mark.parametrize("way", ["loop", "auto"])
def test_dropout_within_falls_as_it_fell(way):
    """One task, whose draws have one order: equal to the network without the checkpoint."""
    torch.manual_seed(0)
    dropping = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    problem = of(Blocks(block, dropping), points(1), points(1, seed=1), tasks=1)
    plainly = problem._replace(network=_without(problem.network))
    torch.manual_seed(5)
    expected = plain(plainly)
    torch.manual_seed(5)
    answer = found(problem, made(problem, way))
    for name, value in expected.grads.items():
        torch.testing.assert_close(answer.grads[name], value, rtol=1e-9, atol=1e-10)


def _without(network):
    plainly = Blocks(lambda network, h: network.block(h), network.block)
    plainly.load_state_dict(network.state_dict())
    return plainly


@every_way
def test_checkpoints_switched_on_between_calls(way):
    network = Blocks(lambda network, h: network.block(h))
    problem = of(network)
    loop = made(problem, way)
    judge(problem, way, loop)
    network.run = block
    judge(problem, way, loop)


@every_way
def test_the_old_kind_of_checkpoint_is_as_in_plain_pytorch(way):
    """It refuses `autograd.grad`, and so does everybody."""
    problem = of(Blocks(lambda network, h: checkpoint(network.block, h, use_reentrant=True)))
    with pytest.raises(RuntimeError):
        plain(problem)
    with pytest.raises((RuntimeError, ValueError)):
        found(problem, made(problem, way))


@pytest.mark.parametrize("options", [{"engine": "loop"}, {}, {"engine": "loop", "checkpoint": "sqrt"}])
def test_the_way_back_comes_long_after(options):
    """When other tasks were adapted in between, modes were changed and the first result was judged by others."""
    torch.manual_seed(0)
    network = Blocks(block, nn.Sequential(nn.Linear(4, 4), nn.Tanh()))
    tasks = [qs.Tasks(qs.Examples(*points(seed=i)), qs.Examples(*points(seed=i + 1))) for i in (0, 2)]
    learner = qs.MAML(network, lr=0.1, steps=2, **options)

    def gradients(between):
        with no_other_warnings():
            loss = learner.meta_loss(tasks[0])
        if between:
            learner.adapt(tasks[1].support)(tasks[1].query.x)
            network.eval()
        found = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True, materialize_grads=True)
        network.train()
        return found

    for a, b in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)

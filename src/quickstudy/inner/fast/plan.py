"""What a network does in one pass, found by trying it on one task: the ground for every choice the engine makes.

Which layers are called, in which order and with what shapes; which weights are read by nothing else; which parameters
the loss reaches; whether torch can vectorise the pass at all. A plan is made once for each shape of the data.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from quickstudy.inner.fast.capture import Call, Capture, Layer, Recorder, active
from quickstudy.inner.fast.engines import map_tasks

Run = Callable[[dict[str, Tensor], dict[str, Tensor], Any], Tensor]


# Operations, by the names of their nodes in a graph, whose forward derivative is exact when it is differentiated in
# reverse, each of them tested. The normalising layers are not: their forward derivatives take statistics for constants.
SMOOTH_TANGENTS = frozenset(
    """
    torch::autograd::AccumulateGrad Add Addmm Addbmm Alias AsStrided Baddbmm Bmm Cat Clone ConstantPadNd Convolution
    Cos Div Elu Exp Expand Gather Gelu Index IndexSelect LeakyRelu Log MaxPool2DWithIndices Mean Mm
    Mul Neg NllLoss Permute Pow Relu Repeat ReshapeAlias Select Sigmoid Silu Sin Slice Softplus Split Sqrt
    Squeeze Stack Sub Sum T Tanh ToCopy Transpose Unbind UnsafeSplit UnsafeView Unsqueeze View Where
    """.split()
)


@dataclass(frozen=True)
class Plan:
    """How the passes of an inner loop run.

    Args:
        vectorised: all tasks in one pass, or one by one.
        calls: of layers whose weights are read by nothing else, in order.
        reached: the adapted parameters that the loss depends on; None where that is not known.
        lowrank: weights kept as low-rank sums.
        tangents: whether every operation of a pass has a forward derivative that can be differentiated in reverse.
        hidden: whether the loss depends on tensors with a graph that the inner loop was not given.
        reasons: why it is so.
    """

    vectorised: bool
    calls: tuple[Call, ...] = ()
    reached: frozenset[str] | None = None
    lowrank: frozenset[str] = frozenset()
    tangents: bool = False
    hidden: bool = False
    reasons: tuple[str, ...] = field(default=())


def try_pass(run: Run, params: dict[str, Tensor], buffers: dict[str, Tensor], data: Any, adapted: list[str]) -> Plan:
    """The plan of a pass, but for what is low-rank.

    Args:
        run: `(parameters, buffers, data) -> value` for one task.
        params, buffers: the network's, and the extra inputs.
        data: of the whole batch, `[T, ...]`.
        adapted: names of the parameters that move.
    """
    first = tree_map(lambda a: a[0] if isinstance(a, Tensor) else a, data)
    device = next((p.device for p in params.values()), torch.device("cpu"))

    def value(params: dict[str, Tensor]) -> Tensor:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            return run(params, {k: b.clone() for k, b in buffers.items()}, first)

    fixed = {k: p.detach() for k, p in params.items()}
    reached, hidden, tangents = _reach(value, fixed, adapted)
    with torch.no_grad():
        calls = _sole_readers(value, fixed, [name for name in adapted if name in reached])
    return Plan(True, tuple(calls), frozenset(reached), tangents=tangents, hidden=hidden)


def try_vmap(run: Run, params: dict[str, Tensor], buffers: dict[str, Tensor], data: Any) -> str | None:
    """Why a pass cannot run for all tasks at once; None if it can."""

    def task(params: dict[str, Tensor], buffers: dict[str, Tensor], data: Any) -> Tensor:
        return run(params, buffers, data)

    two = tree_map(lambda a: a[:2] if isinstance(a, Tensor) else a, data)
    sizes = [len(a) for a in torch.utils._pytree.tree_leaves(two) if isinstance(a, Tensor)]
    count = min(sizes, default=1)
    stacked = {k: p.detach().expand(count, *p.shape).requires_grad_(p.requires_grad) for k, p in params.items()}
    copies = {k: b.repeat(count, *[1] * b.dim()) for k, b in buffers.items()}
    device = next((p.device for p in params.values()), torch.device("cpu"))
    # with gradients, as what the network does may depend on them: a checkpoint of its own cannot be vectorised
    with torch.enable_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            value = map_tasks(True, "different", task, stacked, copies, two).sum()
            if value.requires_grad:
                torch.autograd.grad(value, [p for p in stacked.values() if p.requires_grad], allow_unused=True)
        except RuntimeError as error:
            message = str(error)
            if "vmap" not in message and "batching rule" not in message.lower():
                raise
            return message.split("\n")[0].split(";")[0]
    return None


def _reach(
    value: Callable[[dict[str, Tensor]], Tensor], params: dict[str, Tensor], adapted: list[str]
) -> tuple[set[str], bool, bool]:
    with torch.enable_grad():
        moving = {k: params[k].detach().requires_grad_() for k in adapted}
        found = value({**params, **moving})
        if not found.requires_grad:
            return set(), False, True
        nodes = _graph(found)
        grads = torch.autograd.grad(found.sum(), list(moving.values()), allow_unused=True, retain_graph=True)
    ends = [variable for node in nodes if (variable := getattr(node, "variable", None)) is not None]
    hidden = any(not any(end is known for known in moving.values()) for end in ends)
    operations = {node.name().rstrip("0123456789").removesuffix("Backward") for node in nodes}
    reached = {k for k, g in zip(adapted, grads, strict=True) if g is not None}
    return reached, hidden, operations <= SMOOTH_TANGENTS


def _graph(value: Tensor) -> set[Any]:
    """Every node of the graph of `value`."""
    todo, seen = [value.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [parent for parent, _ in node.next_functions]
    return seen


def _sole_readers(
    value: Callable[[dict[str, Tensor]], Tensor], params: dict[str, Tensor], adapted: list[str]
) -> list[Call]:
    """The calls of layers whose weight nothing else reads; a bias that something else reads is not named in them."""
    recorder = Recorder([(params[name], name) for name in adapted])
    with active(recorder):
        expected = value(params)
    if not bool(expected.isfinite().all()):
        return []

    def alone(names: list[str], calls: list[Call]) -> bool:
        keys = {name: stand_in(params[name]) for name in names}
        layers = [(keys[n], Layer(n, params[n])) for n in names if any(c.weight == n for c in calls)]
        biases = [(keys[n], params[n]) for n in names if any(c.bias == n for c in calls)]
        try:
            with active(Capture(layers, biases)):
                return torch.equal(value({**params, **keys}), expected)
        except RuntimeError:  # what else read it cannot even take the stand-in
            return False

    calls = recorder.calls
    names = list(dict.fromkeys(name for c in calls for name in (c.weight, c.bias) if name is not None))
    if not alone(names, calls):
        sole = {name for name in names if alone([name], calls)}
        calls = [c._replace(bias=c.bias if c.bias in sole else None) for c in calls if c.weight in sole]
    return calls


def stand_in(parameter: Tensor) -> Tensor:
    """A tensor of the same shape and of NaN, which takes no memory and is known by its identity."""
    return torch.full((), float("nan"), dtype=parameter.dtype, device=parameter.device).expand(parameter.shape)

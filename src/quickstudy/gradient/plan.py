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

from quickstudy.gradient.capture import Call, Capture, Layer, Recorder, active
from quickstudy.gradient.engines import map_tasks

Run = Callable[[dict[str, Tensor], dict[str, Tensor], Any], Tensor]


@dataclass(frozen=True)
class Plan:
    """How the passes of an inner loop run.

    Args:
        vectorised: all tasks in one pass, or one by one.
        calls: of layers whose weights are read by nothing else, in order.
        reached: the adapted parameters that the loss depends on; None where that is not known.
        lowrank: weights kept as low-rank sums.
        hidden: whether the loss depends on tensors with a graph that the inner loop was not given.
        reasons: why it is so.
    """

    vectorised: bool
    calls: tuple[Call, ...] = ()
    reached: frozenset[str] | None = None
    lowrank: frozenset[str] = frozenset()
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
    reached, hidden = _reach(value, fixed, adapted)
    with torch.no_grad():
        calls = _sole_readers(value, fixed, [name for name in adapted if name in reached])
    return Plan(True, tuple(calls), frozenset(reached), hidden=hidden)


def try_vmap(run: Run, params: dict[str, Tensor], buffers: dict[str, Tensor], data: Any) -> str | None:
    """Why a pass cannot run for all tasks at once; None if it can."""

    def task(params: dict[str, Tensor], buffers: dict[str, Tensor], data: Any) -> Tensor:
        return run(params, buffers, data)

    two = tree_map(lambda a: a[:2] if isinstance(a, Tensor) else a, data)
    sizes = [len(a) for a in torch.utils._pytree.tree_leaves(two) if isinstance(a, Tensor)]
    count = min(sizes, default=1)
    stacked = {k: p.detach().expand(count, *p.shape) for k, p in params.items()}
    copies = {k: b.repeat(count, *[1] * b.dim()) for k, b in buffers.items()}
    device = next((p.device for p in params.values()), torch.device("cpu"))
    with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            map_tasks(True, "different", task, stacked, copies, two)
        except RuntimeError as error:
            message = str(error)
            if "vmap" not in message and "batching rule" not in message.lower():
                raise
            return message.split("\n")[0].split(";")[0]
    return None


def _reach(
    value: Callable[[dict[str, Tensor]], Tensor], params: dict[str, Tensor], adapted: list[str]
) -> tuple[set[str], bool]:
    with torch.enable_grad():
        moving = {k: params[k].detach().requires_grad_() for k in adapted}
        found = value({**params, **moving})
        if not found.requires_grad:
            return set(), False
        grads = torch.autograd.grad(found.sum(), list(moving.values()), allow_unused=True, retain_graph=True)
    return {k for k, g in zip(adapted, grads, strict=True) if g is not None}, _hides(found, list(moving.values()))


def _hides(value: Tensor, known: list[Tensor]) -> bool:
    """Whether the graph of `value` ends in a tensor that is not one of `known`."""
    todo, seen = [value.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None and not any(variable is k for k in known):
            return True
        todo += [parent for parent, _ in node.next_functions]
    return False


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

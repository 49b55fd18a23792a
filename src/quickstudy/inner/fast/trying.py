"""Trial runs of a network on copies of everything, from which the plan for its passes is made.

They find which layers are called, in which order and with what shapes; which weights nothing else reads; which
parameters the loss depends on; and whether torch can run the pass for all tasks at once.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from quickstudy.inner.fast.capture import Call, Capture, Layer, Recorder, StandIn, active, catching
from quickstudy.inner.fast.graphs import differentiable_once, hidden_ends, nodes_of, smooth
from quickstudy.inner.fast.plan import Plan
from quickstudy.inner.fast.vectorise import map_tasks
from quickstudy.inner.fast.watch import HOOKED, Watch
from quickstudy.inner.modules.copies import copy_apart, copy_with
from quickstudy.inner.modules.purity import changed, host_state, outside_random_state, reseed, untouched
from quickstudy.inner.modules.tree import loose_tensors, named_tensors
from quickstudy.inner.problem import Problem
from quickstudy.inner.transforms import exact_kernels
from quickstudy.inner.trees import detached
from quickstudy.nets.clock import at_step, playing

DRAWS = 64  # number of random draws whose generator state is recorded


class Trial(NamedTuple):
    """A problem and a batch with copies of all tensors, for trial runs.

    Args:
        problem: the inner problem.
        data: the batch, `[T, ...]`.
        outer: passed to the objective, without a graph.
        params, buffers: clones of the network's parameters with the extra inputs, and of its buffers.
    """

    problem: Problem
    data: Any
    outer: Any
    params: dict[str, Tensor]
    buffers: dict[str, Tensor]

    def run(self, params: dict[str, Tensor], buffers: dict[str, Tensor], data: Any) -> Tensor:
        """The loss of one task."""
        inputs = {k: params[k] for k in self.problem.inputs}
        tensors = {**{k: p for k, p in params.items() if k not in inputs}, **buffers}
        network = copy_with(copy_apart(self.problem.network), tensors, named_tensors(self.problem.network))
        with at_step(0), playing("support"):
            return self.problem.step_loss(self.problem.model(network, inputs), data, self.outer)

    def value(self, params: dict[str, Tensor], seed: int = 0) -> Tensor:
        """The loss of the first task, with the same random numbers each time."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            reseed(seed)
            first = tree_map(lambda a: a[0] if isinstance(a, Tensor) else a, self.data)
            return self.run(params, {k: b.clone() for k, b in self.buffers.items()}, first)

    @property
    def device(self) -> torch.device:
        return next((p.device for p in self.params.values()), torch.device("cpu"))


def trial_of(problem: Problem, data: Any, outer: Any) -> Trial:
    """A trial on copies of the tensors of `problem`."""
    params = {**dict(problem.network.named_parameters()), **problem.inputs}
    copies = {k: p.detach().clone() for k, p in params.items()}
    buffers = {k: b.detach().clone() for k, b in problem.network.named_buffers() if b.layout == torch.strided}
    cloned = tree_map(lambda t: t.detach().clone() if isinstance(t, Tensor) else t, data)
    return Trial(problem, cloned, detached(outer), copies, buffers)


def try_pass(trial: Trial) -> Plan:
    """The plan of a pass, without the choice of low-rank layers."""
    adapted = trial.problem.adapted_names()
    with untouched(trial.problem.network, *trial.problem.functions()), exact_kernels(), catching():
        data = [t.clone() for t in tree_leaves(trial.data) if isinstance(t, Tensor)]
        with torch.enable_grad():
            moving = {k: trial.params[k].detach().requires_grad_() for k in adapted}
            recorder = Recorder([(moving[name], name) for name in adapted])
            outside = outside_random_state()
            with active(recorder), _Notes() as notes, Watch() as watch:
                found = trial.value({**trial.params, **moving})
            nodes = nodes_of([found]) if found.requires_grad else set()
            reached, sparse = _reach(found, moving)
        given = {**dict(trial.problem.network.named_parameters()), **trial.problem.inputs}
        written = frozenset(k for k, p in trial.params.items() if changed(p, given[k]))
        after = [t for t in tree_leaves(trial.data) if isinstance(t, Tensor)]
        into_data = any(map(changed, data, after))
        why = _seeded(trial, notes) or ("the network writes into its data" if into_data else None)
        if (once := differentiable_once(nodes)) is not None:
            why = f"{once} is marked once_differentiable, and only plain PyTorch reports that in the backward pass"
        if outside_random_state() != outside:
            why = "the network draws from Python's or numpy's generator, so that tasks must run one after another"
        if watch.hooked:
            why = HOOKED
        if written:
            why = f"the network writes into {sorted(written)[0]}, which each task must have for itself"
        calls = [] if why else _sole_readers(trial, recorder.calls, found.detach(), reached)
        apart = bool(loose_tensors(trial.problem.network))
    return Plan(
        why is None,
        tuple(calls),
        frozenset(reached),
        tangents=smooth(nodes),
        hidden=hidden_ends(nodes, [*moving.values(), *trial.problem.judge().values()]),
        written=written,
        sparse=frozenset(sparse),
        plainly=why is not None,
        precision=max(notes.types, key=lambda dtype: torch.finfo(dtype).eps, default=None),
        apart=apart,
        reasons=() if why is None else (why,),
    )


def try_vectorised(trial: Trial) -> str | None:
    """Why a pass cannot run for all tasks at once; None if it can."""
    two = tree_map(lambda a: a[:2] if isinstance(a, Tensor) else a, trial.data)
    count = min((len(a) for a in tree_leaves(two) if isinstance(a, Tensor)), default=1)
    # with gradients enabled, since the network can depend on that: a checkpoint inside it cannot be vectorised
    with (
        torch.enable_grad(),
        untouched(trial.problem.network, *trial.problem.functions()),
        exact_kernels(),
        catching(),
        active(Capture([])),
    ):
        try:
            stacked = {k: p.expand(count, *p.shape).clone() for k, p in trial.params.items()}
            for name in trial.problem.adapted_names():
                stacked[name].requires_grad_()
            copies = {k: b.repeat(count, *[1] * b.dim()) for k, b in trial.buffers.items()}
            value = map_tasks(True, trial.problem.randomness, trial.run, stacked, copies, two).sum()
            if value.requires_grad:
                torch.autograd.grad(value, [p for p in stacked.values() if p.requires_grad], allow_unused=True)
        except Exception as error:  # the loop takes over, and raises an error of the user's again
            return reason_of(error)
    return None


def reason_of(error: Exception) -> str:
    """An error's message in one line."""
    return (str(error).split("\n")[0].split(";")[0] or type(error).__name__).rstrip(".")


def _seeded(trial: Trial, notes: "_Notes") -> str | None:
    """The reason why random draws of tasks that run together would differ from those of the loop; None without one."""
    if notes.others:
        return "the network draws from a generator of its own, so that tasks must run one after another"
    if not notes.states:
        return None
    with torch.enable_grad(), _Notes() as others:
        trial.value({k: p.clone() for k, p in trial.params.items()}, seed=1)
    if not any(map(torch.equal, notes.states, others.states)):
        return None
    return "the network seeds torch's generator, so that every task draws the same numbers"


def _state_for(given: Any) -> Tensor:
    """The state of the generator that an operation draws from."""
    device = next((t.device for t in tree_leaves(given) if isinstance(t, Tensor)), torch.device("cpu"))
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else host_state()


class _Notes(TorchDispatchMode):
    """Records the floating-point types of results, and the state of torch's generator at each draw."""

    def __init__(self) -> None:
        super().__init__()
        self.types: set[torch.dtype] = set()
        self.states: list[Tensor] = []
        self.others = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.others = self.others or (kwargs or {}).get("generator") is not None
            if len(self.states) < DRAWS:
                self.states.append(_state_for((args, kwargs)))
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, Tensor) and value.is_floating_point():
                self.types.add(value.dtype)
        return out


def _reach(found: Tensor, moving: dict[str, Tensor]) -> tuple[list[str], list[str]]:
    """The weights that the loss depends on, and those of them whose gradient is sparse."""
    if not found.requires_grad or not moving:
        return [], []
    grads = torch.autograd.grad(found, list(moving.values()), allow_unused=True, retain_graph=True)
    there = {k: g for k, g in zip(moving, grads, strict=True) if g is not None}
    return list(there), [k for k, g in there.items() if g.layout != torch.strided]


def _sole_readers(trial: Trial, calls: list[Call], expected: Tensor, reached: list[str]) -> list[Call]:
    """The calls of layers whose weight nothing else reads; a bias that something else reads is left out of them."""
    calls = [c for c in calls if c.weight in reached]
    if not calls or not bool(expected.isfinite()):
        return []

    def alone(names: list[str]) -> bool:
        keys = {name: StandIn.of(trial.params[name]) for name in names}
        layers = [(keys[n], Layer(n, trial.params[n])) for n in names if any(c.weight == n for c in calls)]
        biases = [(keys[n], n, trial.params[n]) for n in names if any(c.bias == n for c in calls)]
        others = {k: p.detach().requires_grad_(k in reached) for k, p in trial.params.items()}
        try:
            with torch.enable_grad(), active(Capture(layers, biases)):
                return torch.equal(trial.value({**others, **keys}), expected)
        except RuntimeError:  # another operation read the stand-in and failed
            return False

    names = list(dict.fromkeys(name for c in calls for name in (c.weight, c.bias) if name in reached))
    if alone(names):
        return [c if c.bias in names else c._replace(bias=None) for c in calls]
    sole = {name for name in names if alone([name])}
    return [c._replace(bias=c.bias if c.bias in sole else None) for c in calls if c.weight in sole]

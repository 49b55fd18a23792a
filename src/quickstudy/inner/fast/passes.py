"""One pass of a network over all tasks, with every task's own weights."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from quickstudy.inner.adapted import State
from quickstudy.inner.fast.capture import Call, Capture, Layer, active
from quickstudy.inner.fast.engines import map_tasks
from quickstudy.inner.fast.lowrank import LowRank
from quickstudy.inner.fast.plan import Plan, stand_in
from quickstudy.nets.clock import at_step
from quickstudy.substitute import substituted

if TYPE_CHECKING:
    from quickstudy.inner.loop import InnerLoop


class Pass:
    """A function of tensors only, `(leaves, rest) -> (values [T, ...], inputs of the caught calls, buffers left)`.

    Args:
        loop: whose network runs.
        plan: how.
        state: the tasks' weights.
        function: `(model, data of one task, outer) -> value`.
        data: `[T, ...]`.
        outer: for the function.
        step: how many inner steps came before.
        names: parameters whose gradients are wanted.
        calls: of layers that are caught: their gradients come from their inputs and outputs.
        count: `T`; needed where gradients are wanted.

    Attributes:
        leaves: what to differentiate by: zeros added to the outputs of the calls, then the other parameters.
        rest: everything else that is read.
    """

    def __init__(
        self,
        loop: "InnerLoop",
        plan: Plan,
        state: State,
        function: Callable[..., Tensor],
        data: Any,
        outer: Any,
        step: int,
        names: list[str] | None = None,
        calls: list[Call] | None = None,
        count: int = 0,
    ):
        names, calls = names or [], calls or []
        self.loop, self.plan, self.function, self.calls, self.step = loop, plan, function, calls, step
        low = {k: v for k, v in state.moved.items() if isinstance(v, LowRank)}
        caught = {c.weight for c in calls} | set(low)
        self.leaf_names = leaf_names(names, calls, plan.calls)
        values: dict[str, Any] = {**state.shared, **state.moved}
        self.rest = {
            "shared": {k: v for k, v in state.shared.items() if k not in self.leaf_names and k not in caught},
            "own": {k: v for k, v in state.moved.items() if k not in self.leaf_names and k not in caught},
            "base": {k: low[k].base if k in low else state.shared[k] for k in caught},
            "scale": {k: low[k].scale if k in low else 1.0 for k in caught},
            "factors": {k: low[k].factors() for k in low},
            "buffers": state.buffers,
            "data": data,
            "outer": outer,
            "judge": judge_parameters(loop.loss, loop.objective),
        }
        like = next((t for t in tree_leaves(values) if isinstance(t, Tensor)), torch.zeros(()))
        self.leaves = [like.new_zeros((count, *c.output_shape), dtype=c.dtype) for c in calls]
        for k in self.leaf_names:
            self.leaves.append(values[k] if k in state.moved else values[k].expand(count, *values[k].shape))
        biases = [k for k in dict.fromkeys(c.bias for c in calls) if k in names and k not in self.leaf_names]
        self.keys = {k: stand_in(self.rest["base"][k]) for k in caught}
        self.modes, self.training = modes(loop.network) if loop.mixed_mode else None, loop.network.training
        self.bias_keys = {k: stand_in(values[k][0] if k in state.moved else values[k]) for k in biases}

    def __call__(self, leaves: list[Tensor], rest: Any) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
        """Run it, with `leaves` and `rest` in place of its own."""
        calls, loop = self.calls, self.loop
        stacked = {**rest["own"], **dict(zip(self.leaf_names, leaves[len(calls) :], strict=True))}
        buffers = rest["buffers"]
        if self.training:  # written into, and every pass must leave what it was given
            buffers = {k: b.clone(memory_format=torch.contiguous_format) for k, b in buffers.items()}

        def task(probes: Any, stacked: Any, factors: Any, buffers: Any, data: Any) -> Any:
            mine = {**rest["shared"], **stacked}
            layers = [
                (key, Layer(k, rest["base"][k], rest["scale"][k], factors.get(k))) for k, key in self.keys.items()
            ]
            biases = [(key, mine[k]) for k, key in self.bias_keys.items()]
            capture = Capture(layers, biases, probes if calls else None)
            with active(capture), reparametrised(loop.loss, loop.objective, rest["judge"]):
                model = model_of(loop, {**mine, **self.keys, **self.bias_keys}, buffers)
                value = self.function(model, data, rest["outer"])
            if len(capture.inputs) != len(calls):
                raise RuntimeError("the network called fewer layers than when it was tried; use engine='loop' for it")
            return value, capture.inputs, buffers

        arguments = (leaves[: len(calls)], stacked, rest["factors"], buffers, rest["data"])
        with in_modes(loop.network, self.modes), at_step(self.step):
            return map_tasks(self.plan.vectorised, loop.randomness, task, *arguments)


def model_of(loop: "InnerLoop", params: dict[str, Tensor], buffers: dict[str, Tensor]) -> Callable[..., Tensor]:
    """The network as a function of its inputs, with these parameters, buffers and extra inputs."""
    inputs = {k: params[k] for k in loop.inputs}
    own = {k: v for k, v in params.items() if k not in inputs}

    def model(*arguments: Any, **options: Any) -> Tensor:
        with substituted(loop.network, {**own, **buffers}):
            out = loop.network(*arguments, **{**inputs, **options})
            for name in buffers:  # those that the network put another tensor in the place of
                buffers[name] = loop.network.get_buffer(name)
        return out

    return model


def modes(network: nn.Module) -> list[bool]:
    """Which of its modules are in training mode, in order."""
    return [module.training for module in network.modules()]


@contextmanager
def in_modes(network: nn.Module, given: list[bool] | None) -> Iterator[None]:
    """The network in these modes, as it was when they were noted."""
    if given is None or (before := modes(network)) == given:
        yield
        return
    try:
        for module, mode in zip(network.modules(), given, strict=True):
            module.training = mode
        yield
    finally:
        for module, mode in zip(network.modules(), before, strict=True):
            module.training = mode


def leaf_names(names: list[str], calls: list[Call], all_calls: tuple[Call, ...]) -> list[str]:
    """Those of `names` whose gradient does not come from the caught calls."""
    weights = {c.weight for c in calls}
    elsewhere = {c.bias for c in all_calls if c.weight not in weights}
    biases = {c.bias for c in calls} - elsewhere
    return [k for k in names if k not in weights and k not in biases]


def judge_parameters(loss: Any, objective: Any) -> dict[str, Tensor]:
    """Parameters of the loss itself, as the noise of a likelihood."""
    judge = _judge(loss, objective)
    return {} if judge is None else dict(judge.named_parameters())


def reparametrised(loss: Any, objective: Any, parameters: dict[str, Tensor]) -> AbstractContextManager[Any]:
    """The loss with these parameters in place of its own."""
    judge = _judge(loss, objective)
    if judge is None or not parameters:
        return nullcontext()
    return substituted(judge, parameters)


def _judge(loss: Any, objective: Any) -> nn.Module | None:
    function = objective if objective is not None else loss
    owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None

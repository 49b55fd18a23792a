"""Runs one function for all tasks, in one vectorised pass or for a single task.

Only the *forward* pass is vmapped. The inner gradient is the gradient of the sum of the task losses: since tasks do not
interact, this is the stack of the tasks' gradients. It is exact through every layer, while `vmap(grad(loss))` gives
wrong second derivatives through LayerNorm, BatchNorm and InstanceNorm.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from quickstudy.inner.modules.outputs import map_outputs
from quickstudy.inner.modules.settings import hooked
from quickstudy.inner.modules.tree import modules_of


def unvectorised(network: nn.Module) -> str | None:
    """The reason why torch cannot vmap this network, as far as it is known without a trial; otherwise None."""
    for _, module in modules_of(network):
        if isinstance(module, nn.RNNBase):
            return f"torch has no batching rule for {type(module).__name__}"
    if hooked(network):
        return "there are backward hooks, which must get one task at a time"
    return "the network has complex parameters" if any(p.is_complex() for p in network.parameters()) else None


def map_tasks(vectorised: bool, randomness: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """`function` for every task's slice of `arguments`, which are trees of tensors `[T, ...]`; results are stacked.

    If not `vectorised`, there must be a single task: the inner loop has split the batch before.
    """
    if vectorised:
        made: list[Any] = []

        def tensors(*arguments: Any) -> list[Tensor]:
            """The tensors, which torch stacks; the rest of the structure is the same for all tasks."""
            made.append(function(*arguments))
            found: list[Tensor] = []
            map_outputs(found.append, made[-1])
            return found

        dims = tuple(_dims(a) for a in arguments)
        stacked = iter(torch.vmap(tensors, in_dims=dims, randomness=randomness)(*arguments))
        return map_outputs(lambda _: next(stacked), made[-1])
    first = tree_map(lambda a: a.squeeze(0) if isinstance(a, Tensor) else a, arguments)
    return map_outputs(lambda a: a.unsqueeze(0), function(*first))


def _dims(tree: Any) -> Any:
    return tree_map(lambda a: 0 if isinstance(a, Tensor) else None, tree)

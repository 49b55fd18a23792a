"""How one function runs for all tasks: in one vectorised pass, or one by one.

Only the *forward* pass is ever mapped. The inner gradient is then taken of the sum of the task losses, which equals
the task gradients stacked, because tasks do not touch each other. That is exact through every layer, while
`vmap(grad(loss))` gives wrong second-order gradients through LayerNorm, BatchNorm and InstanceNorm.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

from quickstudy.inner.fast.capture import catching

Engine = Literal["auto", "loop", "batched", "lowrank"]
ENGINES = ("auto", "loop", "batched", "lowrank")
Randomness = Literal["different", "same"]


def unvectorised(network: nn.Module) -> str | None:
    """Why torch is known to have no batching rule for this network; None where it may have."""
    recurrent = next((type(m).__name__ for m in network.modules() if isinstance(m, nn.RNNBase)), None)
    if recurrent is not None:
        return f"torch has no batching rule for {recurrent}"
    return "the network has complex parameters" if any(p.is_complex() for p in network.parameters()) else None


def map_tasks(vectorised: bool, randomness: Randomness, function: Callable[..., Any], *arguments: Any) -> Any:
    """`function` of every task's slice of `arguments`: trees of tensors `[T, ...]`, results stacked `[T, ...]`.

    Without vectorising, there must be one task only: the inner loop has split the batch already.
    """
    if vectorised:
        return torch.vmap(function, in_dims=tuple(_dims(a) for a in arguments), randomness=randomness)(*arguments)
    first = tree_map(lambda a: a.squeeze(0) if isinstance(a, Tensor) else a, arguments)
    return tree_map(lambda a: a.unsqueeze(0), function(*first))


def in_transform() -> bool:
    """True while torch compiles or a `torch.func` transform runs, where only `torch.func.grad` is exact."""
    return torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None


@contextmanager
def prepared() -> Iterator[None]:
    """Layers caught and kernels exact, for an inner loop to run in; while torch compiles, its caller has seen to it."""
    if torch.compiler.is_compiling():
        yield
        return
    with exact_kernels(), catching():
        yield


@contextmanager
def exact_kernels() -> Iterator[None]:
    """Attention by its mathematical path: the fused kernels have no second derivative and no batching rule."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _dims(tree: Any) -> Any:
    return tree_map(lambda a: 0 if isinstance(a, Tensor) else None, tree)

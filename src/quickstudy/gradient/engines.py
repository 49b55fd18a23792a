"""The two ways of running one function for all tasks: `batched` (one vectorised pass) and `loop` (one by one).

Both only ever map the *forward* pass. The inner gradient is then taken of the sum of the task losses, which equals
the task gradients stacked, because tasks do not touch each other. That is exact through every layer, while
`vmap(grad(loss))` gives wrong second-order gradients through LayerNorm, BatchNorm and InstanceNorm.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

Engine = Literal["auto", "loop", "batched"]
ENGINES = ("auto", "loop", "batched")


def choose(engine: Engine, network: nn.Module) -> Literal["loop", "batched"]:
    """What `engine="auto"` means for this network: `batched`, but `loop` where torch has no batching rule."""
    if engine != "auto":
        return engine
    recurrent = any(isinstance(m, nn.RNNBase) for m in network.modules())
    return "loop" if recurrent else "batched"


def map_tasks(engine: Engine, network: nn.Module, function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """`function` of every task's slice of `arguments` (trees of tensors `[T, ...]`, or None), stacked `[T, ...]`.

    Where `engine="auto"` meets an operation of `network` that torch cannot batch, it warns and goes one by one.
    """
    if choose(engine, network) == "batched":
        dims = tuple(None if argument is None else 0 for argument in arguments)
        try:
            return torch.vmap(function, in_dims=dims, randomness="different")(*arguments)
        except RuntimeError as error:
            if engine == "batched" or "batching rule" not in str(error).lower():
                raise
            reason = str(error).split(";")[0].split("\n")[0]
            warnings.warn(f"tasks run one by one: {reason}. engine='loop' says so itself", RuntimeWarning, stacklevel=2)
    num_tasks = len(next(a for a in arguments if isinstance(a, Tensor)))
    return torch.stack(
        [function(*tree_map(lambda a, i=i: None if a is None else a[i], arguments)) for i in range(num_tasks)]
    )


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

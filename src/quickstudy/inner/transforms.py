"""The surroundings of an inner loop: torch's transforms, and kernels that have second derivatives."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def in_transform() -> bool:
    """True while torch compiles or a `torch.func` transform runs, where only `torch.func.grad` is exact."""
    return torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None


def own_leaf(tensor: Tensor) -> Tensor:
    """The tensor as a leaf that requires grad, marked as created by the inner loop."""
    leaf = tensor.detach().requires_grad_()
    leaf.of_inner_loop = True  # type: ignore[attr-defined]
    return leaf


def own_copy(tensor: Tensor) -> Tensor:
    """A clone that requires grad."""
    clone = tensor.clone()
    return clone if clone.requires_grad else own_leaf(clone)


class Switch:
    """A global switch that is on as long as any thread is inside `held()`.

    Args:
        on: turns it on, and returns the function that turns it off again.
    """

    def __init__(self, on: Callable[[], Callable[[], None]]):
        self._on, self._inside, self._lock = on, 0, threading.RLock()
        self._off: Callable[[], None] = lambda: None

    @contextmanager
    def held(self) -> Iterator[None]:
        """A context in which the switch is on."""
        with self._lock:
            if self._inside == 0:
                self._off = self._on()
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._off()


# torch's attention kernels: getter, setter, and whether the inner loop allows the kernel
_KERNELS: list[tuple[Callable[[], bool], Callable[[bool], None], bool]] = [
    (getattr(torch._C, f"_get_{name}_sdp_enabled"), getattr(torch._C, f"_set_sdp_use_{name}"), name == "math")
    for name in ("math", "flash", "mem_efficient", "cudnn", "overrideable")
    if name == "math" or hasattr(torch._C, f"_get_{name}_sdp_enabled")
]


def _mathematical_attention() -> Callable[[], None]:
    """Does the same as `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`, in a third of the time."""
    fast, before = torch.backends.mha.get_fastpath_enabled(), [get() for get, _, _ in _KERNELS]
    torch.backends.mha.set_fastpath_enabled(False)
    for _, put, allowed in _KERNELS:
        put(allowed)

    def off() -> None:
        for (_, put, _), was in zip(_KERNELS, before, strict=True):
            put(was)
        torch.backends.mha.set_fastpath_enabled(fast)

    return off


_ATTENTION = Switch(_mathematical_attention)


@contextmanager
def exact_kernels() -> Iterator[None]:
    """A context with unfused attention: the fused kernels have no second derivative and no batching rule.

    While torch compiles, nothing is switched; the caller has done so before.
    """
    if torch.compiler.is_compiling():
        yield
        return
    with _ATTENTION.held():
        yield

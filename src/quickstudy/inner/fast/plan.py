"""The plan for the passes of an inner loop, made once for each layout of the data."""

from dataclasses import dataclass, field

import torch

from quickstudy.inner.fast.capture import Call


@dataclass(frozen=True)
class Plan:
    """The findings of trial runs of the network, and the choices made from them.

    Args:
        vectorised: whether all tasks run in one pass.
        calls: calls, in order, of layers whose weights nothing else reads.
        reached: the adapted parameters that the loss depends on; None if that is not known.
        lowrank: names of the weights kept as low-rank sums.
        tangents: whether every operation of the pass has a forward derivative that can be differentiated in reverse.
        hidden: whether the loss depends on tensors with a graph that are unknown to the inner loop.
        mixed: whether gradients use mixed mode.
        written: parameters that the network writes into.
        sparse: parameters whose gradients are sparse.
        plainly: whether only plain PyTorch can run the network, since it writes into tensors that passes share.
        apart: whether the network keeps tensors other than parameters and buffers, which passes must not change.
        precision: the shortest floating-point type that the pass computes in.
        reasons: for the choices, in words.
    """

    vectorised: bool
    calls: tuple[Call, ...] = ()
    reached: frozenset[str] | None = None
    lowrank: frozenset[str] = frozenset()
    tangents: bool = False
    hidden: bool = False
    mixed: bool = False
    written: frozenset[str] = frozenset()
    sparse: frozenset[str] = frozenset()
    plainly: bool = False
    apart: bool = True
    precision: torch.dtype | None = None
    reasons: tuple[str, ...] = field(default=())

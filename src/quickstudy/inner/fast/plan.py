"""How the passes of an inner loop run; made once for each layout of the data."""

from dataclasses import dataclass, field

import torch

from quickstudy.inner.fast.capture import Call


@dataclass(frozen=True)
class Plan:
    """What was found by trying the network.

    Args:
        vectorised: all tasks in one pass, or one by one.
        calls: of layers whose weights are read by nothing else, in order.
        reached: the adapted parameters that the loss depended on; None where that is not known.
        lowrank: weights kept as low-rank sums.
        tangents: whether every operation of the pass has a forward derivative that can be differentiated in reverse.
        hidden: whether the loss depends on tensors with a graph that the inner loop was not given.
        mixed: gradients in mixed mode.
        written: parameters that the network writes into.
        sparse: parameters whose gradients have a sparse layout.
        plainly: whether only plain PyTorch can run it, since it writes into what passes share.
        apart: whether the network keeps tensors besides its parameters and buffers, which passes must not change.
        precision: the shortest floating-point type that the pass computes in.
        reasons: why it is so.
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

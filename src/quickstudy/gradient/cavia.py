"""CAVIA: fast context adaptation (Zintgraf, Shiarlis, Kurin, Hofmann and Whiteson 2019, arXiv 1810.03642)."""

import inspect
from typing import Unpack

import torch
from torch import nn

from quickstudy.checks import check_network, check_whole
from quickstudy.gradient.maml import MAML
from quickstudy.inner.options import MAMLOptions
from quickstudy.inner.rates import Rated
from quickstudy.nets import WithContext


def CAVIA(
    network: nn.Module, *, context: int, lr: Rated | None = None, steps: int = 1, **options: Unpack[MAMLOptions]
) -> MAML:
    """MAML in which only a few extra inputs adapt, the context, and no weight (algorithm 1).

    c' = c - lr * grad_c L(theta, c; support)  from c = 0,      min_theta  mean_t L(theta, c'_t; query_t).

    The initial context is fixed at zero: the weights that read the context are learned, so that a learned start would
    add nothing. `predictor.adapted.params["context"]` holds each task's adapted context, `[T, context]`. The paper's
    code trains on 25 sinusoids per step with 10 support and 10 query points each, and clamps every task's
    meta-gradient to +-10.

    Args:
        network: `(x, context=...) -> output`, where the context is a vector; or any network with `dx + context` input
            features, which gets each point's features followed by the context (see `quickstudy.nets.WithContext`).
        context: how many numbers adapt; 5 in the paper's code for sinusoids. With 0, this is joint training.
        lr: inner learning rate, 1 by default, as in the paper's code; `rule=` replaces it, as for `MAML`.
        steps, options: as for `MAML`, except `adapt` and `inputs`.

    >>> import quickstudy as qs
    >>> learner = qs.CAVIA(qs.nets.MLP(1 + 5, [40, 40], 1), context=5)
    >>> tasks = qs.tasks.Sinusoid().sample(25, support=10, query=10)
    >>> learner.adapt(tasks.support).adapted.params["context"].shape
    torch.Size([25, 5])
    """
    for name in ("adapt", "inputs"):
        if name in options:
            raise TypeError(f"CAVIA adapts only its context; for {name}= use MAML(network, inputs=..., adapt=...)")
    check_network(network)
    context = check_whole("context", context, 0)
    if "context" not in inspect.signature(network.forward).parameters:
        network = WithContext(network, context)
    like = next((p for p in network.parameters() if p.is_floating_point()), torch.zeros(()))
    if lr is None and "rule" not in options:
        lr = 1.0
    options["inputs"], options["adapt"] = {"context": like.detach().new_zeros(context)}, "context"
    return MAML(network, lr=lr, steps=steps, **options)

"""Points that attend to the points before them, and predictions of one point after another."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from quickstudy.data import Examples
from quickstudy.learner import Predictive
from quickstudy.processes.heads.head import entering
from quickstudy.processes.parts.transformer import Transformer


def attending_up_to(limits: Tensor, keys: int) -> Tensor:
    """Whether each token attends to each of `keys` keys, bool `[len(limits), keys]`: to the first `limits[i]` keys.

    >>> attending_up_to(torch.tensor([1, 3]), 3)
    tensor([[ True, False, False],
            [ True,  True,  True]])
    """
    return torch.arange(keys, device=limits.device) < limits.unsqueeze(-1)


def with_first(real: Tensor) -> Tensor:
    """The mask of the support tokens, `[T, 1 + N]`: one entry for the first token, then those of the points."""
    return torch.cat([real.new_ones(len(real), 1), real], 1)


def in_a_chain(transformer: Transformer, keys: Tensor, real: Tensor, points: Examples) -> Tensor:
    """The outputs `[T, M, outputs]` at each of `points`, given the support points and the points before it.

    Args:
        transformer: the network.
        keys: of the support tokens in every layer, `[T, layers, K, 2 width]`.
        real: whether each support token counts, `[T, K]`.
        points: `M` points as `entering` returns them.
    """
    tokens = transformer.more(points.x, points.y)
    real = torch.cat([real, points.real()], 1)[:, None, None]
    places = torch.arange(keys.shape[2], real.shape[3], device=tokens.device)
    keys = transformer.encode(tokens, attending_up_to(places + 1, real.shape[3]) & real, keys)
    return transformer.answer(points.x, keys, attending_up_to(places, real.shape[3]) & real)


class Stream:
    """Predicts point after point, each given the support set and all points before it; the keys have one buffer.

    Args:
        process: the process, with its `transformer`, `head` and `dy`.
        keys: of the support tokens in every layer, `[T, layers, K, 2 width]`.
        real: whether each support token counts, `[T, K]`.
        points: the largest number of points that will be appended.
    """

    def __init__(self, process: Any, keys: Tensor, real: Tensor, points: int):
        self._process, self._count = process, keys.shape[2]
        self._keys = pad(keys, (0, 0, 0, points))
        self._real = None if bool(real.all()) else pad(real, (0, points), value=True)

    def __call__(self, x: Tensor, last: Examples | None) -> Predictive:
        """The belief at `x [T, 1, dx]`, after `last`, one real point of each task, is appended."""
        transformer = self._process.transformer
        self._count += last is not None
        keys = self._keys[:, :, : self._count]
        allowed = None if self._real is None else self._real[:, None, None, : self._count]
        if last is None:
            outputs = transformer.answer(x, keys, allowed)
        else:
            last = entering(self._process.head, last)
            outputs = transformer.step(transformer.more(last.x, last.y), x, keys, allowed)
        belief: Predictive = self._process.head(outputs, self._process.dy)
        return belief

"""Functions drawn from a conditional process; each remembers the values that it has returned."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from quickstudy.data import Examples, aligned
from quickstudy.learner import Functions
from quickstudy.predictive.outcomes import check_draws
from quickstudy.processes.checks import check_inputs
from quickstudy.processes.heads.head import takes_labels


def remembering(predictor: Any, n: int, generator: torch.Generator | None) -> Functions:
    """`n` functions of a conditional process; see `ConditionalPredictor.functions`."""
    device = next(predictor.process.parameters()).device
    check_draws(n, generator, device)
    place = device if generator is None else generator.device
    seed = int(torch.randint(2**31, (), generator=generator, device=place))
    return Functions(_Memory(predictor, n, torch.Generator(device).manual_seed(seed)), n)


class _Memory:
    """The points at which `n` functions of each task were evaluated, and their values there.

    A value is drawn from the belief of the process given the support set and all values before it. All functions are
    evaluated together, even if only some are requested, so that values do not depend on which ones are.

    Args:
        predictor: a predictor of `T` tasks.
        n: number of functions.
        generator: source of the random values.
    """

    def __init__(self, predictor: Any, n: int, generator: torch.Generator):
        self._predictor, self._n, self._generator = predictor, n, generator
        repeated = (t.repeat(n, *[1] * (t.dim() - 1)) for t in predictor.state)
        self._state = type(predictor.state)(*repeated)  # function after function, task after task
        self._x: Tensor | None = None  # [T, K, dx]
        self._values: Tensor | None = None  # [n, T, K, dy], of labels [n, T, K]

    def __call__(self, x: Tensor, members: list[int]) -> Tensor:
        """The values `[len(members), T, M, dy]` of some functions at `x [T, M, dx]`; labels are one-hot, `[..., C]`."""
        process = self._predictor.process
        check_inputs(process, x, len(self._predictor.state.seen))
        with torch.no_grad():
            found = [self._at(process, x[:, [m]]) for m in range(x.shape[1])]
        if not found:
            mean = process.predict(self._predictor.state, x).mean
            return mean.new_zeros(len(members), *mean.shape)
        values = torch.stack(found, 2)[members]
        if takes_labels(process.head):
            classes = process.predict(self._predictor.state, x[:, :0]).mean.shape[2]
            return F.one_hot(values, classes).to(x.dtype)
        return values

    def _at(self, process: Any, x: Tensor) -> Tensor:
        """The values `[n, T, dy]`, of labels `[n, T]`, at one point `x [T, 1, dx]` of each task, new or old."""
        if self._x is None or self._values is None:
            known, old = x.new_zeros(len(x), dtype=torch.bool), None
        else:
            same = (self._x == x).all(-1)  # [T, K]
            known = same.any(1)
            place = same.int().argmax(1)
            old = self._values[:, torch.arange(len(x), device=x.device), place]
            if bool(known.all()):
                return old
        belief = process.predict(self._state, x.repeat(self._n, 1, 1))
        values = belief.sample(1, self._generator)[0, :, 0].unflatten(0, (self._n, len(x)))
        if old is not None:
            values = torch.where(aligned(known, old[0]), old, values)
        points = Examples(
            x.repeat(self._n, 1, 1), values.flatten(0, 1).unsqueeze(1), ~known.repeat(self._n).unsqueeze(1)
        )
        self._state = process.append(self._state, points)
        self._x = x if self._x is None else torch.cat([self._x, x], 1)
        new = values.unsqueeze(2)
        self._values = new if self._values is None else torch.cat([self._values, new], 2)
        return values

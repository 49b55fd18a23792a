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

    A value is drawn from the belief of the process given the support set and all values before it. A process that has a
    joint `belief` draws the new values of one call together. All functions are evaluated together, even if only some
    are requested, so that values do not depend on which ones are.

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
            parts = (x,) if hasattr(process, "belief") else x.split(1, 1)
            found = [self._at(process, part) for part in parts if x.shape[1]]
        if not found:
            mean = process.predict(self._predictor.state, x).mean
            return mean.new_zeros(len(members), *mean.shape)
        values = torch.cat(found, 2)[members]
        if takes_labels(process.head):
            classes = process.predict(self._predictor.state, x[:, :0]).mean.shape[2]
            return F.one_hot(values, classes).to(x.dtype)
        return values

    def _at(self, process: Any, x: Tensor) -> Tensor:
        """The values `[n, T, M, dy]`, of labels `[n, T, M]`, at `x [T, M, dx]`; new ones are drawn together."""
        first = _equal(x, x).int().argmax(2)  # the place of the first equal input, [T, M]
        new, old = first == torch.arange(x.shape[1], device=x.device), None
        if self._x is not None and self._values is not None:
            same = _equal(x, self._x)
            known, old = same.any(2), _taken(self._values, same.int().argmax(2))
            if bool(known.all()):
                return old
            new = new & ~known
        belief = process.predict(self._state, x.repeat(self._n, 1, 1))
        values = _taken(belief.sample(1, self._generator)[0].unflatten(0, (self._n, len(x))), first)
        if old is not None:
            values = torch.where(aligned(known, old[0]), old, values)
        points = Examples(x.repeat(self._n, 1, 1), values.flatten(0, 1), new.repeat(self._n, 1))
        self._state = process.append(self._state, points)
        self._x = x if self._x is None else torch.cat([self._x, x], 1)
        self._values = values if self._values is None else torch.cat([self._values, values], 2)
        return values


def _equal(x: Tensor, other: Tensor) -> Tensor:
    """Whether each input of `x [T, M, dx]` is each of `other [T, K, dx]`, bool `[T, M, K]`."""
    return (x.unsqueeze(2) == other.unsqueeze(1)).all(-1)


def _taken(values: Tensor, places: Tensor) -> Tensor:
    """The values `[n, T, M, ...]` at `places [T, M]` among `values [n, T, K, ...]`."""
    return values[:, torch.arange(len(places), device=places.device).unsqueeze(1), places]

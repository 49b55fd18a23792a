"""Functions drawn from a conditional process; each remembers the values that it has returned."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from quickstudy.data import Examples
from quickstudy.learner import Functions
from quickstudy.predictive.outcomes import check_draws
from quickstudy.predictive.parts.memory import Memory, local_generator
from quickstudy.processes.checks import check_inputs
from quickstudy.processes.heads.head import takes_labels


def remembering(predictor: Any, n: int, generator: torch.Generator | None) -> Functions:
    """`n` functions of a conditional process; see `ConditionalPredictor.functions`."""
    process, state = predictor.process, predictor.state
    device = next(process.parameters()).device
    check_draws(n, generator, device)
    memory = Memory(_OfProcess(predictor, n, local_generator(generator, device)))

    def evaluate(x: Tensor, members: list[int]) -> Tensor:
        """The values `[len(members), T, M, dy]` of some functions at `x [T, M, dx]`; labels are one-hot, `[..., C]`."""
        check_inputs(process, x, len(state.seen))
        with torch.no_grad():
            parts = (x,) if hasattr(process, "belief") else x.split(1, 1)
            found = [memory(part) for part in parts if x.shape[1]]
        if not found:
            mean = process.predict(state, x).mean
            return mean.new_zeros(len(members), *mean.shape)
        values = torch.cat(found, 2)[members]
        if takes_labels(process.head):
            classes = process.predict(state, x[:, :0]).mean.shape[2]
            return F.one_hot(values, classes).to(x.dtype)
        return values

    return Functions(evaluate, n)


class _OfProcess:
    """Draws from the belief of the process given the support set and all values before.

    Args:
        predictor: a predictor of `T` tasks.
        n: number of functions.
        generator: source of the random values.
    """

    def __init__(self, predictor: Any, n: int, generator: torch.Generator):
        self._process, self._n, self._generator = predictor.process, n, generator
        repeated = (t.repeat(n, *[1] * (t.dim() - 1)) for t in predictor.state)
        self._state = type(predictor.state)(*repeated)  # function after function, task after task

    def draw(self, x: Tensor) -> Tensor:
        """The values `[n, T, M, dy]`, of labels `[n, T, M]`."""
        belief = self._process.predict(self._state, x.repeat(self._n, 1, 1))
        drawn: Tensor = belief.sample(1, self._generator)[0]
        return drawn.unflatten(0, (self._n, len(x)))

    def observe(self, x: Tensor, values: Tensor, new: Tensor) -> None:
        """Append the new points to the support sets."""
        points = Examples(x.repeat(self._n, 1, 1), values.flatten(0, 1), new.repeat(self._n, 1))
        self._state = self._process.append(self._state, points)

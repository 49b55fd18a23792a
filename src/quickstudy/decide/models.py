"""What a planner imagines with: the futures of many candidates of `T` tasks at once."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from quickstudy.decide.encoding import Encoding
from quickstudy.rl.environment import EnvironmentTasks, Simulator

World = Callable[[Tensor, Tensor], Tensor]
"""The states `[H, T, K, ds]` that actions `[H, T, K]` lead to from `state [T, ds]`, or from one of each candidate,
`[T, K, ds]`. Where reward and end are known too, they are further columns, in this order."""


class Model(Protocol):
    """Draws what one plan follows from its first step to its last."""

    def imagine(self, generator: torch.Generator | None = None) -> World:
        """A way that the world may be, of every task: the same one whenever it is asked."""


class Learned:
    """A predictor's belief: each plan follows one of its `functions`, so a whole imagined future is of one cart.

    Where the predictor has no functions (a CNP, MAML), all plans follow its mean.

    Args:
        predictor: of changes of state, from the inputs of `encoding`.
        encoding: of the family that its learner was trained on.
    """

    def __init__(self, predictor: Any, encoding: Encoding):
        self.predictor, self.encoding = predictor, encoding

    def imagine(self, generator: torch.Generator | None = None) -> World:
        """One function for each task."""
        try:
            values = self.predictor.functions(1, generator)
        except NotImplementedError:
            return unrolled(lambda x: self.predictor(x).mean, self.encoding)
        return unrolled(lambda x: values(x)[0], self.encoding)


class Fixed:
    """One network for all tasks, whatever was seen of them.

    Args:
        network: of changes of state, `[..., dx] -> [..., dy]`, from the inputs of `encoding`.
        encoding: of the family that it was trained on.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], encoding: Encoding):
        self.network, self.encoding = network, encoding

    def imagine(self, generator: torch.Generator | None = None) -> World:
        """The same each time."""
        return unrolled(self.network, self.encoding)


class Simulated:
    """The true physics: what a model could be at best.

    Args:
        env: whose `dynamics` are known.
        tasks: the true ones.
        reward, end: whether these are told too, as `Transitions` of the same arguments has them learned.
    """

    def __init__(self, env: Simulator, tasks: EnvironmentTasks, *, reward: bool = False, end: bool = False):
        self.env, self.tasks, self.reward, self.end = env, tasks, reward, end

    def imagine(self, generator: torch.Generator | None = None) -> World:
        """The same each time, but for the environment's own chance."""

        def world(state: Tensor, action: Tensor) -> Tensor:
            now = _of_candidates(state).expand(-1, action.shape[2], -1)
            states = []
            for step in action:
                now, reward, terminated = self.env.dynamics(self.tasks, now, step, generator)
                told = [value for value, wanted in ((reward, self.reward), (terminated, self.end)) if wanted]
                states.append(torch.cat([now, *(v.to(now).unsqueeze(-1) for v in told)], -1) if told else now)
            return torch.stack(states)

        return world


def unrolled(change: Callable[[Tensor], Tensor], encoding: Encoding) -> World:
    """The world in which `change [T, K, dy]` of inputs `[T, K, dx]` is what happens at every step."""
    ds, ratio = encoding.ds, encoding.change_scale / encoding.state_scale
    more = encoding.dy - ds

    def world(state: Tensor, action: Tensor) -> Tensor:
        horizon, tasks, candidates = action.shape
        # inputs of all steps, filled in as the states come: nothing is copied on the way
        x = state.new_empty(horizon + 1, tasks, candidates, encoding.dx)
        x[:horizon, ..., ds:] = encoding.features(action)
        x[0, ..., :ds] = _of_candidates(state / encoding.state_scale)
        outputs: list[Tensor] = []
        for step in range(horizon):
            output = change(x[step])
            torch.addcmul(x[step, ..., :ds], output[..., :ds], ratio, out=x[step + 1, ..., :ds])
            if more:
                outputs.append(output)
        states = x[1:, ..., :ds] * encoding.state_scale
        return torch.cat([states, encoding.outcomes(torch.stack(outputs))], -1) if more else states

    return world


def _of_candidates(state: Tensor) -> Tensor:
    """`state [T, ds]` as `[T, 1, ds]`; `[T, K, ds]` as it is."""
    return state if state.dim() == 3 else state.unsqueeze(1)

"""Models of the environments' dynamics, which predict the states for many sequences of actions together."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from quickstudy.decide.encoding import Encoding
from quickstudy.processes.conditional import ConditionalPredictor
from quickstudy.rl.environment import EnvironmentTasks, Simulator

World = Callable[[Tensor, Tensor], Tensor]
"""A function `(state, action) -> states`: the states `[H, T, K, ds]` after each of the actions `[H, T, K]` (or real
actions `[H, T, K, da]`), starting at
`state [T, ds]`, or at `[T, K, ds]` for a state of each candidate. If modelled, reward and end are further columns."""


class Model(Protocol):
    """A distribution over dynamics; a plan follows one draw from it in all of its steps."""

    def imagine(self, generator: torch.Generator | None = None) -> World:
        """Draw the dynamics of every task; the result is a deterministic function unless the simulator is random."""


class Learned:
    """The model of a predictor: a plan follows one draw of its `functions`, so all steps have the same dynamics.

    If the predictor has no functions (MAML), or evaluates them only point after point (a CNP), plans follow its mean.

    Args:
        predictor: predicts changes of state, with the inputs and outputs of `encoding`.
        encoding: the encoding of the family that its learner was trained on.
    """

    def __init__(self, predictor: Any, encoding: Encoding):
        self.predictor, self.encoding = predictor, encoding

    def imagine(self, generator: torch.Generator | None = None) -> World:
        """One function drawn for each task."""
        if isinstance(self.predictor, ConditionalPredictor):
            return unrolled(lambda x: self.predictor(x).mean, self.encoding)
        try:
            values = self.predictor.functions(1, generator)
        except NotImplementedError:
            return unrolled(lambda x: self.predictor(x).mean, self.encoding)
        return unrolled(lambda x: values(x)[0], self.encoding)


class Fixed:
    """One network for all tasks, which is never adapted.

    Args:
        network: predicts changes of state, `[..., dx] -> [..., dy]`, with the inputs and outputs of `encoding`.
        encoding: the encoding of the family that it was trained on.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], encoding: Encoding):
        self.network, self.encoding = network, encoding

    def imagine(self, generator: torch.Generator | None = None) -> World:
        """The network's dynamics."""
        return unrolled(self.network, self.encoding)


class Simulated:
    """The true dynamics: the best possible model.

    Args:
        env: the environment, which has `dynamics`.
        tasks: the true tasks.
        reward, end: whether reward and end are further columns, as with the same arguments of `Transitions`.

    Raises:
        TypeError: for an environment whose dynamics are no function.
    """

    def __init__(self, env: Simulator, tasks: EnvironmentTasks, *, reward: bool = False, end: bool = False):
        if not callable(getattr(env, "dynamics", None)):
            raise TypeError(
                f"{type(env).__name__} has no dynamics(tasks, state, action), so it cannot be simulated from any "
                "state; learn a model from Transitions.from_environment(env)"
            )
        self.env, self.tasks, self.reward, self.end = env, tasks, reward, end

    def imagine(self, generator: torch.Generator | None = None) -> World:
        """The true dynamics; random numbers of the environment, if it has any, are drawn from `generator`."""

        def world(state: Tensor, action: Tensor) -> Tensor:
            now = _of_candidates(state).expand(-1, action.shape[2], -1)
            states = []
            for step in action:
                now, reward, terminated = self.env.dynamics(self.tasks, now, step, generator)
                more = [value for value, wanted in ((reward, self.reward), (terminated, self.end)) if wanted]
                states.append(torch.cat([now, *(v.to(now).unsqueeze(-1) for v in more)], -1) if more else now)
            return torch.stack(states)

        return world


def unrolled(change: Callable[[Tensor], Tensor], encoding: Encoding) -> World:
    """The dynamics in which every step changes the state by `change`, a function `[T, K, dx] -> [T, K, dy]`."""
    ds, ratio = encoding.ds, encoding.change_scale / encoding.state_scale
    more = encoding.dy - ds

    def world(state: Tensor, action: Tensor) -> Tensor:
        horizon, tasks, candidates = action.shape[:3]
        # the inputs of all steps; each step writes its state into the next input, so that nothing is copied
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

"""Baselines: values of observations, fitted to returns.

`baseline.fit(episodes, returns)` returns a function `(observation [T, E, H, *do], time [T, E, H]) -> value [T, E, H]`.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from quickstudy.rl.episodes import Episodes

Value = Callable[[Tensor, Tensor], Tensor]


class Baseline(Protocol):
    """Fits the values of observations.

    A baseline that remembers earlier fits is an `nn.Module` whose `state_dict` holds all that it learned, so that the
    learner's checkpoints hold it, too. In eval mode it leaves itself unchanged.
    """

    def fit(self, episodes: Episodes, returns: Tensor) -> Value:
        """The function `(observation, time) -> value [T, E, H]` fitted to the returns `[T, E, H]` where not masked."""


def check_saved(baseline: Any) -> None:
    """Raise TypeError for a baseline that learns and is no module: checkpoints would not hold what it learned."""
    if not callable(getattr(baseline, "fit", None)):
        raise TypeError(f"baseline is a {type(baseline).__name__}; expected an object with fit(episodes, returns)")
    learned = [
        name
        for name, value in getattr(baseline, "__dict__", {}).items()
        if isinstance(value, nn.Module | torch.optim.Optimizer) or (isinstance(value, Tensor) and value.requires_grad)
    ]
    if not isinstance(baseline, nn.Module) and (learned or hasattr(baseline, "state_dict")):
        kind, what = type(baseline).__name__, f"its {learned[0]}" if learned else "its state"
        raise TypeError(
            f"{kind} learns ({what}) and is not a torch.nn.Module, so that no checkpoint holds it; derive {kind} from "
            "nn.Module, and keep in its state_dict what it needs to go on"
        )

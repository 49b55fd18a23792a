"""Loads the state of an optimiser from a checkpoint of unknown origin; the state is checked first."""

from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.runs.reading import short

_ADAM = {"step", "exp_avg", "exp_avg_sq"}
_LIKE_PARAMETERS = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "grad_avg", "sum"}


def load_optimizer(optimizer: Any, state: Any) -> None:
    """Load `state` into `optimizer`. Raises ValueError, naming the first fault, if `state` is not one of its states.

    Args:
        optimizer: an optimiser of torch; or another object with `load_state_dict`, which must check the state itself.
        state: from its `state_dict()`.
    """
    if isinstance(optimizer, torch.optim.Optimizer):
        _check_groups(optimizer.state_dict(), state)
        params = [p for group in optimizer.param_groups for p in group["params"]]
        for index, values in state["state"].items():
            if type(index) is not int or not 0 <= index < len(params) or not isinstance(values, dict):
                raise ValueError(f"it has a state for parameter {short(index)}, which does not exist")
            _check_values(values, params[index], adam=isinstance(optimizer, torch.optim.Adam))
    optimizer.load_state_dict(state)


def _check_groups(own: dict[str, Any], state: Any) -> None:
    if not isinstance(state, dict) or not isinstance(state.get("state"), dict):
        raise ValueError("it is not a dictionary with a state")
    groups = state.get("param_groups")
    if not isinstance(groups, list) or len(groups) != len(own["param_groups"]):
        raise ValueError("it has other groups of parameters")
    for expected, given in zip(own["param_groups"], groups, strict=True):
        for name, value in expected.items():
            if not isinstance(given, dict) or name not in given or not _alike(value, given[name]):
                raise ValueError(f"a group of parameters has another {name}")
        if given["params"] != expected["params"]:
            raise ValueError("its groups hold other parameters")


def _check_values(values: dict[Any, Any], parameter: nn.Parameter, *, adam: bool) -> None:
    if adam and not _ADAM <= set(values):
        raise ValueError(f"{short(sorted(_ADAM - set(values)))} are missing")
    for name, value in values.items():
        if name in _LIKE_PARAMETERS and not (value is None or getattr(value, "shape", None) == parameter.shape):
            raise ValueError(f"{name} does not have the shape of its parameter, {list(parameter.shape)}")
        if adam and name == "step" and not (isinstance(value, Tensor) and value.numel() == 1 and value.item() >= 0):
            raise ValueError(f"step is {short(value)}")


def _alike(expected: Any, given: Any) -> bool:
    """Whether two settings of a group have the same type; a bool may be None."""
    if isinstance(expected, list | tuple):
        return type(expected) is type(given) and len(expected) == len(given) and all(map(_alike, expected, given))
    if isinstance(expected, Tensor):
        return isinstance(given, Tensor) and expected.shape == given.shape
    for kinds in ((bool, type(None)), (int, float, Tensor)):
        if type(expected) in kinds:
            return type(given) in kinds
    return type(expected) is type(given)

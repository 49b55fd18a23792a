"""The state of an optimiser, as a checkpoint that may be anybody's has it: looked at before it is loaded."""

from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.runs.reading import short

_ADAM = {"step", "exp_avg", "exp_avg_sq"}
_LIKE_PARAMETERS = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "grad_avg", "sum"}


def load_optimizer(optimizer: Any, state: Any) -> None:
    """Give `optimizer` the `state`. Raises ValueError, naming the first thing wrong, for one it cannot have saved.

    Args:
        optimizer: of torch, or anything else with `load_state_dict`, which must then look for itself.
        state: what its `state_dict()` was.
    """
    if isinstance(optimizer, torch.optim.Optimizer):
        _check_groups(optimizer.state_dict(), state)
        params = [p for group in optimizer.param_groups for p in group["params"]]
        for index, values in state["state"].items():
            if type(index) is not int or not 0 <= index < len(params) or not isinstance(values, dict):
                raise ValueError(f"there is a state of parameter {short(index)}")
            _check_values(values, params[index], adam=isinstance(optimizer, torch.optim.Adam))
    optimizer.load_state_dict(state)


def _check_groups(own: dict[str, Any], state: Any) -> None:
    if not isinstance(state, dict) or not isinstance(state.get("state"), dict):
        raise ValueError("it is no dictionary with a state")
    groups = state.get("param_groups")
    if not isinstance(groups, list) or len(groups) != len(own["param_groups"]):
        raise ValueError("it has other groups of parameters")
    for mine, theirs in zip(own["param_groups"], groups, strict=True):
        for name, value in mine.items():
            if not isinstance(theirs, dict) or name not in theirs or not _alike(value, theirs[name]):
                raise ValueError(f"a group of parameters has another {name}")
        if theirs["params"] != mine["params"]:
            raise ValueError("its groups hold other parameters")


def _check_values(values: dict[Any, Any], parameter: nn.Parameter, *, adam: bool) -> None:
    if adam and not _ADAM <= set(values):
        raise ValueError(f"{short(sorted(_ADAM - set(values)))} are missing")
    for name, value in values.items():
        if name in _LIKE_PARAMETERS and not (value is None or getattr(value, "shape", None) == parameter.shape):
            raise ValueError(f"{name} does not have the shape of its parameter, {list(parameter.shape)}")
        if adam and name == "step" and not (isinstance(value, Tensor) and value.numel() == 1 and value.item() >= 0):
            raise ValueError(f"step is {short(value)}")


def _alike(mine: Any, theirs: Any) -> bool:
    """Whether two settings of a group are of one kind; a switch may be unset (None)."""
    if isinstance(mine, list | tuple):
        return type(mine) is type(theirs) and len(mine) == len(theirs) and all(map(_alike, mine, theirs))
    if isinstance(mine, Tensor):
        return isinstance(theirs, Tensor) and mine.shape == theirs.shape
    for kinds in ((bool, type(None)), (int, float, Tensor)):
        if type(mine) in kinds:
            return type(theirs) in kinds
    return type(mine) is type(theirs)

"""The results of networks and objectives: tensors, and tuples, lists, dictionaries and dataclasses of them."""

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def map_outputs(function: Callable[[Tensor], Any], value: Any) -> Any:
    """`value` with `function` applied to every tensor in it.

    >>> map_outputs(lambda t: t + 1, {"a": (torch.zeros(1), None)})
    {'a': (tensor([1.]), None)}
    """
    return join_outputs(lambda tensors: function(tensors[0]), [value])


def join_outputs(function: Callable[[list[Tensor]], Any], values: Sequence[Any]) -> Any:
    """One value with the structure of all `values`, in which `function` joins the tensors at each place.

    Raises:
        TypeError: if the values do not have the same structure.
    """
    first = values[0]
    if len(values) > 1 and any(type(v) is not type(first) for v in values):
        kinds = ", ".join(sorted({type(v).__name__ for v in values}))
        raise TypeError(f"tasks returned different things ({kinds}); return the same structure for every task")
    if isinstance(first, Tensor):
        return function(list(values))
    if type(first) in (list, tuple):
        return type(first)([join_outputs(function, items) for items in zip(*values, strict=True)])
    if isinstance(first, Mapping):
        items = {k: join_outputs(function, [v[k] for v in values]) for k in first}
        if type(first) is dict:
            return items
        new: Any = copy.copy(first)
        for key, item in items.items():
            new[key] = item
        return new
    if dataclasses.is_dataclass(first) and not isinstance(first, type):
        new = copy.copy(first)
        for spot in dataclasses.fields(first):
            item = join_outputs(function, [getattr(v, spot.name) for v in values])
            object.__setattr__(new, spot.name, item)
        return new
    if isinstance(first, list | tuple):  # a subclass
        parts = [join_outputs(function, list(items)) for items in zip(*values, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    if first is None or isinstance(first, bool | int | float | str | torch.dtype | torch.device):
        return first
    raise TypeError(
        f"a {type(first).__name__} was returned, which cannot be stacked over tasks; return tensors in tuples, lists, "
        "dicts or dataclasses, or register the class with torch.utils._pytree.register_pytree_node"
    )


def concatenated(values: Sequence[Any], order: Tensor | None = None) -> Any:
    """The outputs of several parts of a batch as one, the tasks in `order`."""

    def together(tensors: list[Tensor]) -> Tensor:
        whole = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
        return whole if order is None else whole[order.to(whole.device)]

    return join_outputs(together, values)

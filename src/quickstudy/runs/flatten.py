"""Nested state as JSON plus named tensors, and back: the format of optimiser state, without pickle.

JSON has no tuples, no integer keys and no infinities, so containers and such floats carry a tag:
`{"tuple": [...]}`, `{"dict": [[key, value], ...]}`, `{"float": "nan"}`, and `{"tensor": name}` for a tensor.
A tensor that occurs twice (tied weights) is stored once, under its first name.
"""

import math
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

_SEQUENCES: dict[type, str] = {list: "list", tuple: "tuple"}
_MAPPINGS: dict[type, str] = {dict: "dict", OrderedDict: "ordered_dict"}
_TYPES = {tag: kind for kind, tag in (*_SEQUENCES.items(), *_MAPPINGS.items())}


def flatten(tree: Any) -> tuple[Any, dict[str, Tensor]]:
    """A nested state as `(structure, tensors)`: JSON values, and the tensors by name.

    Raises:
        TypeError: for a leaf that is not None, bool, int, float, str or a dense tensor.

    >>> structure, tensors = flatten({"step": 3, 0: (1.5, torch.ones(2))})
    >>> structure
    {'dict': [['step', 3], [0, {'tuple': [1.5, {'tensor': '0/1'}]}]]}
    >>> list(tensors)
    ['0/1']
    """
    tensors: dict[str, Tensor] = {}
    return _encode(tree, (), tensors, {}), tensors


def unflatten(structure: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `flatten`. Raises ValueError or KeyError for anything that `flatten` does not write."""
    if structure is None or isinstance(structure, bool | int | float | str):
        return structure
    if not isinstance(structure, dict) or len(structure) != 1:
        raise ValueError(f"{str(structure)[:80]!r} is not a flattened state")
    tag, value = next(iter(structure.items()))
    if tag == "tensor":
        return tensors[value]
    if tag == "float":
        return float(value)
    if tag not in _TYPES:
        raise ValueError(f"unknown tag {tag!r} in a flattened state")
    if tag in ("list", "tuple"):
        return _TYPES[tag](unflatten(part, tensors) for part in value)
    return _TYPES[tag]((unflatten(key, tensors), unflatten(part, tensors)) for key, part in value)


def _encode(value: Any, path: tuple[str, ...], tensors: dict[str, Tensor], seen: dict[Any, str]) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind in (Tensor, nn.Parameter):
        return {"tensor": _keep(value, path, tensors, seen)}
    if kind in _SEQUENCES:
        return {_SEQUENCES[kind]: [_encode(part, (*path, str(i)), tensors, seen) for i, part in enumerate(value)]}
    if kind in _MAPPINGS:
        return {_MAPPINGS[kind]: [_entry(key, part, path, tensors, seen) for key, part in value.items()]}
    raise TypeError(
        f"a {kind.__module__}.{kind.__qualname__} at {'/'.join(path) or 'the top'} cannot be saved in a checkpoint; "
        "keep state as None, bool, int, float, str, dense tensors, and lists, tuples and dicts of them"
    )


def _entry(key: Any, part: Any, path: tuple[str, ...], tensors: dict[str, Tensor], seen: dict[Any, str]) -> list[Any]:
    if isinstance(key, Tensor):
        raise TypeError(f"a tensor is a key at {'/'.join(path) or 'the top'}; use numbers or words as keys")
    return [_encode(key, path, tensors, seen), _encode(part, (*path, str(key)), tensors, seen)]


def _keep(tensor: Tensor, path: tuple[str, ...], tensors: dict[str, Tensor], seen: dict[Any, str]) -> str:
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise TypeError(f"the tensor at {'/'.join(path)} is {tensor.layout}; only dense tensors can be saved")
    tensor = tensor.detach()
    identity = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
    if tensor.numel() and identity in seen:
        return seen[identity]
    name = "/".join(path) or "value"
    while name in tensors:  # the keys 0 and "0" are two entries with one path
        name += "'"
    tensors[name] = tensor
    seen[identity] = name
    return name

"""One operation of a pass over points: its inputs and results, and random inputs for a trial."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

FAR = 100.0  # size of the change of a point, larger than all other numbers


class Op(NamedTuple):
    """One operation of a pass: its function, arguments that are no tensors, tensors read, and resulting tensors."""

    function: Any
    plain: list[tuple[str, Any]]
    read: list[Tensor]
    gave: list[Tensor]


class Axis(NamedTuple):
    """The axis of points of a tensor: element `i` along `dim` belongs to point `(i // inner) % points`."""

    dim: int
    inner: int


def draw_numbers(tensor: Tensor, kind: "Axis | bool", turn: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random numbers in place of a tensor that depends on points, and changed ones; they differ between turns."""
    if kind is False:
        return tensor, tensor
    like = torch.empty_like(tensor)
    if tensor.dtype == torch.bool:
        return torch.full_like(like, turn == 0), torch.full_like(like, turn == 1)
    if not (tensor.is_floating_point() or tensor.is_complex()):
        low, high = (int(tensor.min()), int(tensor.max())) if tensor.numel() else (0, 0)
        low, high = (low, high) if high > low else (low - turn, high + 1 - turn)  # one turn can be out of range
        drawn = torch.randint(low, high + 1, tensor.shape, generator=chance)
        return like.copy_(drawn), torch.full_like(like, low if turn else high)
    base = torch.randn(tensor.shape, generator=chance)
    far = FAR * (1 + torch.rand(tensor.shape, generator=chance)) * (-1) ** turn
    return like.copy_(base), torch.empty_like(tensor).copy_(far)


def numbers_there(tensor: Tensor, kind: "Axis | bool", turn: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """The tensor's own numbers, and those of other points."""
    del chance
    if not isinstance(kind, Axis):
        return tensor, tensor
    return tensor, torch.roll(tensor, kind.inner * (1 + turn), kind.dim)


def mixture(
    drawn: list[Tensor], moved: list[Tensor], kinds: list["Axis | bool"], which: int | None, size: int
) -> list[Tensor]:
    """Copies of the tensors with one point changed, or with those changed that depend on all points."""
    found = []
    for one, other, kind in zip(drawn, moved, kinds, strict=True):
        new = one.clone()
        if which is not None and which >= 0 and isinstance(kind, Axis):
            place = torch.arange(new.shape[kind.dim], device=new.device)
            index = ((place // kind.inner) % size == which).nonzero().squeeze(1)
            new.index_copy_(kind.dim, index, other.index_select(kind.dim, index))
        elif which == -1 and kind is True:
            new.copy_(other)
        found.append(new)
    return found


def differ(one: Tensor, other: Tensor) -> Tensor:
    """Where two tensors differ; NaN equals NaN. There is no tolerance: an operation rounds equal numbers equally."""
    if one.shape != other.shape:
        return torch.ones(one.shape, dtype=torch.bool)
    return (one != other) & ~((one != one) & (other != other))


def written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors that an operation writes into."""
    found: list[Tensor] = []
    for i, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[i] if i < len(args) else kwargs.get(argument.name)
            found += [t for t in tree_leaves(value) if isinstance(t, Tensor)]
    return found


def plain_arguments(func: Any, args: Any, kwargs: Any) -> list[tuple[str, Any]]:
    """The arguments of an operation without their tensors, by name."""
    named = [(a.name, value) for a, value in zip(func._schema.arguments, args, strict=False)]
    return [(k, [v for v in tree_leaves(value) if not isinstance(v, Tensor)]) for k, value in (*named, *kwargs.items())]


def storage_of(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def place_of(tensor: Tensor) -> Any:
    return storage_of(tensor), tensor.storage_offset(), tuple(tensor.shape), tensor.stride()

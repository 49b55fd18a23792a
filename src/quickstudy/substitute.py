"""A module with other tensors in the place of its own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def substituted(module: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """`module` with `tensors` as its parameters and buffers, and afterwards as it was.

    A tensor under several names (tied weights, a submodule registered twice) is given by its first name, as
    `named_parameters` and `named_buffers` give it, and replaced everywhere. (`torch.func.functional_call` leaves a
    submodule that is registered twice with the substitutes.)
    """
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    instead = {id(own[name]): tensor for name, tensor in tensors.items()}
    replaced: list[tuple[dict[str, Any], str, Tensor]] = []
    try:
        for part in module.modules():
            places: tuple[dict[str, Any], ...] = (part._parameters, part._buffers)
            for place in places:
                for name, tensor in place.items():
                    if tensor is not None and id(tensor) in instead:
                        replaced.append((place, name, tensor))
                        place[name] = instead[id(tensor)]
        yield
    finally:
        for place, name, tensor in reversed(replaced):
            place[name] = tensor

"""Other tensors as a module's parameters and buffers, for a while."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def substituted(module: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """A context in which `tensors` are the parameters and buffers of `module`; afterwards it has its own again.

    A tensor under several names (tied weights, a submodule registered twice) is replaced under all of them; `tensors`
    holds its first name, as in `named_parameters` and `named_buffers`. (`torch.func.functional_call` does not restore
    a submodule that is registered twice.)
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

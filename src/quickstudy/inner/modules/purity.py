"""What running something again, or trying it, must leave as it was: random numbers, generators and tensors."""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.inner.modules.copies import owned_tensors

DEPTH = 4  # of containers and closures that are looked through
NOT_THE_SAME = (
    "{} runs steps again on the way back, and this time they gave other numbers: the network, the objective or batch= "
    "draws random numbers from a generator of its own (numpy, random or a torch.Generator), or changes from call to "
    "call. Draw from torch's own generator, whose state is put back, or leave the option out"
)
HIDDEN = (
    "the loss depends on tensors that require grad and that the inner loop was not given; {} cannot see them: pass "
    "them as outer=, the objective's third argument"
)


def same_again(before: Tensor, after: Tensor) -> bool:
    """Whether numbers that were computed twice agree, but for rounding."""
    close = {torch.float64: 1e-8, torch.float32: 1e-3}.get(before.dtype, 3e-2)
    scale = float(before.abs().max()) if before.numel() else 0.0
    return bool(torch.allclose(before, after.to(before.dtype), rtol=close, atol=close * scale, equal_nan=True))


def random_state(tensors: Sequence[Tensor]) -> Any:
    """The state of torch's generators, so that dropout falls the same way again."""
    device = next((t.device for t in tensors if t.device.type == "cuda"), None)
    return torch.get_rng_state(), device, None if device is None else torch.cuda.get_rng_state(device)


def has_drawn(since: Any) -> bool:
    """Whether torch's generators have moved on from a `random_state`."""
    host, device, theirs = since
    if not torch.equal(host, torch.get_rng_state()):
        return True
    return device is not None and not torch.equal(theirs, torch.cuda.get_rng_state(device))


@contextmanager
def replayed(state: Any) -> Iterator[None]:
    """Torch's generators as they were at `random_state`, and afterwards as they are."""
    host, device, theirs = state
    with torch.random.fork_rng(devices=[] if device is None else [device]):
        torch.set_rng_state(host)
        if theirs is not None:
            torch.cuda.set_rng_state(theirs, device)
        yield


@contextmanager
def replaying(randomness: str, parts: int) -> Iterator[Callable[[], None]]:
    """A function to call before each part, so that all of them draw the "same" random numbers, if they should."""
    if randomness == "different" or parts == 1:
        yield lambda: None
        return
    state = torch.get_rng_state()
    yield lambda: torch.set_rng_state(state)


@contextmanager
def untouched(network: nn.Module, *functions: Callable[..., Any] | None) -> Iterator[None]:
    """What runs inside may write into tensors, and draw random numbers; afterwards nothing of it is left.

    Args:
        network: its tensors, its generators, and what its hooks close over are seen to.
        functions: likewise.
    """
    tensors, generators = _within_reach(network, functions)
    kept = [(t, t._version, t.detach().clone()) for t in tensors]
    states = [(g, g.get_state()) for g in generators]
    python, numpy = random.getstate(), sys.modules.get("numpy.random")
    theirs = None if numpy is None else numpy.get_state()
    devices = sorted({t.device.index for t in tensors if t.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        if numpy is not None:
            numpy.set_state(theirs)
        for generator, state in states:
            generator.set_state(state)
        with torch.no_grad():
            for tensor, version, value in kept:
                if tensor._version != version:
                    tensor.detach().copy_(value)


def _within_reach(network: nn.Module, functions: Any) -> tuple[list[Tensor], list[torch.Generator]]:
    tensors: dict[int, Tensor] = {}
    generators: dict[int, torch.Generator] = {}
    seen: set[int] = set()

    def look(value: Any, depth: int) -> None:
        if isinstance(value, Tensor):
            if not value.is_inference() and not value.is_meta and value.layout == torch.strided:
                tensors[id(value)] = value
        elif isinstance(value, torch.Generator):
            generators[id(value)] = value
        elif depth and id(value) not in seen:
            seen.add(id(value))
            if isinstance(value, nn.Module):
                for tensor in owned_tensors(value):
                    look(tensor, depth)
                for module in value.modules():
                    for item in module.__dict__.values():
                        if isinstance(item, torch.Generator):
                            look(item, depth)
                    for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values()):
                        look(hook, depth - 1)
            elif isinstance(value, list | tuple | set):
                for item in value:
                    look(item, depth - 1)
            elif isinstance(value, dict):
                for item in value.values():
                    look(item, depth - 1)
            else:
                look(getattr(value, "__self__", None), depth - 1)
                for cell in getattr(value, "__closure__", None) or ():
                    look(_content(cell), depth - 1)

    for start in (network, *functions):
        look(start, DEPTH)
    return list(tensors.values()), list(generators.values())


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None

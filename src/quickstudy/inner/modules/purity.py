"""Trial runs and reruns without traces: random numbers, generators, attributes and tensors are restored."""

import copy
import random
import threading
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quickstudy.checks import values_are_readable
from quickstudy.inner.modules.operations import differ
from quickstudy.inner.modules.tree import CONTAINERS, owned_tensors

_ONE_AT_A_TIME = threading.RLock()  # all threads share what is restored
# torch reads the state of its generator under a mutex, and may give the interpreter to another thread meanwhile, as
# when garbage is collected. If that thread waits for the mutex, neither goes on; so it waits for this lock first.
_GENERATOR = threading.RLock()
_REFILLED = frozenset((list, dict, set, deque))
MOST = 1024  # entries of a container that is restored
DEPTH = 7  # levels of containers and closures that are searched
NOT_THE_SAME = (
    "{} runs steps again in the backward pass, and they gave other numbers: the network, the objective or batch= "
    "draws random numbers from a generator of its own (numpy, random or a torch.Generator), or changes from call to "
    "call. Draw from torch's own generator, whose state is restored, or leave the option out"
)
HIDDEN = (
    "the loss depends on tensors that require grad and are unknown to the inner loop; {} cannot differentiate them: "
    "pass them as outer=, the objective's third argument"
)


def same_again(before: Tensor, after: Tensor) -> bool:
    """Whether the results of two runs agree up to rounding."""
    if before.shape != after.shape:
        return False
    if before.numel() == 1 == after.numel() and before.dtype == torch.float32:  # the usual case, made fast
        one, other = before.item(), after.item()
        return abs(one - other) <= 1e-3 * abs(one) or (one != one and other != other) or one == other
    if not before.is_floating_point():
        return torch.equal(before, after)
    close = {torch.float64: 1e-8, torch.float32: 1e-3}.get(before.dtype, 3e-2)
    scale = float(before.abs().max()) if before.numel() else 0.0
    return bool(torch.allclose(before, after.to(before.dtype), rtol=close, atol=close * scale, equal_nan=True))


def host_state() -> Tensor:
    """The state of torch's generator on the CPU; several threads may ask at once."""
    with _GENERATOR:
        return torch.get_rng_state()


def set_host_state(state: Tensor) -> None:
    """Set the state of torch's generator on the CPU."""
    with _GENERATOR:
        torch.set_rng_state(state)


def random_state(tensors: Sequence[Tensor]) -> Any:
    """The state of torch's generators, with which dropout can be repeated."""
    device = next((t.device for t in tensors if t.device.type == "cuda"), None)
    return host_state(), device, None if device is None else torch.cuda.get_rng_state(device)


def outside_random_state() -> Any:
    """The states of Python's own generator and of numpy's."""
    state: Any = np.random.get_state()
    return random.getstate(), tuple(part.tobytes() if hasattr(part, "tobytes") else part for part in state)


def reseed(seed: int) -> None:
    """Seed torch's own generators; `torch.manual_seed` takes 100 times as long."""
    with _GENERATOR:
        torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def has_drawn(since: Any) -> bool:
    """Whether torch's generators have moved on from a `random_state`."""
    host, device, theirs = since
    if not torch.equal(host, host_state()):
        return True
    return device is not None and not torch.equal(theirs, torch.cuda.get_rng_state(device))


@contextmanager
def replayed(state: Any) -> Iterator[None]:
    """A context in which torch's generators have the state `random_state()`; afterwards they have their present one."""
    host, device, theirs = state
    with torch.random.fork_rng(devices=[] if device is None else [device]):
        set_host_state(host)
        if theirs is not None:
            torch.cuda.set_rng_state(theirs, device)
        yield


@contextmanager
def replaying(randomness: str, parts: int) -> Iterator[Callable[[], None]]:
    """Gives a function to call before each part; with randomness "same", it resets torch's generators."""
    if randomness == "different" or parts == 1:
        yield lambda: None
        return
    state, theirs = host_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def again() -> None:
        set_host_state(state)
        torch.cuda.set_rng_state_all(theirs)

    yield again


def changed(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors differ (NaN equals NaN); False for a sparse layout, and while torch traces."""
    if not values_are_readable(one) or one.layout != torch.strided:
        return False
    return one.shape != other.shape or (not torch.equal(one, other) and bool(differ(one, other).any()))


@contextmanager
def untouched(network: nn.Module, *others: Any) -> Iterator[None]:
    """A context after which tensors, attributes, containers and random generators are as before.

    Args:
        network: its tensors, attributes and generators are restored, and those that its hooks close over.
        others: functions, rules and trees of tensors, which are restored in the same way.
    """
    with _ONE_AT_A_TIME:
        reach = _Reach()
        for start in (network, *others):
            reach.look(start, DEPTH)
        kept = [(t, t.detach().clone()) for t in reach.tensors.values()]
        attributes = [(d, dict(d)) for d in reach.attributes.values()]
        states = [(put, get()) for get, put in reach.generators.values()]
        contents = [(c, copy.copy(c)) for c in reach.containers.values()]
        cells = [(c, c.cell_contents) for c in reach.cells.values()]
        devices = sorted({t.device.index for t in reach.tensors.values() if t.device.type == "cuda"})
        try:
            with torch.random.fork_rng(devices=devices):
                yield
        finally:
            for put, state in states:
                put(state)
            for own, before in attributes:
                if len(own) != len(before) or any(own.get(k) is not v for k, v in before.items()):
                    own.clear()
                    own.update(before)
            with torch.no_grad():
                for cell, value in cells:
                    cell.cell_contents = value
                for container, before in contents:
                    _refill(container, before)
                for tensor, value in kept:
                    if changed(tensor, value):
                        tensor.data = value


def _refill(container: Any, before: Any) -> None:
    """Restore the entries of a list, dictionary, set or deque."""
    if _held(container) != _held(before):
        container.clear()
        container.extend(before) if isinstance(container, list | deque) else container.update(before)


def _held(container: Any) -> list[Any]:
    if isinstance(container, dict):
        return [(id(key), id(value)) for key, value in container.items()]
    return [id(item) for item in container]


class _Reach:
    """Collects the tensors, attributes and generators that an object owns or closes over."""

    def __init__(self) -> None:
        self.tensors: dict[int, Tensor] = {}
        self.attributes: dict[int, dict[str, Any]] = {}
        self.containers: dict[int, Any] = {}
        self.cells: dict[int, types.CellType] = {}
        self.generators: dict[int, tuple[Callable[[], Any], Callable[[Any], Any]]] = {}
        self._seen: set[int] = set()
        self.generators[0] = random.getstate, random.setstate
        self.generators[1] = np.random.get_state, np.random.set_state

    def look(self, value: Any, depth: int) -> None:
        """Collect from `value` and from what it holds, up to `depth` levels deep."""
        if isinstance(value, Tensor):
            if not value.is_inference() and not value.is_meta and value.layout == torch.strided:
                self.tensors[id(value)] = value
        elif depth and value is not None and id(value) not in self._seen:
            self._seen.add(id(value))
            if isinstance(value, torch.Generator):
                self.generators[id(value)] = value.get_state, value.set_state
            elif isinstance(value, random.Random):
                self.generators[id(value)] = value.getstate, value.setstate
            elif (bits := getattr(value, "bit_generator", None)) is not None and hasattr(bits, "state"):
                self.generators[id(value)] = lambda: bits.state, lambda state: setattr(bits, "state", state)
            elif isinstance(value, nn.Module):
                self._module(value, depth)
            elif isinstance(value, CONTAINERS):
                if type(value) in _REFILLED and len(value) <= MOST:
                    self.containers[id(value)] = value
                self._each(value, depth)
            elif isinstance(value, dict):
                if type(value) in _REFILLED and len(value) <= MOST:
                    self.containers[id(value)] = value
                self._each(value.values(), depth)
            else:
                self._object(value, depth)

    def _module(self, module: nn.Module, depth: int) -> None:
        for tensor in owned_tensors(module):
            self.look(tensor, depth)
        for part in module.modules():
            self._seen.add(id(part))
            self.attributes[id(part)] = part.__dict__
            self._each([v for k, v in part.__dict__.items() if k != "_modules"], depth)
            if type(part).__module__.partition(".")[0] != "torch":
                self._each([v for v in vars(type(part)).values() if isinstance(v, Tensor)], depth)

    def _object(self, value: Any, depth: int) -> None:
        if isinstance(value, type | types.ModuleType):
            return
        self.look(getattr(value, "__self__", None), depth - 1)
        for cell in getattr(value, "__closure__", None) or ():
            try:
                held = cell.cell_contents
            except ValueError:  # an empty cell
                continue
            if isinstance(held, int | float | str | bool | tuple | type(None)):
                self.cells[id(cell)] = cell
            self.look(held, depth - 1)
        own = getattr(value, "__dict__", None)
        if isinstance(own, dict):
            self.attributes[id(value)] = own
            self._each(own.values(), depth)

    def _each(self, values: Iterable[Any], depth: int) -> None:
        for item in list(values):
            self.look(item, depth - 1)

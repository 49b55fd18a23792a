"""Training with many processes: those that `torchrun` started, and how they communicate.

Only process 0 writes to the disk. An error in one process is raised in all of them, so that none waits for a process
that has failed. Without torchrun there is one process, and it communicates with nobody.
"""

import atexit
import gc
import os
import pickle
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

from quickstudy.devices import pick_device
from quickstudy.runs.flatten import flatten, unflatten
from quickstudy.runs.signals import POLITE, Signals

T = TypeVar("T")
WORDS: Final = 3  # flags at the end of the summed tensor: failed, received SIGINT, received SIGTERM or the like
_NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


class LostProcessError(RuntimeError):
    """Another process of the same training ended without reporting an error: it was killed, or its machine was lost."""


class World:
    """The processes of one training.

    Args:
        rank: rank of this process, 0 to `size - 1`.
        size: number of processes.
        local: rank of this process on its machine, which is the number of its GPU.
    """

    def __init__(self, rank: int = 0, size: int = 1, local: int = 0):
        self.rank, self.size, self.local = rank, size, local
        self._signals: Signals | None = None
        self._asked: int | None = None

    @property
    def first(self) -> bool:
        """Whether this is process 0, which writes files and shows progress."""
        return self.rank == 0

    def pick(self, device: torch.device | str) -> torch.device:
        """Return the requested device. Each of several processes takes its own GPU, which becomes torch's current one.

        Raises:
            ValueError: if the device does not exist.
        """
        picked = pick_device(device)
        if self.size == 1 or picked.type == "cpu":
            return picked
        if picked.index is not None:
            raise ValueError(
                f"device {device!r} with {self.size} processes, each of which uses its own GPU; use device='cuda'"
            )
        if self.local >= torch.cuda.device_count():
            raise ValueError(
                f"process {self.rank} needs GPU number {self.local} of its machine, where torch sees "
                f"{torch.cuda.device_count()} GPUs; start one process per GPU, or use device='cpu'"
            )
        torch.cuda.set_device(self.local)
        return picked

    def each(self, make: Callable[[], T]) -> list[T]:
        """Call `make` in every process; returns all results by rank. An error in one process is raised in all."""
        if self.size == 1:
            return [make()]
        mine: tuple[Any, Exception | None]
        try:
            mine = (make(), None)
        except Exception as error:
            mine = (None, error)
        found: list[Any] = [None] * self.size
        with _communicating():
            dist.all_gather_object(found, (mine[0], portable(mine[1])))
        for rank, (_, failure) in enumerate(found):
            if failure is not None:
                raise mine[1] if rank == self.rank and mine[1] is not None else failure
        return [value for value, _ in found]

    def together(self, make: Callable[[], T]) -> T:
        """Call `make` in every process; returns that of this process. An error in one process is raised in all."""
        if self.size == 1:
            return make()
        kept: list[T] = []
        self.each(lambda: kept.append(make()))
        return kept[0]

    def once(self, make: Callable[[], T]) -> T:
        """Call `make` only in process 0; returns its result in every process. An error is raised in all."""
        if self.size == 1:
            return make()
        return self.each(lambda: make() if self.first else None)[0]  # type: ignore[return-value]

    def listen(self, signals: Signals) -> None:
        """Send the signal that this process received to the other processes with every `sum`."""
        self._signals, self._asked = signals, None

    def asked(self) -> int | None:
        """Return the signal that stops the training, received by any process before the last `sum`.

        A single process returns the signal that it has received.
        """
        if self.size > 1:
            return self._asked
        return None if self._signals is None else self._signals.received

    def agree_to_leave(self) -> None:
        """Share signals that processes received after the last `sum`, so that all processes stop if one does."""
        if self.size > 1 and self._signals is not None:
            mine = self._signals
            received = {number for number in self.each(lambda: mine.received) if number is not None}
            mine.received = max(received, default=None)  # SIGTERM before SIGINT

    def sum(self, flat: Tensor, failure: Exception | None = None) -> None:
        """Sum `flat` over all processes, in place. Its last `WORDS` entries are overwritten.

        Args:
            flat: a vector.
            failure: an error of this process, which is raised in all processes.
        """
        if self.size == 1:
            if failure is not None:
                raise failure
            return
        received = None if self._signals is None else self._signals.received
        words = [failure is not None, received == signal.SIGINT, received in POLITE]
        flat[-WORDS:] = torch.tensor(words, dtype=flat.dtype)
        with _communicating():
            dist.all_reduce(flat)
        failed, interrupted, terminated = flat[-WORDS:].tolist()
        if failed:
            self.each(lambda: _throw(failure))
        self._asked = signal.SIGTERM if terminated else signal.SIGINT if interrupted else None

    def broadcast(self, learner: nn.Module) -> None:
        """Give every process the parameters and buffers that `learner` has in process 0."""
        if self.size > 1:
            with torch.no_grad(), _communicating():
                for tensor in (*learner.parameters(), *learner.buffers()):
                    sent = tensor.detach().contiguous()
                    dist.broadcast(sent, 0)
                    tensor.copy_(sent)

    def broadcast_state(self, state: Any) -> Any:
        """Return the nested state of process 0 in every process."""
        if self.size == 1:
            return state
        structure, tensors = flatten(state)
        kinds = {name: (t.shape, t.dtype, t.device.type) for name, t in tensors.items()}
        structure, kinds = self.once(lambda: (structure, kinds))
        given = {}
        for name, (shape, dtype, device) in kinds.items():
            given[name] = tensors[name].contiguous() if self.first else torch.empty(shape, dtype=dtype, device=device)
            with _communicating():
                dist.broadcast(given[name], 0)
        return state if self.first else unflatten(structure, given)


def find_world() -> World:
    """Connect the processes that torchrun started, by gloo, and on GPUs nccl; without torchrun, there is only one.

    Raises:
        ValueError: if environment variables that torchrun sets are missing.
    """
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size(), _number("LOCAL_RANK", dist.get_rank()))
    size = _number("WORLD_SIZE", 1)
    if size == 1:
        return World()
    missing = [name for name in _NEEDED if name not in os.environ]
    if missing:
        raise ValueError(
            f"WORLD_SIZE={size} without {', '.join(missing)} in the environment; start the script by torchrun, "
            "or unset WORLD_SIZE"
        )
    store, rank, _ = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
    if os.environ.get("LOCAL_WORLD_SIZE") == str(size):
        # torchrun keeps the store of a job on one machine, with the addresses of processes that it has restarted since
        attempt = f"attempt {_number('TORCHELASTIC_RESTART_COUNT', 0)}"
        store = dist.PrefixStore(attempt, store)  # type: ignore[attr-defined]
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    atexit.register(_leave)  # threads of the group that still run may abort the process when Python ends
    return World(dist.get_rank(), size, _number("LOCAL_RANK", 0))


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
        gc.collect()  # the threads of the group end with the last reference to it


def job() -> str | None:
    """Return the name of torchrun's job, which a restart of its workers does not change; None without torchrun."""
    if "TORCHELASTIC_RESTART_COUNT" not in os.environ:
        return None
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return name if name != "none" else f"agent {os.getppid()}"  # torchrun calls a job without a name "none"


def is_restart(config: Mapping[str, Any]) -> bool:
    """Return whether torchrun restarted the job that began the run with this config, which should then be resumed."""
    return _number("TORCHELASTIC_RESTART_COUNT", 0) > 0 and config.get("job") == job()


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise ValueError(f"{name}={text!r} in the environment; expected a whole number, as torchrun sets it")
    return int(text)


@contextmanager
def _communicating() -> Iterator[None]:
    """Turn errors of a broken connection into LostProcessError."""
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"^\[\S*\] ", "", str(error)).split(". ")[0]  # without the source line of gloo, and its advice
        raise LostProcessError(
            f"another process of this training is gone ({reason}); continue from the last checkpoint by exist='resume' "
            "(torchrun --max-restarts does so automatically)"
        ) from error


def portable(error: Exception | None) -> Exception | None:
    """Return the error, or a RuntimeError with the same message if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # pickling a class of another package can raise anything
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _throw(error: Exception | None) -> None:
    if error is not None:
        raise error

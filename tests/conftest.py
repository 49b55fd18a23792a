"""What every test starts from: one thread, float32, seeded random numbers; nothing leaks into the next."""

import os
import signal
from collections.abc import Iterator

import pytest
import shapes
import torch

shapes.install()  # before anything imports quickstudy
torch.set_num_threads(1)  # tests run side by side, one a core
os.environ |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}  # the processes that tests start, too
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a suite that was started in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as under nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def clean_slate() -> Iterator[None]:
    """Seed torch, and restore the default dtype and determinism flags that a test may have changed."""
    dtype = torch.get_default_dtype()
    deterministic = torch.are_deterministic_algorithms_enabled()
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(dtype)
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded generator on the CPU."""
    return torch.Generator().manual_seed(0)

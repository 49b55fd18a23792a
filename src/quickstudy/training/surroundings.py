"""The environment of a training: device, threads, training mode and torch's random numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from quickstudy.devices import pick_device


@contextmanager
def surroundings(learner: nn.Module, config: dict[str, Any]) -> Iterator[None]:
    """Set device, threads and training mode of a run; restore threads, modes and random numbers at the end."""
    device, threads = pick_device(config["device"]), torch.get_num_threads()
    modes = {module: module.training for module in learner.modules()}
    learner.to(device).train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.set_num_threads(config["threads"])
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            for module, mode in modes.items():
                module.training = mode

"""Where every random number of a run comes from: its seed, mixed with a place and a stream.

A batch, the noise of a step and the validation tasks are pure functions of `(seed, place)`. So a resumed run
needs no generator state, and any number of processes can draw the same batch.
"""

from enum import IntEnum

import torch

_MASK = (1 << 64) - 1


class Stream(IntEnum):
    """What the random numbers are for; streams of one seed are unrelated."""

    BATCH = 1
    SIZES = 2
    NOISE = 3
    VALIDATION = 4
    VALIDATION_SIZES = 5
    VALIDATION_NOISE = 6
    EVALUATION = 7
    EVALUATION_NOISE = 8
    ACTING = 9
    SLICE = 10


def mix(seed: int, place: int, stream: Stream) -> int:
    """A 63-bit seed for one place in one stream (the splitmix64 finaliser, Steele et al. 2014, three times over).

    >>> mix(0, 0, Stream.BATCH) != mix(0, 1, Stream.BATCH) != mix(1, 0, Stream.BATCH)
    True
    """
    state = _splitmix(int(stream))
    state = _splitmix(state ^ (seed & _MASK))
    return _splitmix(state ^ (place & _MASK)) >> 1


def seed_noise(seed: int, device: torch.device) -> None:
    """Seed torch's own generators, of the processor and of `device` (`torch.manual_seed` takes 100 times as long)."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)


def _splitmix(z: int) -> int:
    z = (z + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)

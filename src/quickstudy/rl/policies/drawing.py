"""Random numbers of policies."""

from typing import Any

import torch
from torch import Tensor

from quickstudy.learner import check_generator


def drawn_by(outputs: Tensor, generator: torch.Generator | None) -> dict[str, Any]:
    """Arguments with which `torch.rand` and similar functions draw on the generator's device."""
    check_generator(generator)
    return {"generator": generator, "device": outputs.device if generator is None else generator.device}


def normal_noise(outputs: Tensor, components: int, steps: int, generator: torch.Generator | None) -> Tensor:
    """Standard normal draws `[steps, ..., components]` for outputs `[..., k]`."""
    shape = (steps, *outputs.shape[:-1], components)
    return torch.randn(shape, dtype=outputs.dtype, **drawn_by(outputs, generator)).to(outputs.device)


def gumbel_noise(outputs: Tensor, steps: int, generator: torch.Generator | None) -> Tensor:
    """Gumbel draws `[steps, ..., k]` for logits `[..., k]`: argmax(logits + noise) is a draw from their softmax."""
    where = drawn_by(outputs, generator)
    drawn = torch.empty((steps, *outputs.shape), dtype=outputs.dtype, device=where["device"])
    return -drawn.exponential_(generator=generator).log_().to(outputs.device)

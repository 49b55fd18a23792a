"""The hidden images of the page: digits that are typed, and handwritten ones where scikit-learn is installed."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from quickstudy.play.message import MessageError
from quickstudy.tasks.datasets import pictures
from quickstudy.tasks.typed_digits import LEVELS, typed_digits

SIDE = 16  # pixels
PIXELS = SIDE * SIDE


class Set(NamedTuple):
    """A set of hidden images.

    Args:
        title: its name in words.
        about: one sentence about it.
        image: function from a seed to the grey levels `[PIXELS]` of an image, whole numbers below `LEVELS`.
    """

    title: str
    about: str
    image: Callable[[int], Tensor]


def _typed(seed: int) -> Tensor:
    """A digit that was not in training, whose pictures have the seed 0."""
    return typed_digits(1, side=SIDE, seed=seed + 1).images[0, ..., 0].flatten().long()


@lru_cache(1)
def _handwriting() -> Tensor:
    """Scikit-learn's digits `[N, PIXELS]`, twice as high and wide as they are."""
    try:
        found = pictures.digits()
    except ModuleNotFoundError as error:
        raise MessageError(str(error)) from None
    grey = found.images[..., 0].float().unsqueeze(1) / (found.levels - 1)
    larger = F.interpolate(grey, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return (larger * (LEVELS - 1)).round().long().flatten(1)


def _handwritten(seed: int) -> Tensor:
    digits = _handwriting()
    return digits[seed % len(digits)]


SETS = {
    "typed": Set(
        "Typed digits",
        "Digits in eight fonts, of random size, place, slant, turn and stroke. The learners have seen 14,000 others.",
        _typed,
    ),
    "handwritten": Set(
        "Handwritten digits",
        "Scikit-learn's digits, enlarged. No learner here has seen handwriting: how do they fare, and do they know it?",
        _handwritten,
    ),
}


def intensities(levels: Tensor) -> Tensor:
    """y of these grey levels, as `quickstudy.tasks.Images` has it without noise."""
    return (levels.to(torch.get_default_dtype()) + 0.5) / LEVELS - 0.5

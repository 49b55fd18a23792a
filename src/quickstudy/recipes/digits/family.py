"""Few-shot tasks from scikit-learn's handwritten digits: 1,797 images of 8 x 8 pixels that come with the package."""

from dataclasses import dataclass
from functools import cache
from typing import final

import torch
from torch import Tensor

from quickstudy.data import Examples, Tasks
from quickstudy.extras import missing_package
from quickstudy.learner import Split
from quickstudy.tasks.sampling import split_generator, uniform

CLASSES, SIDE = 10, 8
SHARES = {"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}  # shares of the images of each class


@final
@dataclass(frozen=True, kw_only=True)
class Digits:
    """Tasks that classify `ways` of the ten digits, with labels that are drawn for every task.

    Training, validation and test tasks have different images of the same ten digits, since ten are too few for three
    splits of five. So a learner can know from training how digits look; which digits a task has, and their labels, it
    must infer from the support set.

    Args:
        ways: number of digits in a task.
    """

    ways: int = 5

    def sample(
        self,
        num_tasks: int,
        *,
        support: int,
        query: int,
        split: Split = "train",
        generator: torch.Generator | None = None,
    ) -> Tasks:
        """Draw tasks. Points cycle through the classes, so that the first points of a support set are a smaller one.

        Args:
            num_tasks: number of tasks.
            support, query: total numbers of points, multiples of `ways`; no image occurs twice in a task.
            split: the split that images come from.
            generator: source of the random numbers.

        Returns:
            Tasks with images `[T, N, 1, 8, 8]` in [0, 1], labels `[T, N]`, and `info` digits `[T, ways]`.

        Raises:
            ValueError: if a number of points is not a multiple of `ways`, or the split has too few images.
        """
        generator = split_generator(num_tasks, support, query, split, generator)
        images = pool(split).to(torch.get_default_dtype())
        seen, each = support // self.ways, (support + query) // self.ways
        if support % self.ways or query % self.ways or each > images.shape[1]:
            raise ValueError(
                f"support={support}, query={query}; expected multiples of {self.ways} classes, and at most "
                f"{images.shape[1]} images of each class in both sets together"
            )
        digits = uniform(num_tasks, CLASSES, generator=generator).argsort(1)[:, : self.ways]
        places = uniform(num_tasks, self.ways, images.shape[1], generator=generator).argsort(2)[:, :, :each]
        x = images.to(digits.device)[digits[:, :, None], places].transpose(1, 2)
        y = torch.arange(self.ways, device=digits.device).expand(num_tasks, each, self.ways)
        first, rest = slice(seen), slice(seen, each)
        return Tasks(
            Examples(x[:, first].flatten(1, 2), y[:, first].flatten(1)),
            Examples(x[:, rest].flatten(1, 2), y[:, rest].flatten(1)),
            {"digits": digits},
        )


@cache
def pool(split: Split) -> Tensor:
    """The images of a split in float64, P of each digit, `[10, P, 1, 8, 8]`.

    Raises:
        ModuleNotFoundError: if scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise missing_package("sklearn", "images", "these digits are part of scikit-learn") from error
    data = load_digits()
    images, digits = torch.as_tensor(data.images) / 16, torch.as_tensor(data.target)
    of_each = [images[digits == digit] for digit in range(CLASSES)]
    fewest = min(map(len, of_each))
    low, high = (int(share * fewest) for share in SHARES[split])
    order = torch.randperm(fewest, generator=torch.Generator().manual_seed(0))[low:high]
    return torch.stack([found[order] for found in of_each]).unsqueeze(2)

"""N-way K-shot tasks from a labelled data set."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from quickstudy.learner import SPLITS
from quickstudy.tasks import Classification


def _data(classes: int = 12, each: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Each point holds its class, counted from 100, and its number, so that it can be recognised."""
    labels = 100 + torch.arange(classes).repeat(each)
    return torch.stack([labels, torch.arange(len(labels))], 1).float(), labels


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("split", SPLITS)
def test_labels_stand_for_the_classes_of_the_task(split: Any) -> None:
    tasks = Classification(*_data(), ways=2).sample(20, support=6, query=8, split=split, generator=_seeded())
    classes = tasks.info["classes"]
    for examples in tasks[:2]:
        assert torch.equal(examples.x[..., 0].long(), classes.gather(1, examples.y))
        assert examples.y.tolist() == [[0, 1] * (examples.num_points // 2)] * 20
    together = torch.cat([tasks.support.x, tasks.query.x], 1)[..., 1]
    assert all(len(set(points.tolist())) == 14 for points in together)  # no point occurs twice
    assert bool((classes[:, 0] > classes[:, 1]).any()) and bool((classes[:, 0] < classes[:, 1]).any())


def test_splits_have_classes_of_their_own() -> None:
    family = Classification(*_data(), ways=2, fractions=(0.5, 0.25, 0.25))
    seen = {s: set(family.sample(60, support=2, query=2, split=s).info["classes"].flatten().tolist()) for s in SPLITS}
    assert [len(seen[split]) for split in SPLITS] == [6, 3, 3] and len(set.union(*seen.values())) == 12
    named = Classification(*_data(), ways=2, splits={"train": [103, 105], "test": [100, 111]})
    assert set(named.sample(9, support=2, query=2).info["classes"].flatten().tolist()) == {103, 105}
    with pytest.raises(ValueError, match=r"the validation split holds no class; change fractions= or splits="):
        named.sample(9, support=2, query=2, split="validation")


def test_classes_of_unequal_sizes_are_drawn_to_their_end() -> None:
    labels = torch.tensor([0] * 3 + [1] * 9)
    family = Classification(torch.arange(12.0)[:, None], labels, ways=2, fractions=(1.0, 0.0, 0.0))
    tasks = family.sample(300, support=2, query=4, generator=_seeded())
    points = torch.cat([tasks.support.x, tasks.query.x], 1).flatten().unique()
    assert len(points) == 12
    with pytest.raises(ValueError, match=r"2 \+ 2 points of each of 2 classes; expected at most 3 together"):
        family.sample(1, support=4, query=4)


def test_arrays_of_numpy_and_whole_pixels_become_numbers_of_the_default_type() -> None:
    images = np.arange(48, dtype=np.uint8).reshape(12, 1, 2, 2)
    tasks = Classification(images, np.arange(12) % 3, ways=3, fractions=(1.0, 0.0, 0.0)).sample(2, support=3, query=3)
    assert tasks.support.x.shape == (2, 3, 1, 2, 2) and tasks.support.x.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"y": torch.rand(96)}, r"y is torch.float32 of shape \[96\]; expected points x \[N, \*dx\]"),
        ({"y": torch.zeros(96, 12, dtype=torch.long)}, r"y\.argmax\(1\) turns one-hot labels into numbers"),
        ({"y": torch.zeros(95, dtype=torch.long)}, r"one whole number for each, y \[N\]"),
        ({"x": torch.full((96, 2), math.nan)}, "x has NaN or infinite values"),
        ({"ways": 5}, "the validation split has 2 of 12 classes, and a task has ways=5; give fewer ways"),
        ({"ways": 0}, "ways=0"),
    ],
)
def test_invalid_data(change: dict[str, Any], says: str) -> None:
    x, y = _data()
    arguments: dict[str, Any] = {"x": x, "y": y, "ways": 2, **change}
    with pytest.raises(ValueError, match=says) as caught:
        Classification(**arguments)
    assert "\n" not in str(caught.value)

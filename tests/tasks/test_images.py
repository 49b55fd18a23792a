"""Images as tasks: places, intensities, splits, held-out classes, and the ceiling of the likelihood."""

import math
from typing import Any

import pytest
import torch

from quickstudy.learner import SPLITS
from quickstudy.tasks import Images


def _levels(*shape: int, levels: int = 17, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, levels, shape, generator=torch.Generator().manual_seed(seed))


def test_pixels_are_those_of_the_image(generator: torch.Generator) -> None:
    """Each pixel of each image, found again from its coordinates; support and query together are the whole image."""
    levels = _levels(30, 5, 4, 3)
    family = Images(levels, levels=17, dequantise=False)
    tasks = family.sample(8, support=7, query=13, generator=generator)
    points = tasks.support.append(tasks.query)
    rows, columns = ((points.x[..., 0] + 1) * 2).round().long(), ((points.x[..., 1] + 1) * 1.5).round().long()
    for t in range(8):
        image = levels[tasks.info["image"][t]]
        torch.testing.assert_close(points.y[t], (image[rows[t], columns[t]] + 0.5) / 17 - 0.5)
        assert len(set(zip(rows[t].tolist(), columns[t].tolist(), strict=True))) == 20
    whole = family.intensities(tasks.info["image"])
    assert torch.equal(family.coordinates()[:5, 0], torch.tensor([-1.0, -1.0, -1.0, -1.0, -0.5]))
    torch.testing.assert_close(whole[0].sum(0), points.y[0].sum(0))


def test_dequantisation_is_uniform_noise_of_one_level(generator: torch.Generator) -> None:
    levels = _levels(20, 6, 6, levels=4)
    family = Images(levels, levels=4)
    tasks = family.sample(200, support=0, query=36, generator=generator)
    y = (tasks.query.y + 0.5) * 4
    low, high = float(y.min()), float(y.max())
    assert 0 <= low and high <= 4
    share = y.remainder(1).flatten()
    assert float(share.mean()) == pytest.approx(0.5, abs=0.015)
    assert float(share.var()) == pytest.approx(1 / 12, rel=0.05)
    found = y.floor().squeeze(2).sort(1).values  # all 36 pixels, so that their order does not matter
    assert torch.equal(found, levels[tasks.info["image"]].flatten(1).float().sort(1).values)


def test_the_ceiling_is_reached_by_the_density_that_knows_the_levels(generator: torch.Generator) -> None:
    """It is L on the interval of the true level: log L at every point. The best normal density there stays below."""
    family = Images(_levels(20, 6, 6), levels=17)
    tasks = family.sample(500, support=0, query=36, generator=generator)
    true = ((tasks.query.y + 0.5) * 17).floor()
    inside = (tasks.query.y + 0.5) * 17 - true
    assert bool((inside >= 0).all() and (inside < 1).all())
    assert family.ceiling == math.log(17)
    belief = torch.distributions.Normal((true + 0.5) / 17 - 0.5, 12**-0.5 / 17)
    best = float(belief.log_prob(tasks.query.y).mean())
    assert best == pytest.approx(math.log(17) - 0.5 * math.log(2 * math.pi * math.e / 12), abs=0.01)
    assert Images(_levels(9, 2, 2), levels=17, dequantise=False).ceiling == math.inf


def test_splits_share_no_image_and_unseen_classes_are_held_out(generator: torch.Generator) -> None:
    labels = torch.arange(60) % 5
    family = Images(_levels(60, 3, 3), labels, levels=17, unseen=(1, 4))
    seen = {split: _drawn(family, split, generator) for split in SPLITS}
    assert not seen["train"] & seen["validation"] and not seen["train"] & seen["test"]
    assert {int(labels[i]) for images in seen.values() for i in images} == {0, 2, 3}
    others = _drawn(family.unseen_classes(), "test", generator)
    assert {int(labels[i]) for i in others} == {1, 4} and len(others) == 24
    with pytest.raises(ValueError, match="the train split holds no image"):
        family.unseen_classes().sample(1, support=1, query=1)


def test_given_splits() -> None:
    family = Images(_levels(6, 2, 2), levels=17, splits={"train": (0, 1), "test": (5,)})
    assert _drawn(family, "train", torch.Generator().manual_seed(0)) == {0, 1}
    assert _drawn(family, "test", torch.Generator().manual_seed(0)) == {5}


def _drawn(family: Images, split: Any, generator: torch.Generator) -> set[int]:
    drawn = family.sample(600, support=0, query=1, split=split, generator=generator).info["image"]
    return set(drawn.tolist())


@pytest.mark.parametrize(
    ("images", "options", "match"),
    [
        (torch.rand(9, 4, 4), {}, r"expected whole grey levels .*round\(\).long\(\)"),
        (_levels(9, 4), {}, "expected whole grey levels"),
        (_levels(9, 4, 4), {"levels": 10}, "levels from 0 to 16; expected 0 to 9, or give levels="),
        (_levels(9, 4, 4), {"labels": torch.zeros(8)}, "one whole number for each of the 9 images"),
        (_levels(9, 4, 4), {"unseen": (1,)}, "the images have no labels; give labels="),
        (_levels(9, 4, 4), {"unseen": (7,), "labels": torch.arange(9) % 3}, "no image has the class 7"),
        (_levels(9, 4, 4), {"dequantise": 1}, "dequantise=1; expected True or False"),
    ],
)
def test_bad_options(images: torch.Tensor, options: dict[str, Any], match: str) -> None:
    with pytest.raises((ValueError, TypeError), match=match):
        Images(images, **options)


def test_bad_requests() -> None:
    family = Images(_levels(9, 4, 4))
    with pytest.raises(ValueError, match="support=10, query=7; an image has 16 pixels"):
        family.sample(1, support=10, query=7)
    with pytest.raises(ValueError, match="no class was held out; build the family with unseen="):
        family.unseen_classes()

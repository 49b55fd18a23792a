"""Digits as few-shot tasks, and the comparison of normalisation layers on them."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from recipes import running

import quickstudy as qs
from quickstudy.checks import check_tasks
from quickstudy.cli import main
from quickstudy.learner import SPLITS
from quickstudy.recipes.digits import family as digits
from quickstudy.recipes.digits import norm as digits_norm
from quickstudy.recipes.digits.family import Digits
from quickstudy.report.tables import tables


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(x: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in x.flatten(0, -4)}


@pytest.mark.parametrize("split", SPLITS)
def test_tasks_are_balanced_and_points_cycle_through_the_classes(split: Any) -> None:
    tasks = Digits().sample(6, support=10, query=15, split=split, generator=_seeded())
    check_tasks(tasks)
    assert tasks.support.x.shape == (6, 10, 1, 8, 8) and tasks.query.x.shape == (6, 15, 1, 8, 8)
    assert tasks.query.y.tolist() == [list(range(5)) * 3] * 6 and tasks.support.y.tolist() == [list(range(5)) * 2] * 6
    assert all(len(set(task)) == 5 for task in tasks.info["digits"].tolist())
    assert 0 <= tasks.support.x.min() and tasks.support.x.max() <= 1


def test_labels_stand_for_the_digits_of_the_task() -> None:
    tasks = Digits(ways=3).sample(20, support=3, query=6, generator=_seeded())
    of_digit = [_images(images) for images in digits.pool("train").float()]
    for t in range(20):
        for image, label in zip(tasks.query.x[t], tasks.query.y[t].tolist(), strict=True):
            assert image.numpy().tobytes() in of_digit[tasks.info["digits"][t, label]]


def test_splits_share_no_image_and_tasks_repeat_none() -> None:
    seen = {split: _images(digits.pool(split)) for split in SPLITS}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not seen[one] & seen[other]  # type: ignore[index]
    tasks = Digits().sample(30, support=25, query=50, split="test", generator=_seeded())
    assert all(len(_images(torch.cat([s, q]))) == 75 for s, q in zip(tasks.support.x, tasks.query.x, strict=True))


def test_tasks_are_a_function_of_the_seed() -> None:
    for split in SPLITS:
        first, again, other = (
            Digits().sample(4, support=5, query=5, split=split, generator=_seeded(s)) for s in (0, 0, 1)
        )
        assert torch.equal(first.query.x, again.query.x) and not torch.equal(first.query.x, other.query.x)


@pytest.mark.parametrize(("support", "query"), [(4, 5), (5, 6), (500, 50)])
def test_invalid_numbers_of_points(support: int, query: int) -> None:
    with pytest.raises(ValueError, match=f"support={support}, query={query}; expected multiples of 5 classes"):
        Digits().sample(2, support=support, query=query)


def test_the_error_without_scikit_learn_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    digits.pool.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "quickstudy\[images\]"'):
        Digits().sample(2, support=5, query=5)


def test_rows_are_labelled_and_results_of_seeds_are_drawn(tmp_path: Path) -> None:
    several = ["--seeds", "0", "1", "--parallel", "1", "--lr", "1e-12", "--out", str(tmp_path / "run")]
    assert main(["run", "digits-norm", *running.TINY["digits-norm"], *several]) == 0
    metrics = json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]
    rows = [row[0] for table in tables({"": metrics}, ["accuracy"]) for row in table.rows]
    assert rows == [
        *(f"{row.replace('/', ', ')}, {when}" for row in digits_norm.ROWS for when in WHEN),
        "nearest image",
    ]
    assert (tmp_path / "run" / "figures" / "accuracy.png").exists()
    parts = [tmp_path / "run" / "seed-0" / f"{norm}_norm" for norm in digits_norm.NORMS]
    first, *others = [qs.load(part, which="last").network for part in parts]
    assert [net.norm for net in (first, *others)] == ["batch", "task", "meta", "group"]
    for other in others:  # the learning rate is about 0, so these are the initial weights
        assert all(torch.allclose(v, other.state_dict()[k]) for k, v in first.named_parameters())


WHEN = ("before adapting", "after 1 step", "after 2 steps", "after 4 steps")

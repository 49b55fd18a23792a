"""Everything that counts as a person's own data, and the messages for what does not."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from quickstudy.data import Examples, Tasks
from quickstudy.tasks import PointSets, Sinusoid, from_dataset

X, Y = torch.rand(6, 5, 2), torch.rand(6, 5, 1)


class Curves(Dataset[Any]):
    """Six tasks of unequal size."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, i: int) -> Any:
        if not 0 <= i < 6:
            raise IndexError
        return X[i, : 2 + i % 4], Y[i, : 2 + i % 4]


def _sets(family: PointSets) -> list[tuple[list[Any], list[Any]]]:
    x, y, _ = family.points
    real = family.points.real()
    return [(x[t, real[t]].tolist(), y[t, real[t]].tolist()) for t in range(len(x))]


@pytest.mark.parametrize(
    "data",
    [
        [(X[t], Y[t]) for t in range(6)],
        [(X[t].numpy(), Y[t].numpy()) for t in range(6)],
        [(X[t].tolist(), Y[t].tolist()) for t in range(6)],
        [[X[t], Y[t, :, 0]] for t in range(6)],
        (X, Y),
        (X.numpy(), Y.numpy()),
        TensorDataset(X, Y),
        DataLoader(TensorDataset(X, Y), batch_size=4),
        DataLoader(TensorDataset(X, Y), batch_size=None),
        Examples(X, Y),
        Tasks(Examples(X[:, :2], Y[:, :2]), Examples(X[:, 2:], Y[:, 2:])),
    ],
    ids=["pairs", "numpy", "lists", "flat", "tensors", "arrays", "dataset", "loader", "items", "examples", "tasks"],
)
def test_all_kinds_mean_the_same(data: Any) -> None:
    family = from_dataset(data)
    assert (family.dx, family.dy) == (2, 1)
    assert family.points.mask is None
    torch.testing.assert_close(family.points.x, X)
    torch.testing.assert_close(family.points.y, Y)


@pytest.mark.parametrize("data", [Curves(), DataLoader(Curves(), batch_size=None), list(Curves())])
def test_unequal_tasks(data: Any) -> None:
    family = from_dataset(data)
    assert family.points.sizes().tolist() == [2, 3, 4, 5, 2, 3]
    assert _sets(family) == [(x.tolist(), y.tolist()) for x, y in (Curves()[i] for i in range(6))]


def test_padding_inside_is_moved_behind_and_emptied() -> None:
    mask = torch.tensor([[False, True, True], [True, True, True], [True, False, True]])
    x = torch.arange(9.0).view(3, 3, 1)
    gap = x.masked_fill(~mask[:, :, None], math.nan)
    family = from_dataset(Examples(gap, gap, mask))
    assert _sets(family) == [([[v] for v in row],) * 2 for row in ([1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 8.0])]
    assert bool(torch.isfinite(family.points.x).all())


def test_a_sampled_family_can_be_frozen(generator: torch.Generator) -> None:
    family = from_dataset(Sinusoid().sample(20, support=5, query=5, generator=generator))
    assert family.points.x.shape == (20, 10, 1)
    assert family.sample(3, support=5, query=5, split="test").query.y.shape == (3, 5, 1)


def test_labels() -> None:
    data = [(np.random.rand(n, 2).astype(np.float32), np.arange(n) % 3) for n in (4, 6, 5)]
    family = from_dataset(data)
    assert family.dy == 3
    tasks = family.sample(5, support=3, query=2)
    assert tasks.support.y.shape == (5, 3) and tasks.support.y.dtype == torch.int64


def test_types() -> None:
    family = from_dataset((np.arange(24, dtype=np.uint8).reshape(3, 4, 2), np.zeros((3, 4, 1))))
    assert family.sample(2, support=1, query=1).support.x.dtype == torch.float32
    torch.set_default_dtype(torch.float64)
    assert family.sample(2, support=1, query=1).support.y.dtype == torch.float64


def test_splits_and_order() -> None:
    family = from_dataset((X, Y), splits={"train": [0, 2], "validation": [1], "test": [5]}, order="first")
    tasks = family.sample(9, support=2, query=2, split="train")
    assert set(tasks.info["task"].tolist()) == {0, 2}
    torch.testing.assert_close(tasks.support.x, X[tasks.info["task"], :2])
    assert repr(from_dataset((X, Y), seed=0)) == repr(from_dataset((X, Y), seed=0))
    assert repr(from_dataset((X, Y), seed=0)) != repr(from_dataset((X, Y), seed=1))
    assert repr(from_dataset((X, Y))) != repr(from_dataset((X + 1, Y)))


class Endless(IterableDataset[Any]):
    """No length."""

    def __iter__(self) -> Any:
        return iter(())


def _with(value: float, part: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    sets = [(torch.rand(3, 1), torch.rand(3, 1)) for _ in range(4)]
    sets[2][part][1, 0] = value
    return sets


@pytest.mark.parametrize(
    ("data", "error", "match"),
    [
        (_with(math.nan, 0), ValueError, "points.x has a NaN or infinite value at 1 of .* points, the first at task 2"),
        (_with(math.inf, 1), ValueError, "points.y has a NaN or infinite value"),
        ([], ValueError, "no task"),
        ([(X[0], Y[0])] * 2, ValueError, "2 tasks cannot fill 3 splits"),
        ([(X[0], Y[0, :3])] * 3, ValueError, "give one y for every x"),
        ([(X[0, :1], Y[0, :1])] * 3, ValueError, "task 0 has 1 point"),
        ([(X[0], Y[0]), (X[0, :, :1], Y[0]), (X[0], Y[0])], ValueError, "task 1 has x .* same features"),
        ([(X[0], Y[0]), (X[0], torch.zeros(5).long())] * 2, ValueError, "task 1 has y .* same features"),
        ([(X[0], Y[0].long())] * 3, ValueError, "class labels are integers"),
        ([(X[0], Y[0] > 0)] * 3, ValueError, r"convert with y.float\(\)"),
        ([(X[0], torch.full((5,), -1))] * 3, ValueError, "labels count from 0"),
        ([X[0], X[1], X[2]], TypeError, "task 0 is a Tensor; expected a pair"),
        ([(X[0], Y[0], Y[0])] * 3, TypeError, "task 0 is a tuple of 3"),
        ((X, Y[:, :3]), ValueError, r"two arrays must be x \[T, N, \*dx\] and y \[T, N, \*dy\]"),
        ("data.csv", TypeError, "cannot read tasks from str"),
        (X, TypeError, "cannot read tasks from Tensor"),
        (Endless(), TypeError, "IterableDataset has no fixed set"),
        (DataLoader(TensorDataset(X, Y, Y)), TypeError, "the DataLoader gave a list of 3"),
    ],
)
def test_errors(data: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        from_dataset(data)
    assert "\n" not in str(caught.value)

"""Everything that counts as a person's own data, and the messages for what does not."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

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
        (
            TensorDataset(X[0], X[1]),
            ValueError,
            r"a TensorDataset of \[5, 2\] and \[5, 2\] holds points, .* a list with",
        ),
        (TensorDataset(X[0], Y[0, :, 0]), ValueError, "holds points, .* name of their group to qs.tasks.Table"),
        (DataLoader(TensorDataset(X[0], Y[0])), ValueError, "holds points, one in each row"),
        (Subset(TensorDataset(X[0], Y[0]), [0, 1, 2]), ValueError, "holds points, one in each row"),
        (
            [(X[0, i], Y[0, i, 0]) for i in range(5)],
            ValueError,
            "item 0 has x .* and the single outcome .* is one point",
        ),
        ([(X, 3) for _ in range(5)], ValueError, "the single outcome 3: it is one point, .* qs.tasks.Classification"),
    ],
)
def test_errors(data: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        from_dataset(data)
    assert "\n" not in str(caught.value)


def _wide(offset: float, size: float, dtype: Any = float) -> list[tuple[Any, Any]]:
    """Curves over x in other units."""
    draws = np.random.default_rng(0)
    places = [draws.integers(0, 40, n) for n in (5, 8, 6, 9)]
    return [((offset + size * x).astype(dtype), 1e6 + 0.5 * np.sin(x)) for x in places]


@pytest.mark.parametrize(("offset", "size"), [(1990, 1), (1.7e9, 60), (2451545, 1 / 24), (0, 1e-12)])
def test_standard_units_do_not_depend_on_the_units(offset: float, size: float) -> None:
    plain, moved = from_dataset(_wide(0, 1), scale=True), from_dataset(_wide(offset, size), scale=True)
    torch.testing.assert_close(moved.points.x, plain.points.x, atol=1e-5, rtol=0)
    training = torch.tensor(moved.splits["train"])
    x, y = (part[training][moved.points.real()[training]] for part in moved.points[:2])
    for part in (x, y):
        torch.testing.assert_close(part.mean(), torch.tensor(0.0, dtype=torch.float64), atol=1e-7, rtol=0)
        torch.testing.assert_close(part.std(correction=0), torch.tensor(1.0, dtype=torch.float64))
    tasks = moved.held_out("test", support=2, dtype=torch.float64)
    assert moved.scaling is not None
    real = moved.scaling.unscale_y(tasks.query.y)[tasks.query.real()]
    assert bool(((real - 1e6).abs() <= 0.5 + 1e-6).all())
    assert moved.sample(2, support=2, query=2).support.x.dtype == torch.float32


def test_whole_numbers_keep_their_digits() -> None:
    """Unix times as int64 are exact in float64, and would be rounded to 128 seconds in float32."""
    floats, ints = (from_dataset(_wide(1_700_000_000, 7, kind), scale=True) for kind in (float, np.int64))
    assert torch.equal(floats.points.x, ints.points.x)


def test_scaling_leaves_labels_padding_and_missing_outputs_alone() -> None:
    sets = [(torch.full((n, 2), 1e5) + torch.arange(n)[:, None], torch.arange(n) % 3) for n in (4, 6, 5, 4)]
    family = from_dataset(sets, scale=True)
    assert family.points.y.dtype == torch.int64 and family.scaling is not None and family.scaling.y == ()
    assert bool((family.points.x[~family.points.real()] == 0).all())
    x, y = torch.rand(4, 5, 1), torch.rand(4, 5, 2)
    y[:, 1, 0] = math.nan
    kept = from_dataset((x, y), scale=True, missing=True)
    assert bool(kept.points.y.isnan().equal(y.isnan())) and bool(kept.scaling.center.isfinite().all())  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=r"scale=True needs vectors x .* images to unit size yourself"):
        from_dataset([(torch.rand(3, 1, 4, 4), torch.rand(3, 1))] * 4, scale=True)


@pytest.mark.parametrize(("offset", "size"), [(1990, 1), (1.7e9, 60), (0, 1e-9)])
def test_values_far_from_unit_size_are_said(offset: float, size: float) -> None:
    data = [(offset + size * torch.rand(5, 1), torch.rand(5, 1)) for _ in range(4)]
    with pytest.warns(RuntimeWarning, match=r"the x of the training tasks have mean .*from_dataset\(..., scale=True\)"):
        from_dataset(data)
    with pytest.warns(RuntimeWarning, match="the y of the training tasks have mean"):
        from_dataset([(y, x) for x, y in data])
    from_dataset(data, scale=True)


def test_images_far_from_unit_size_are_divided() -> None:
    images = [(torch.randint(0, 256, (4, 1, 3, 3)).float(), torch.arange(4)) for _ in range(4)]
    with pytest.warns(
        RuntimeWarning, match="the x of the training tasks .*; divide them by a number, as images by 255"
    ):
        from_dataset(images)

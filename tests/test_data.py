"""Examples, Tasks, padding and masks."""

import pytest
import torch
from learner_table import masked
from torch.utils._pytree import tree_map

from quickstudy.data import Examples, Tasks, by_size, collate, pad


def examples(sizes=(3, 1, 0)):
    return pad([(torch.arange(n, dtype=torch.float32)[:, None], torch.ones(n, 1)) for n in sizes])


def test_pad_masks_and_counts():
    points = examples()
    assert points.sizes().tolist() == [3, 1, 0] and points.x.shape == (3, 3, 1)
    assert examples((2, 2)).mask is None
    with pytest.raises(ValueError, match="no point set"):
        pad([])
    with pytest.raises(ValueError, match="point set 0 has 2 inputs and 3"):
        pad([(torch.zeros(2, 1), torch.zeros(3, 1))])


def test_first_select_append():
    points = examples()
    assert points.first(2).sizes().tolist() == [2, 1, 0]
    assert points.select(1).x.shape == (1, 3, 1) and points.select(-1).sizes().tolist() == [0]
    assert points.select(torch.tensor([2, 0])).sizes().tolist() == [0, 3]
    union = points.append(Examples(torch.zeros(3, 2, 1), torch.zeros(3, 2, 1)))
    assert union.sizes().tolist() == [5, 3, 2]
    with pytest.raises(ValueError, match="cannot append"):
        points.append(Examples(torch.zeros(2, 2, 1), torch.zeros(2, 2, 1)))


def test_clean_leaves_no_nan_in_the_padding():
    points = masked(Examples(torch.ones(2, 3, 1), torch.ones(2, 3, 1)), [2, 0])
    cleaned = points.clean()
    assert cleaned.x.sum() == 2 and cleaned.y.isfinite().all()


def test_by_size_groups_and_compacts():
    x = torch.arange(12.0).reshape(3, 4, 1)
    mask = torch.tensor([[True, False, True, False], [True, True, True, True], [False, True, False, True]])
    groups = by_size(Examples(x, x, mask))
    assert [index.tolist() for index, _ in groups] == [[0, 2], [1]]
    assert groups[0][1][0].x[:, :, 0].tolist() == [[0, 2], [9, 11]]
    assert all(part.mask is None for _, parts in groups for part in parts)


def test_collate_pads_batches_of_unequal_size():
    one = Tasks(examples((2, 2)), examples((1, 1)), {"a": torch.zeros(2), "b": 1})
    two = Tasks(examples((3,)), examples((2,)), {"a": torch.ones(1)})
    both = collate([one, two])
    assert both.support.sizes().tolist() == [2, 2, 3] and both.query.sizes().tolist() == [1, 1, 2]
    assert both.info["a"].tolist() == [0, 0, 1] and "b" not in both.info


def test_records_are_pytrees_and_move():
    tasks = Tasks(examples(), examples((1, 1, 1)), {"a": torch.zeros(3), "note": "kept"})
    doubled = tree_map(
        lambda leaf: leaf.double() if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf, tasks
    )
    assert isinstance(doubled, Tasks) and doubled.support.x.dtype == torch.float64
    cast = tasks.to("cpu", torch.float64)
    assert cast.query.y.dtype == cast.info["a"].dtype == torch.float64 and cast.support.mask.dtype == torch.bool
    assert tasks.select(1).info["a"].shape == (1,) and tasks.select(1).info["note"] == "kept"
    assert torch.vmap(lambda e: e.x.sum() + e.mask.sum())(examples((2, 1))).shape == (2,)

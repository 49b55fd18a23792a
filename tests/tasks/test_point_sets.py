"""Drawing distinct points from finite tasks, and what happens where there are too few."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from quickstudy.checks import check_tasks
from quickstudy.data import Examples, Tasks, pad
from quickstudy.learner import SPLITS
from quickstudy.tasks import PointSets


def _family(sizes: list[int], order: str = "random") -> PointSets:
    """Every task in every split; x of a point names its task and place: 100 t + i."""
    sets = [
        (100.0 * t + torch.arange(n)[:, None], -(100.0 * t + torch.arange(n)[:, None])) for t, n in enumerate(sizes)
    ]
    everyone = tuple(range(len(sizes)))
    return PointSets(points=pad(sets), splits=dict.fromkeys(SPLITS, everyone), order=order)  # type: ignore[arg-type]


def _rows(examples: Examples, t: int) -> list[int]:
    return examples.x[t, examples.real()[t], 0].long().tolist()


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(2, 9), min_size=1, max_size=5),
    support=st.integers(0, 10),
    query=st.integers(1, 10),
    order=st.sampled_from(["random", "first"]),
    seed=st.integers(0, 2**16),
)
def test_points_are_distinct_and_of_their_task(
    sizes: list[int], support: int, query: int, order: str, seed: int
) -> None:
    family = _family(sizes, order)
    tasks = family.sample(7, support=support, query=query, generator=torch.Generator().manual_seed(seed))
    check_tasks(tasks)
    assert tasks.support.num_points == support and tasks.query.num_points == query
    for t in range(7):
        task = int(tasks.info["task"][t])
        given_rows, asked = _rows(tasks.support, t), _rows(tasks.query, t)
        assert len(given_rows) == min(support, sizes[task] - 1)
        assert len(asked) == min(query, sizes[task] - len(given_rows))
        assert len({*given_rows, *asked}) == len(given_rows) + len(asked)
        assert all(row // 100 == task and row % 100 < sizes[task] for row in (*given_rows, *asked))
        if order == "first":
            assert given_rows == [100 * task + i for i in range(len(given_rows))]
    for examples in (tasks.support, tasks.query):
        assert torch.equal(examples.y, -examples.x)
        assert (examples.mask is None) == (min(sizes) >= support + query)
        assert bool((examples.x[~examples.real()] == 0).all())  # nothing of the data in the padding


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(2, 9), min_size=1, max_size=5), support=st.integers(0, 10))
def test_held_out_shows_everything_once(sizes: list[int], support: int) -> None:
    tasks = _family(sizes).held_out("test", support=support)
    check_tasks(tasks)
    assert tasks.info["task"].tolist() == list(range(len(sizes)))
    for t, n in enumerate(sizes):
        first = min(support, n - 1)
        assert _rows(tasks.support, t) == [100 * t + i for i in range(first)]
        assert _rows(tasks.query, t) == [100 * t + i for i in range(first, n)]


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(2, 9), min_size=1, max_size=5), support=st.integers(0, 5), more=st.integers(0, 4))
def test_sizes_of_the_support_are_judged_on_the_same_points(sizes: list[int], support: int, more: int) -> None:
    tasks = _family(sizes).held_out("test", support=support, after=support + more)
    for t, n in enumerate(sizes):
        assert _rows(tasks.support, t) == [100 * t + i for i in range(min(support, n - 1))]
        assert _rows(tasks.query, t) == [100 * t + i for i in range(min(support + more, n - 1), n)]


@pytest.mark.parametrize("order", ["random", "first"])
def test_once_draws_each_long_task_once(order: str, generator: torch.Generator) -> None:
    sizes = [3, 9, 4, 6, 5]
    family = _family(sizes, order)
    with pytest.warns(RuntimeWarning, match="support=4: 2 of the 5 tasks of the test split have no more than that"):
        tasks = family.once("test", support=4, query=3, generator=generator)
    check_tasks(tasks)
    assert tasks.info["task"].tolist() == [1, 3, 4]
    for t, task in enumerate([1, 3, 4]):
        given_rows, asked = _rows(tasks.support, t), _rows(tasks.query, t)
        assert len(given_rows) == 4 and len(asked) == min(3, sizes[task] - 4)
        assert len({*given_rows, *asked}) == len(given_rows) + len(asked)
        assert order == "random" or given_rows == [100 * task + i for i in range(4)]
    with pytest.raises(ValueError, match="support=9: the largest task of the test split has 9 points, .* at most 8"):
        family.once("test", support=9, query=3)


@pytest.mark.parametrize("order", ["random", "first"])
def test_every_task_and_point_is_drawn_equally_often(order: str, generator: torch.Generator) -> None:
    sizes = [3, 4, 8]
    tasks = _family(sizes, order).sample(24_000, support=1, query=1, generator=generator)
    counts = torch.bincount(tasks.info["task"], minlength=3) / 24_000
    torch.testing.assert_close(counts, torch.full((3,), 1 / 3), atol=0.015, rtol=0)
    for t, n in enumerate(sizes):
        asked = tasks.query.x[tasks.info["task"] == t, 0, 0].long() - 100 * t
        share = torch.bincount(asked, minlength=n) / len(asked)
        if order == "random":
            expected = torch.full((n,), 1 / n)
        else:
            expected = torch.tensor([0.0] + [1 / (n - 1)] * (n - 1))
        torch.testing.assert_close(share, expected, atol=0.025, rtol=0)


def test_labels_keep_their_kind(generator: torch.Generator) -> None:
    points = Examples(torch.rand(4, 5, 2), torch.randint(0, 3, (4, 5)).clamp_min(0).index_fill(0, torch.tensor([0]), 2))
    family = PointSets(points=points, splits={"train": (0, 1), "validation": (2,), "test": (3,)})
    assert (family.dx, family.dy) == (2, 3)
    tasks = family.sample(6, support=4, query=3, generator=generator)
    assert tasks.query.y.dtype == torch.int64 and tasks.query.y.shape == (6, 3)
    check_tasks(tasks)


def test_images() -> None:
    points = Examples(torch.rand(3, 4, 1, 5, 5), torch.zeros(3, 4, dtype=torch.long))
    family = PointSets(points=points, splits={"train": (0,), "validation": (1,), "test": (2,)})
    assert family.sample(2, support=1, query=3).query.x.shape == (2, 3, 1, 5, 5)
    assert family.sample(2, support=4, query=3).query.x.shape == (2, 3, 1, 5, 5)
    assert family.dx == 25


def test_digest_follows_data_and_order() -> None:
    def digest(y: Tensor) -> str:
        return PointSets(points=Examples(torch.zeros(1, 3, 1), y), splits=dict.fromkeys(SPLITS, (0,))).digest()

    y = torch.arange(3.0).view(1, 3, 1)
    assert digest(y) == digest(y.clone())
    assert digest(y) != digest(y.flip(1))


def test_errors() -> None:
    with pytest.raises(ValueError, match="task 1 has 1 point"):
        _family([3, 1])
    with pytest.raises(ValueError, match="unknown order 'last'; choose one of random, first"):
        _family([3], order="last")
    points = _family([3, 4]).points
    family = PointSets(points=points, splits={"train": (0, 1), "validation": (), "test": ()})
    with pytest.raises(ValueError, match="the test split holds no task; change fractions= or splits="):
        family.sample(1, support=1, query=1, split="test")
    with pytest.raises(ValueError, match="validation split holds no task"):
        family.held_out("validation", support=1)
    with pytest.raises(ValueError, match="support=-1"):
        family.held_out("train", support=-1)
    with pytest.raises(ValueError, match="support=2, after=1; expected .* 0 <= support <= after"):
        family.held_out("train", support=2, after=1)


def test_sampling_is_a_batch_of_a_loop() -> None:
    """All of a batch comes from one state of the generator: nothing else is consulted."""
    family = _family([4, 6, 9])
    torch.manual_seed(1)
    one: Tasks = family.sample(5, support=2, query=2, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(99)
    two = family.sample(5, support=2, query=2, generator=torch.Generator().manual_seed(2))
    assert torch.equal(one.support.x, two.support.x)

"""Dealing tasks into splits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.learner import SPLITS
from quickstudy.tasks.datasets.splits import split_tasks


@given(count=st.integers(3, 200), shares=st.tuples(*[st.integers(1, 20)] * 3), seed=st.integers(0, 2**30))
def test_a_partition(count: int, shares: tuple[int, int, int], seed: int) -> None:
    total = sum(shares)
    fractions = tuple(share / total for share in shares)
    splits = split_tasks(range(count), fractions=fractions, seed=seed)  # type: ignore[arg-type]
    assert list(splits) == list(SPLITS)
    assert sorted(i for places in splits.values() for i in places) == list(range(count))
    for name, share in zip(SPLITS, fractions, strict=True):
        assert len(splits[name]) >= 1
        assert abs(len(splits[name]) - share * count) <= 2  # rounding, and one task at least to each


def test_seed_decides() -> None:
    assert split_tasks(range(50), seed=1) == split_tasks(range(50), seed=1)
    assert split_tasks(range(50), seed=1) != split_tasks(range(50), seed=2)


def test_a_share_of_nothing() -> None:
    splits = split_tasks(range(4), fractions=(0.5, 0.0, 0.5))
    assert [len(splits[name]) for name in SPLITS] == [2, 0, 2]
    assert split_tasks(range(2), fractions=(1.0, 0.0, 0.0))["train"] == (0, 1)


def test_explicit_names_are_compared_as_text() -> None:
    splits = split_tasks([308, 309, 310, 330], splits={"test": ["309"], "train": [330, "308"]})
    assert splits == {"train": (3, 0), "validation": (), "test": (1,)}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"fractions": (0.5, 0.5, 0.5)}, "sum to 1"),
        ({"fractions": (1.2, -0.1, -0.1)}, "sum to 1"),
        ({"fractions": (0.0, 0.5, 0.5)}, "sum to 1"),
        ({"splits": {"training": "ab"}}, "unknown split 'training'"),
        ({"splits": {"train": "az"}}, "names task 'z', which is not in the data"),
        ({"splits": {"train": "ab", "test": "b"}}, "names task 'b' twice"),
        ({"splits": {"test": "b"}}, "no training task"),
    ],
)
def test_errors(options: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        split_tasks("abcd", **options)  # type: ignore[arg-type]


def test_too_few_tasks() -> None:
    with pytest.raises(ValueError, match="2 tasks cannot fill 3 splits"):
        split_tasks("ab")

"""Batches that are padded to a few sizes have the same gradient, and a few graphs suffice."""

from pathlib import Path
from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.compiling import compiled
from quickstudy.compiling.compiled import difference, meta_gradient
from quickstudy.data import Examples, Tasks
from quickstudy.training.buckets import Buckets


def test_sizes_cover_the_range() -> None:
    assert Buckets.of((1, 2), 7) == Buckets((2,), (7,))
    for low, high in ((0, 1), (0, 47), (3, 4), (5, 5), (1, 1000)):
        sizes = Buckets.of((low, high), 1).support
        assert sizes[-1] == high and len(sizes) <= 2 and list(sizes) == sorted(set(sizes))


@pytest.mark.parametrize("make", [qs.CNP, qs.TNP, qs.ConvCNP], ids=lambda c: c.__name__)
def test_the_gradient_stays(make: Any) -> None:
    learner, buckets = make(), Buckets.of((0, 10), (2, 6))
    for support, query in ((0, 2), (4, 6), (10, 3), (12, 8)):
        tasks = qs.tasks.GaussianProcess().sample(3, support=support, query=query)
        padded = buckets(tasks)
        gradient = meta_gradient(learner, compile=False)
        assert difference(gradient(tasks), gradient(padded)) is None
    assert buckets(tasks).support.num_points == 12  # larger than all sizes


def test_masks_and_labels_stay() -> None:
    mask = torch.tensor([[True, False, True], [False, False, False]])
    points = Examples(torch.randn(2, 3, 1), torch.randint(3, (2, 3)), mask)
    padded = Buckets((5,), (5,))(Tasks(points, points)).query
    assert torch.equal(padded.mask[:, :3], mask) and not padded.mask[:, 3:].any() and padded.y.dtype == torch.long


def test_a_compiled_training_makes_few_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = compiled._one_graph

    def counted(learner: Any, tasks: Tasks, backend: Any) -> Any:
        made.append((tasks.support.num_points, tasks.query.num_points))
        return original(learner, tasks, "aot_eager")

    monkeypatch.setattr(compiled, "_one_graph", counted)
    options: dict[str, Any] = {"steps": 12, "tasks": 2, "support": (0, 6), "query": (1, 4), "progress": False}
    torch.manual_seed(0)
    first = qs.CNP(width=8)
    torch.manual_seed(0)
    second = qs.CNP(width=8)
    qs.fit(first, qs.tasks.GaussianProcess(), **options, compile=True, out=tmp_path / "a")
    qs.fit(second, qs.tasks.GaussianProcess(), **options, compile=False, out=tmp_path / "b")
    assert len(made) == len(set(made)) <= 4
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)

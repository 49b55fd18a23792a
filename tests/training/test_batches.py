"""Batches, sizes and seeds as pure functions of the seed and the step; schedules in closed form."""

import math
from collections import Counter
from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.chance import Stream, mix
from quickstudy.training.batches import Batches
from quickstudy.training.schedules import make_schedule


def make(**options: Any) -> Batches:
    settings = {"seed": 0, "tasks": 6, "support": (0, 5), "query": (1, 8), **options}
    return Batches(qs.tasks.Sinusoid(), **settings)


def equal(a: qs.Tasks, b: qs.Tasks) -> bool:
    return all(
        torch.equal(x, y) for s, t in ((a.support, b.support), (a.query, b.query)) for x, y in ((s.x, t.x), (s.y, t.y))
    )


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    one, two = make(), make()
    in_order = [one(step) for step in range(5)]
    torch.manual_seed(99)
    backwards = [two(step) for step in reversed(range(5))][::-1]
    assert all(equal(a, b) for a, b in zip(in_order, backwards, strict=True))
    assert not equal(in_order[0], make(seed=1)(0))
    assert not torch.equal(make(support=3, query=3)(0).support.y, make(support=3, query=3)(1).support.y)


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_processes_share_one_batch_out(world: int) -> None:
    whole = make()(3)
    parts = [make()(3, rank=rank, world=world) for rank in range(world)]
    assert sum(part.num_tasks for part in parts) == 6
    for rank, part in enumerate(parts):
        assert torch.equal(part.query.y, whole.query.y[rank::world])


def test_sizes_cover_their_inclusive_ranges_evenly() -> None:
    sizes = [make().sizes(step) for step in range(4000)]
    support, query = Counter(s for s, _ in sizes), Counter(q for _, q in sizes)
    assert set(support) == set(range(6))
    assert set(query) == set(range(1, 9))
    for counts in (support, query):  # chi-square, far beyond its 99.9% quantile of 24 for 7 degrees of freedom
        expected = 4000 / len(counts)
        assert sum((n - expected) ** 2 / expected for n in counts.values()) < 30
    both = Counter(sizes)
    assert sum((both[s, q] - 4000 / 48) ** 2 / (4000 / 48) for s in range(6) for q in range(1, 9)) < 90  # independent


def test_points_bound_the_sum() -> None:
    sizes = [make(support=(3, 8), query=(2, 50), points=10).sizes(step) for step in range(500)]
    assert max(s + q for s, q in sizes) == 10
    assert {q for s, q in sizes if s == 3} == set(range(2, 8))


def sizes(batches: list[qs.Tasks]) -> list[tuple[int, int, int]]:
    return [(b.num_tasks, b.support.x.shape[1], b.query.x.shape[1]) for b in batches]


def test_validation_tasks_are_many_and_held_out() -> None:
    batches = make().validation(20)
    assert sizes(batches) == [(5, 0, 1), (5, 2, 3), (5, 3, 6), (5, 5, 8)]
    again = make(seed=0).validation(20)
    assert all(equal(a, b) for a, b in zip(batches, again, strict=True))


def test_the_sizes_of_validation_tasks_are_a_fixed_spread_for_all_seeds() -> None:
    for seed in range(5):
        found = sizes(make(seed=seed, support=(3, 20), query=10, tasks=25).validation(100))
        assert found == [(25, 3, 10), (25, 9, 10), (25, 14, 10), (25, 20, 10)]
    assert not equal(make(seed=0).validation(20)[0], make(seed=1).validation(20)[0])  # the tasks are the seed's own
    assert sizes(make(support=(3, 20), query=7, tasks=100).validation(100))[-1] == (25, 20, 7)
    assert sizes(make(support=7, query=(3, 20), tasks=16).validation(100))[:2] == [(14, 7, 3), (14, 7, 6)]
    assert sum(n for n, _, _ in sizes(make(tasks=16).validation(100))) == 100
    assert sizes(make(support=(3, 20), query=7).validation(1)) == [(1, 11, 7)]  # the middle of 3 and 20, rounded down
    assert sizes(make(support=(3, 8), query=(2, 50), points=10).validation(20))[-1] == (5, 8, 2)
    assert max(s + q for _, s, q in sizes(make(support=(3, 8), query=(2, 50), points=10).validation(20))) == 10


def test_validation_tasks_of_fixed_sizes_are_drawn_as_they_always_were() -> None:
    batches = make(support=4, query=3).validation(20)
    assert sizes(batches) == [(6, 4, 3), (6, 4, 3), (6, 4, 3), (2, 4, 3)]
    for place, batch in enumerate(batches):
        chance = torch.Generator().manual_seed(mix(0, place, Stream.VALIDATION))
        family = qs.tasks.Sinusoid()
        assert equal(batch, family.sample(batch.num_tasks, support=4, query=3, split="validation", generator=chance))


def test_streams_and_neighbouring_seeds_are_unrelated() -> None:
    values = {mix(seed, place, stream) for seed in range(20) for place in range(20) for stream in Stream}
    assert len(values) == 20 * 20 * len(Stream)
    assert all(0 <= value < 2**63 for value in values)
    bits = [sum(mix(0, place, Stream.BATCH) >> bit & 1 for place in range(2000)) for bit in range(63)]
    assert all(abs(count - 1000) < 5 * math.sqrt(500) for count in bits)


def test_schedules_in_closed_form() -> None:
    steps = 200
    cosine = make_schedule("cosine", steps)
    assert [cosine(s) for s in (0, 50, 100, 200)] == pytest.approx([1, (1 + math.sqrt(0.5)) / 2, 0.5, 0])
    warmup = make_schedule("warmup_cosine", steps)
    assert [warmup(s) for s in range(10)] == pytest.approx([(s + 1) / 10 for s in range(10)])
    assert warmup(10) == pytest.approx(1.0)
    assert warmup(105) == pytest.approx(0.5)
    assert all(a > b for a, b in zip(map(warmup, range(10, 199)), map(warmup, range(11, 200)), strict=True))
    assert [make_schedule("constant", steps)(s) for s in (0, 199)] == [1.0, 1.0]
    assert make_schedule(lambda step: step / 4, steps)(2) == 0.5
    assert make_schedule("warmup_cosine", 1)(0) == 1.0

"""The random numbers of a batch: one stream in training, separate and nested ones in the held-out splits."""

import pytest
import torch

from quickstudy.tasks.sampling import Batch


def _batch(support: int, query: int, split: str = "test", seed: int = 0) -> Batch:
    return Batch(5, support, query, split, torch.Generator().manual_seed(seed))  # type: ignore[arg-type]


def test_a_training_batch_is_one_draw_from_the_callers_generator() -> None:
    batch, generator = _batch(3, 4, "train"), torch.Generator().manual_seed(0)
    assert torch.equal(batch.uniform(2, 3), torch.rand(5, 2 + 7 * 3, generator=generator))
    assert torch.equal(batch.noise(2), torch.randn(5, 7, 2, generator=generator))
    assert batch.stream() is batch.generator


def test_a_held_out_batch_moves_the_callers_generator_by_one_number() -> None:
    generator, expected = (torch.Generator().manual_seed(0) for _ in range(2))
    batch = Batch(5, 30, 40, "test", generator)
    batch.uniform(2)
    torch.randint(2**62, (), generator=expected)
    assert torch.equal(generator.get_state(), expected.get_state())


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_a_smaller_held_out_batch_has_the_first_points_of_a_larger_one(kind: str) -> None:
    small, large = (getattr(_batch(*sizes), kind)(2, 3) for sizes in ((3, 4), (20, 33)))
    points = large[:, 2:].view(5, 53, 3)
    assert torch.equal(small[:, :2], large[:, :2])
    assert torch.equal(small[:, 2:].view(5, 7, 3), torch.cat([points[:, :3], points[:, 20:24]], 1))


def test_draws_are_nested_along_their_axis() -> None:
    short, long = (_batch(1, 1).draw(torch.randn, (5, 2, steps, 3), axis=2) for steps in (4, 9))
    assert torch.equal(short, long[:, :, :4])


def test_each_draw_of_a_held_out_batch_is_another_one() -> None:
    batch = _batch(6, 6)
    first, second = batch.uniform(0), batch.uniform(0)
    noise = batch.noise(1)
    assert len(torch.cat([first, second]).unique()) == 120
    assert not torch.equal(noise[:, :6], noise[:, 6:])
    assert not torch.equal(_batch(6, 6).uniform(0), _batch(6, 6, "validation").uniform(0))
    assert not torch.equal(_batch(6, 6).uniform(0), _batch(6, 6, seed=1).uniform(0))

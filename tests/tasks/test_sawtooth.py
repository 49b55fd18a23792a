"""Sawtooth waves against their formula."""

import pytest
import torch

from quickstudy.tasks import Sawtooth


@pytest.mark.parametrize("dx", [1, 3])
def test_formula(dx: int, generator: torch.Generator) -> None:
    torch.set_default_dtype(torch.float64)
    tasks = Sawtooth(dx=dx).sample(20, support=10, query=30, generator=generator)
    frequency, offset, direction = (tasks.info[k] for k in ("frequency", "offset", "direction"))
    for examples in (tasks.support, tasks.query):
        for t in range(20):
            phase = frequency[t] * ((examples.x[t] * direction[t]).sum(1) - offset[t])
            torch.testing.assert_close(examples.y[t, :, 0], phase - phase.floor(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("dx", [1, 3])
def test_ranges(dx: int, generator: torch.Generator) -> None:
    tasks = Sawtooth(dx=dx).sample(2000, support=0, query=5, generator=generator)
    frequency, offset, direction = (tasks.info[k] for k in ("frequency", "offset", "direction"))
    assert 2.0 <= float(frequency.min()) < 2.01 and 3.99 < float(frequency.max()) <= 4.0
    assert bool((offset >= 0).all() and (offset * frequency <= 1 + 1e-6).all())
    torch.testing.assert_close(direction.norm(dim=1), torch.ones(2000))
    assert float(direction.mean(0).abs().max()) < 0.1  # both ways equally often
    y = tasks.query.y
    assert bool((y >= 0).all() and (y <= 1).all())
    assert float(y.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(y.std()) == pytest.approx(12**-0.5, rel=0.03)


@pytest.mark.parametrize("option", [{"frequency": 0.0}, {"frequency": (-1.0, 2.0)}, {"dx": 0}])
def test_bad_options(option: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        Sawtooth(**option)  # type: ignore[arg-type]


def test_no_grid_in_the_plane() -> None:
    with pytest.raises(ValueError, match="grid=True needs one input feature"):
        Sawtooth(dx=2).sample(1, support=1, query=4, grid=True)


def test_a_range_of_noise_is_drawn_for_every_task(generator: torch.Generator) -> None:
    tasks = Sawtooth.named("hassan2026").sample(400, support=0, query=200, generator=generator)
    frequency, offset, noise, direction = (tasks.info[k] for k in ("frequency", "offset", "noise", "direction"))
    assert 0.05 <= float(noise.min()) < 0.052 and 0.098 < float(noise.max()) <= 0.1
    assert 3.0 <= float(frequency.min()) and float(frequency.max()) <= 5.0
    clean = (frequency[:, None] * (tasks.query.x.squeeze(2) * direction - offset[:, None])).remainder(1)
    found = (tasks.query.y.squeeze(2) - clean).std(1)
    torch.testing.assert_close(found / noise, torch.ones(400), atol=0.25, rtol=0)  # 5 standard errors of 200 points
    assert float((found / noise).mean()) == pytest.approx(1, abs=0.01)


def test_named_processes() -> None:
    assert Sawtooth.named("bruinsma2023", dx=2) == Sawtooth(dx=2)
    assert Sawtooth.named("fourier-volterra2026", domain=(0.0, 1.0)).frequency == (0.5, 5.0)
    with pytest.raises(ValueError, match="no sawtooth is named 'zigzag'; choose one of bruinsma2023, hassan2026"):
        Sawtooth.named("zigzag")  # type: ignore[arg-type]

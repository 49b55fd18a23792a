"""Harmonic functions against their formula, and the distributions of their parameters."""

import math

import pytest
import scipy.stats
import torch

from quickstudy.data import Examples
from quickstudy.tasks import Harmonic


def _value(info: dict[str, torch.Tensor], task: int, x: float) -> float:
    a, b, w = info["amplitude"][task], info["phase"][task], float(info["frequency"][task])
    return sum(float(a[k]) * math.sin((k + 1) * w * x + float(b[k])) for k in range(len(a)))


@pytest.mark.parametrize("waves", [1, 2, 3])
def test_formula(waves: int, generator: torch.Generator) -> None:
    torch.set_default_dtype(torch.float64)
    tasks = Harmonic(waves=waves).sample(10, support=5, query=5, generator=generator)
    for examples in (tasks.support, tasks.query):
        expected = [[[_value(tasks.info, t, float(x))] for x in examples.x[t]] for t in range(10)]
        torch.testing.assert_close(examples.y, torch.tensor(expected))


def test_it_repeats_after_a_period_of_the_slowest_wave(generator: torch.Generator) -> None:
    """Two queries a period apart: with frequency pi the period is 2, half of the grid's width of 4 spreads."""
    y = Harmonic(frequency=math.pi, waves=4).sample(20, support=0, query=3, generator=generator, grid=True).query.y
    torch.testing.assert_close(y[:, 0], y[:, 1], atol=1e-4, rtol=0)
    torch.testing.assert_close(y[:, 1], y[:, 2], atol=1e-4, rtol=0)


def test_distributions(generator: torch.Generator) -> None:
    tasks = Harmonic().sample(3000, support=4, query=1, generator=generator)
    info = tasks.info
    about = (tasks.support.x.squeeze(2) - info["center"][:, None]).flatten()
    for drawn, law in (
        (info["amplitude"].flatten(), scipy.stats.norm(0, 1)),
        (info["phase"].flatten(), scipy.stats.uniform(0, 2 * math.pi)),
        (info["frequency"], scipy.stats.uniform(5, 2)),
        (info["center"], scipy.stats.uniform(-4, 8)),
        (about, scipy.stats.norm(0, 1)),
    ):
        assert scipy.stats.kstest(drawn.numpy(), law.cdf).pvalue > 1e-3


def test_options_scale_and_shift(generator: torch.Generator) -> None:
    family = Harmonic(amplitude=3.0, center=7.0, spread=0.1)
    tasks = family.sample(2000, support=10, query=1, generator=generator)
    assert float(tasks.info["amplitude"].std()) == pytest.approx(3.0, rel=0.05)
    assert float(tasks.support.x.mean()) == pytest.approx(7.0, abs=0.01)
    assert float(tasks.support.x.std()) == pytest.approx(0.1, rel=0.05)
    assert float(tasks.support.y.std()) == pytest.approx(3.0, rel=0.05)  # two waves, each of variance 9 / 2


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_grid_lies_about_each_tasks_centre(split: str, generator: torch.Generator) -> None:
    family = Harmonic(spread=0.5)
    tasks = family.sample(3, support=5, query=9, split=split, generator=generator, grid=True)  # type: ignore[arg-type]
    expected = tasks.info["center"][:, None] + torch.linspace(-1, 1, 9)
    torch.testing.assert_close(tasks.query.x.squeeze(2), expected)
    assert not torch.equal(tasks.support.x[0], tasks.support.x[1])


def test_noise_has_its_standard_deviation(generator: torch.Generator) -> None:
    quiet = Harmonic().sample(200, support=20, query=20, generator=torch.Generator().manual_seed(0))
    noisy = Harmonic(noise=0.3).sample(200, support=20, query=20, generator=torch.Generator().manual_seed(0))
    pairs: list[tuple[Examples, Examples]] = [(quiet.support, noisy.support), (quiet.query, noisy.query)]
    for clean, seen in pairs:
        assert float((seen.y - clean.y).std()) == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"waves": 0}, "waves=0"),
        ({"waves": 1.5}, "waves=1.5"),
        ({"frequency": (7.0, 5.0)}, "frequency=.*low <= high"),
        ({"center": "left"}, "center='left'"),
        ({"amplitude": (0.0, 1.0)}, "amplitude=.*expected one number"),
        ({"spread": 0.0}, r"spread=0\.0; expected a standard deviation above 0"),
        ({"spread": -1.0}, r"spread=-1\.0"),
        ({"noise": -0.1}, r"noise=-0\.1"),
    ],
)
def test_bad_options(option: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Harmonic(**option)  # type: ignore[arg-type]

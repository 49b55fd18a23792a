"""Sine waves against their formula, and the ranges of the papers."""

import math

import pytest
import torch

from quickstudy.data import Examples
from quickstudy.tasks import Sinusoid


def _wave(examples: Examples, info: dict[str, torch.Tensor]) -> torch.Tensor:
    a, b, w = (info[k].view(-1, 1, 1) for k in ("amplitude", "phase", "frequency"))
    return a * torch.sin(w * examples.x - b)


@pytest.mark.parametrize("family", [Sinusoid(), Sinusoid.meta_sgd(), Sinusoid.process_demo()], ids=repr)
def test_formula(family: Sinusoid, generator: torch.Generator) -> None:
    torch.set_default_dtype(torch.float64)
    tasks = family.sample(30, support=10, query=10, generator=generator)
    for examples in (tasks.support, tasks.query):
        torch.testing.assert_close(examples.y, _wave(examples, tasks.info))


@pytest.mark.parametrize(
    ("family", "ranges"),
    [
        (Sinusoid(), {"amplitude": (0.1, 5.0), "phase": (0.0, math.pi), "frequency": (1.0, 1.0)}),
        (Sinusoid.meta_sgd(), {"amplitude": (0.1, 5.0), "phase": (0.0, math.pi), "frequency": (0.8, 1.2)}),
        (Sinusoid.process_demo(), {"amplitude": (-1.0, 1.0), "phase": (-0.5, 0.5), "frequency": (1.0, 1.0)}),
    ],
)
def test_ranges_of_the_papers(
    family: Sinusoid, ranges: dict[str, tuple[float, float]], generator: torch.Generator
) -> None:
    info = family.sample(4000, support=0, query=1, generator=generator).info
    for name, (low, high) in ranges.items():
        value = info[name]
        assert value.shape == (4000,)
        assert float(value.min()) >= low and float(value.max()) <= high
        assert float(value.max() - value.min()) >= 0.99 * (high - low)
        # Uniform: mean and spread within four standard errors.
        assert float(value.mean()) == pytest.approx(
            (low + high) / 2, abs=4 * (high - low) / math.sqrt(12 * 4000) + 1e-6
        )
        assert float(value.std()) == pytest.approx((high - low) / math.sqrt(12), rel=0.05, abs=1e-6)


def test_defaults_are_the_maml_papers() -> None:
    family = Sinusoid()
    assert family.domain == (-5.0, 5.0)
    assert family.noise == 0.0
    assert Sinusoid.process_demo().domain == (-math.pi, math.pi)
    assert Sinusoid.meta_sgd(noise=0.2).noise == Sinusoid.process_demo(noise=0.2).noise == 0.2


def test_noise_has_its_standard_deviation(generator: torch.Generator) -> None:
    tasks = Sinusoid(noise=0.3).sample(200, support=20, query=20, generator=generator)
    for examples in (tasks.support, tasks.query):
        residual = examples.y - _wave(examples, tasks.info)
        assert float(residual.std()) == pytest.approx(0.3, rel=0.05)
        assert abs(float(residual.mean())) < 4 * 0.3 / math.sqrt(4000)


def test_whole_numbers_are_numbers() -> None:
    family = Sinusoid(amplitude=[1, 2], phase=0, domain=(-1, 1))
    assert family == Sinusoid(amplitude=(1.0, 2.0), phase=0.0, domain=(-1.0, 1.0))
    assert family.sample(2, support=1, query=1).info["phase"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"amplitude": (5.0, 0.1)}, "low <= high"),
        ({"amplitude": (1.0, 2.0, 3.0)}, r"expected a number or a pair"),
        ({"frequency": "fast"}, r"expected a number or a pair"),
        ({"phase": math.inf}, "finite"),
        ({"noise": (0.1, 0.2)}, "expected one number"),
    ],
)
def test_bad_options(option: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Sinusoid(**option)  # type: ignore[arg-type]


def test_options_are_keyword_only() -> None:
    with pytest.raises(TypeError):
        Sinusoid((0.1, 5.0))  # type: ignore[misc]

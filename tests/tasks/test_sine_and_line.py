"""Sine waves and lines against their formulas, and how they share the tasks."""

import math

import pytest
import scipy.stats
import torch

from quickstudy.tasks import SineAndLine


def test_formula(generator: torch.Generator) -> None:
    torch.set_default_dtype(torch.float64)
    tasks = SineAndLine().sample(40, support=6, query=6, generator=generator)
    info = {name: value.tolist() for name, value in tasks.info.items()}
    assert 0 < sum(info["is_sine"]) < 40
    for examples in (tasks.support, tasks.query):
        for t in range(40):
            for x, y in zip(examples.x[t].flatten().tolist(), examples.y[t].flatten().tolist(), strict=True):
                if info["is_sine"][t]:
                    expected = info["amplitude"][t] * math.sin(x - info["phase"][t])
                else:
                    expected = info["slope"][t] * x + info["intercept"][t]
                assert y == pytest.approx(expected, abs=1e-12)


def test_what_a_task_does_not_have_is_zero(generator: torch.Generator) -> None:
    info = SineAndLine().sample(500, support=0, query=1, generator=generator).info
    is_sine = info["is_sine"]
    assert is_sine.dtype == torch.bool
    for name in ("amplitude", "phase"):
        assert bool((info[name][~is_sine] == 0).all()) and bool((info[name][is_sine] != 0).all())
    for name in ("slope", "intercept"):
        assert bool((info[name][is_sine] == 0).all()) and bool((info[name][~is_sine] != 0).all())


def test_ranges_of_the_paper(generator: torch.Generator) -> None:
    info = SineAndLine().sample(6000, support=0, query=1, generator=generator).info
    is_sine = info["is_sine"]
    for name, kind, low, high in (
        ("amplitude", is_sine, 0.1, 5.0),
        ("phase", is_sine, 0.0, math.pi),
        ("slope", ~is_sine, -3.0, 3.0),
        ("intercept", ~is_sine, -3.0, 3.0),
    ):
        law = scipy.stats.uniform(low, high - low)
        assert scipy.stats.kstest(info[name][kind].numpy(), law.cdf).pvalue > 1e-3
    assert SineAndLine().domain == (-5.0, 5.0) and SineAndLine().noise == 0.0


@pytest.mark.parametrize("sines", [0, 0.2, 0.5, 1])
def test_the_share_of_sine_waves(sines: float, generator: torch.Generator) -> None:
    is_sine = SineAndLine(sines=sines).sample(4000, support=0, query=1, generator=generator).info["is_sine"]
    error = 4 * math.sqrt(sines * (1 - sines) / 4000)
    assert float(is_sine.float().mean()) == pytest.approx(sines, abs=error)


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"sines": -0.1}, r"sines=-0\.1"),
        ({"sines": 1.1}, r"sines=1\.1; expected a share from 0 to 1"),
        ({"sines": (0.0, 1.0)}, "sines=.*expected one number"),
        ({"slope": (1.0, -1.0)}, "slope=.*low <= high"),
        ({"intercept": None}, "intercept=None"),
        ({"amplitude": math.inf}, "amplitude=inf"),
    ],
)
def test_bad_options(option: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        SineAndLine(**option)  # type: ignore[arg-type]

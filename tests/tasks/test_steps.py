"""Step functions against a walk over their pieces, and the distributions of jumps and levels."""

import pytest
import scipy.stats
import torch

from quickstudy.tasks import Steps


@pytest.mark.parametrize("jumps", [0, 1, 3, (0, 4), (1, 5)])
def test_a_walk_from_left_to_right(jumps: int | tuple[int, int], generator: torch.Generator) -> None:
    tasks = Steps(jumps=jumps).sample(30, support=10, query=30, generator=generator)
    info = {name: value.tolist() for name, value in tasks.info.items()}
    for examples in (tasks.support, tasks.query):
        for t in range(30):
            real = info["positions"][t][: info["jumps"][t]]
            assert real == sorted(real)
            for x, y in zip(examples.x[t].flatten().tolist(), examples.y[t].flatten().tolist(), strict=True):
                piece = 0
                while piece < len(real) and x >= real[piece]:
                    piece += 1
                assert y == info["levels"][t][piece]


def test_padding_holds_for_the_formula(generator: torch.Generator) -> None:
    info = Steps(jumps=(0, 4)).sample(200, support=0, query=1, generator=generator).info
    assert info["positions"].shape == (200, 4) and info["levels"].shape == (200, 5)
    for jumps, positions, levels in zip(*(info[k].tolist() for k in ("jumps", "positions", "levels")), strict=True):
        assert positions[jumps:] == [5.0] * (4 - jumps)
        assert levels[jumps:] == [levels[jumps]] * (5 - jumps)
        assert len(set(levels)) == jumps + 1


def test_distributions(generator: torch.Generator) -> None:
    info = (
        Steps(jumps=(2, 4), level=(0.0, 3.0), domain=(-1.0, 2.0))
        .sample(3000, support=0, query=1, generator=generator)
        .info
    )
    counts = torch.bincount(info["jumps"], minlength=6).tolist()
    assert counts[:2] == [0, 0] and counts[5] == 0
    assert scipy.stats.chisquare(counts[2:5]).pvalue > 1e-3
    real = torch.arange(4) < info["jumps"][:, None]
    assert scipy.stats.kstest(info["positions"][real].numpy(), scipy.stats.uniform(-1, 3).cdf).pvalue > 1e-3
    assert scipy.stats.kstest(info["levels"][:, :3].flatten().numpy(), scipy.stats.uniform(0, 3).cdf).pvalue > 1e-3


def test_a_fine_grid_sees_every_jump(generator: torch.Generator) -> None:
    tasks = Steps(jumps=(1, 5)).sample(20, support=0, query=20_001, generator=generator, grid=True)
    changes = (tasks.query.y.diff(dim=1) != 0).sum((1, 2))
    assert torch.equal(changes, tasks.info["jumps"])


def test_whole_numbers_are_kept_as_they_are() -> None:
    assert Steps(jumps=[1, 3]) == Steps(jumps=(1, 3)) and Steps(jumps=3) != Steps(jumps=(1, 3))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"jumps": -1}, "jumps=-1"),
        ({"jumps": 2.5}, r"jumps=2\.5"),
        ({"jumps": (1, 2.5)}, r"jumps=2\.5"),
        ({"jumps": (5, 1)}, r"jumps=\(5, 1\).*low <= high"),
        ({"jumps": (1, 2, 3)}, r"jumps=\(1, 2, 3\)"),
        ({"jumps": "many"}, "jumps='many'"),
        ({"level": (1.0, -1.0)}, "level=.*low <= high"),
    ],
)
def test_bad_options(option: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Steps(**option)  # type: ignore[arg-type]

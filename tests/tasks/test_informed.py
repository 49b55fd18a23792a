"""Tasks that say what they are."""

import math

import pytest
import torch

from quickstudy.data import Examples
from quickstudy.tasks import GaussianProcess, Informed, Sawtooth, Sinusoid, from_dataset


def test_the_task_is_written_behind_every_x(generator: torch.Generator) -> None:
    family = Informed(Sinusoid(), ("phase", "amplitude"))
    tasks = family.sample(4, support=3, query=5, generator=generator)
    plain = Sinusoid().sample(4, support=3, query=5, generator=torch.Generator().manual_seed(0))
    assert (family.dx, family.dy) == (3, 1)
    for told, bare in ((tasks.support, plain.support), (tasks.query, plain.query)):
        assert torch.equal(told.x[:, :, :1], bare.x)
        assert torch.equal(told.y, bare.y)
        for i, key in enumerate(("phase", "amplitude")):
            assert torch.equal(told.x[:, :, 1 + i], plain.info[key][:, None].expand(-1, told.num_points))


def test_what_it_tells_is_enough(generator: torch.Generator) -> None:
    """The outcome is a function of the informed input alone."""
    q = Informed(Sinusoid.meta_sgd(), ("amplitude", "phase", "frequency")).sample(
        50, support=2, query=9, generator=generator
    )
    x, a, b, w = q.query.x.split(1, 2)
    torch.testing.assert_close(q.query.y, a * torch.sin(w * x - b), atol=1e-5, rtol=1e-5)


def test_options_reach_the_family(generator: torch.Generator) -> None:
    tasks = Informed(Sinusoid(), ["phase"]).sample(2, support=1, query=3, generator=generator, grid=True)
    assert tasks.query.x[:, :, 0].tolist() == [[-5.0, 0.0, 5.0]] * 2


def test_wide_values_and_own_data() -> None:
    assert Informed(Sawtooth(dx=2), ("direction", "frequency")).dx == 5
    data = from_dataset([(torch.rand(3, 2), torch.rand(3, 1)) for _ in range(4)])
    family = Informed(data, ("task",))
    tasks = family.sample(3, support=5, query=2)
    assert family.dx == 3 and tasks.support.mask is not None
    assert torch.equal(tasks.query.x[:, 0, 2].long(), tasks.info["task"])


def test_construction_leaves_chance_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    Informed(GaussianProcess(), ("scale",))
    assert torch.equal(torch.rand(2), expected)


class _Fixed:
    """A family with an info value of three axes, and NaN in its padding."""

    def sample(self, num_tasks: int, *, support: int, query: int, split: str = "train", generator: object = None):  # type: ignore[no-untyped-def]
        from quickstudy.data import Tasks

        x = torch.full((num_tasks, query, 1), math.nan)
        mask = torch.zeros(num_tasks, query, dtype=torch.bool)
        examples = Examples(x, x, mask)
        return Tasks(examples, examples, {"cube": torch.zeros(num_tasks, 2, 2), "name": "a word"})


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        (("amplitud",), "did you mean 'amplitude'"),
        (("colour",), r"info has no tensor 'colour'; It holds amplitude \[1\]"),
        ((), "at least one name"),
        ("phase", "expected a sequence"),
    ],
)
def test_bad_keys(keys: object, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Informed(Sinusoid(), keys)  # type: ignore[arg-type]


def test_bad_values() -> None:
    with pytest.raises(ValueError, match=r"info\['cube'\] has shape \[1, 2, 2\]; expected \[T\] or \[T, k\]"):
        Informed(_Fixed(), ("cube",))
    with pytest.raises(ValueError, match="no tensor 'name'"):
        Informed(_Fixed(), ("name",))

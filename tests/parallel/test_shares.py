"""A batch taken in slices gives what it gives at once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training.workload import Waves, make, train

import quickstudy as qs
from quickstudy.chance import seed_noise
from quickstudy.parallel.distributed import World
from quickstudy.parallel.shares import Shared, deal
from quickstudy.training.gradients import make_gradient
from quickstudy.training.validation import Validation

CPU = torch.device("cpu")


def batch(count: int = 7) -> qs.Tasks:
    """Waves in double precision."""
    return Waves().sample(count, support=4, query=5, split="train", generator=torch.Generator().manual_seed(1))


def normalised() -> nn.Sequential:
    """A network whose buffers are written."""
    return nn.Sequential(nn.Linear(1, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 1))


class Masked(nn.Module):
    """A learner with a buffer that is never written, and holds infinity."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(1, 1)
        self.register_buffer("wall", torch.tensor([0.1, float("inf"), float("-inf")]))

    def meta_loss(self, tasks: qs.Tasks) -> torch.Tensor:
        """Squared error."""
        return (self.line(tasks.query.x) - tasks.query.y).square().mean()

    def adapt(self, support: qs.Examples, **options: Any) -> Any:
        """Not used here."""
        raise NotImplementedError


LEARNERS = {
    "MAML": lambda: qs.MAML(qs.nets.MLP(1, [8], 1), lr=0.1, steps=2),
    "MAML in chunks": lambda: qs.MAML(qs.nets.MLP(1, [8], 1), lr=0.1, chunk=2),
    "MAML with BatchNorm": lambda: qs.MAML(normalised(), lr=0.1),
    "MAML with one mask for all": lambda: qs.MAML(
        nn.Sequential(nn.Linear(1, 9), nn.Dropout(0.5), nn.Linear(9, 1)), lr=0.1, randomness="same"
    ),
    "Pretrained": lambda: qs.Pretrained(qs.nets.MLP(1, [8], 1)),
    "CNP": lambda: qs.CNP(width=8),
    "NeuralProcess": lambda: qs.NeuralProcess(width=8, latent=4),
    "NeuralProcess, iwae": lambda: qs.NeuralProcess(width=8, latent=4, objective="iwae"),
    "of one's own": Masked,
}


@pytest.mark.parametrize("slices", [2, 3, 7])
@pytest.mark.parametrize("name", LEARNERS)
def test_loss_gradient_and_buffers_are_those_of_the_whole(name: str, slices: int) -> None:
    torch.set_default_dtype(torch.float64)
    learner = LEARNERS[name]()
    gradient, before = make_gradient(learner, False), [b.clone() for b in learner.buffers()]
    seed_noise(3, CPU)
    loss, exact = gradient(batch())
    expected = [b.clone() for b in learner.buffers()]
    for buffer, value in zip(learner.buffers(), before, strict=True):
        buffer.copy_(value)
    seed_noise(3, CPU)
    total, sums = Shared(learner, gradient, World(), slices)(batch())
    assert total.item() == pytest.approx(loss.item(), abs=1e-12)
    for ours, theirs in zip([*sums, *learner.buffers()], [*exact, *expected], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    if name == "of one's own":
        assert torch.equal(learner.wall, before[0])  # to the bit, however many steps


@pytest.mark.parametrize("kind", ["gradient", "process"])
def test_a_run_in_slices_ends_where_one_at_once_does(tmp_path: Path, kind: str) -> None:
    torch.set_default_dtype(torch.float64)
    once, slices = (train(kind, tmp_path / str(n), tasks=5, accumulate=n, steps=12) for n in (1, 3))
    for a, b in zip(once.learner.parameters(), slices.learner.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    for a, b in zip(once.metrics, slices.metrics, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-12)
        assert a.get("validation_loss") == pytest.approx(b.get("validation_loss"), abs=1e-12)
    assert (once.config["accumulate"], slices.config["accumulate"]) == (1, 3)


def test_slices_have_dropout_masks_of_their_own() -> None:
    network = nn.Sequential(nn.Dropout(0.5), nn.Linear(1, 1))
    learner, seen = qs.Pretrained(network), []
    network[0].register_forward_hook(lambda module, given, out: seen.append(out[:, 0] != 0))
    seed_noise(3, CPU)
    Shared(learner, make_gradient(learner, False), World(), 2)(batch(8))
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize(("size", "accumulate"), [(1, 1), (1, 3), (2, 1), (3, 2)])
def test_every_task_is_dealt_once_and_evenly(size: int, accumulate: int) -> None:
    tasks, taken = batch(), []
    for rank in range(size):
        shares = deal(tasks, World(rank, size), accumulate)
        assert [share.number % size for share in shares] == [rank % size] * len(shares)
        taken += shares
    sizes = [share.tasks.num_tasks for share in taken]
    assert len(taken) == size * accumulate and max(sizes) - min(sizes) <= 1
    assert sum(share.weight for share in taken) == pytest.approx(1)
    dealt = torch.cat([share.tasks.query.y for share in sorted(taken, key=lambda share: share.number)])
    order = torch.cat([torch.arange(7)[share.number :: share.of] for share in sorted(taken, key=lambda s: s.number)])
    assert torch.equal(dealt, tasks.query.y[order])


def test_validation_tasks_fewer_than_slices_are_dealt_too() -> None:
    learner = make("gradient")
    for world in (World(), World(3, 4)):
        validation = Validation(learner, [batch(2)], 0, world, accumulate=2)
        assert len(validation._dealt) == (2 if world.size == 1 else 0)
    assert Validation(learner, [batch(2)], 0, None, 5)() == pytest.approx(Validation(learner, [batch(2)], 0)())


def test_more_slices_than_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="tasks=4 cannot be divided among 1 process with accumulate=5; expected at least 5"
    ):
        train("gradient", tmp_path / "run", accumulate=5)
    with pytest.raises(ValueError, match="accumulate=0; expected a whole number of at least 1"):
        train("gradient", tmp_path / "run", accumulate=0)
    assert list(tmp_path.iterdir()) == []

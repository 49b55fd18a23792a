"""Adam of many tasks: what torch's does to each task alone, and nothing to a task that sits out."""

import pytest
import torch
from torch import Tensor

from quickstudy.decide.adam import Adam

AIM = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


def _weights() -> list[Tensor]:
    return [torch.zeros(3, 4, requires_grad=True), torch.ones(3, 1, 2, requires_grad=True)]


def _loss(weights: list[Tensor], scale: float = 1.0) -> Tensor:
    first, second = weights
    return scale * ((first - AIM[: len(first)]).square().sum(1) + second.pow(4).sum((1, 2)))


@pytest.mark.parametrize("clip", [float("inf"), 0.5])
def test_each_task_is_trained_as_if_alone(clip: float) -> None:
    takes = [torch.tensor([True, step % 2 == 0, step < 3]) for step in range(7)]
    weights = _weights()
    optimizer = Adam(weights, lr=0.1, clip=clip)
    for step in takes:
        optimizer.step(_loss(weights), step)
    for task in range(3):
        alone = [w[[task]].detach().requires_grad_() for w in _weights()]
        torchs = torch.optim.Adam(alone, lr=0.1)
        for step in takes:
            if step[task]:
                torchs.zero_grad()
                ((alone[0] - AIM[[task]]).square().sum() + alone[1].pow(4).sum()).backward()
                torch.nn.utils.clip_grad_norm_(alone, clip)
                torchs.step()
        for mine, its in zip(weights, alone, strict=True):
            torch.testing.assert_close(mine[[task]], its, atol=1e-5, rtol=1e-5)


def test_masked_tasks_do_not_change() -> None:
    weights = _weights()
    optimizer = Adam(weights, lr=0.1)
    optimizer.step(_loss(weights))
    before = [w.detach().clone() for w in weights]
    for _ in range(3):
        optimizer.step(_loss(weights), torch.tensor([True, False, True]))
    for now, then in zip(weights, before, strict=True):
        assert torch.equal(now[1], then[1]) and not torch.equal(now[0], then[0])


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match=r"the parameters have \[2, 3\] tasks"):
        Adam([torch.zeros(3, 1), torch.zeros(2, 1)], lr=0.1)
    with pytest.raises(ValueError, match=r"lr=-1"):
        Adam(_weights(), lr=-1)
    with pytest.raises(ValueError, match=r"clip=0"):
        Adam(_weights(), lr=0.1, clip=0)

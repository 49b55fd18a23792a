"""Losses over real points."""

import pytest
import torch
from learner_table import Lines, masked

import quickstudy as qs
from quickstudy.inner.points import mean_loss


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_mean_in_short_types_neither_overflows_nor_stands_still(dtype):
    losses, mask = torch.full((4000,), 200.0, dtype=dtype), torch.arange(4000) < 3000
    found = mean_loss(losses, 4000, mask)
    assert found.dtype == dtype
    torch.testing.assert_close(found, mean_loss(losses[:3000], 3000, None))


def test_padding_is_harmless_and_a_task_without_points_has_no_loss():
    losses = torch.tensor([1.0, float("nan"), 3.0], requires_grad=True)
    found = mean_loss(losses, 3, torch.tensor([True, False, True]))
    found.backward()
    assert found.item() == 2.0 and losses.grad.tolist() == [0.5, 0.0, 0.5]
    assert mean_loss(losses, 3, torch.zeros(3, dtype=torch.bool)).item() == 0.0


@pytest.mark.parametrize(
    ("losses", "mask", "says"),
    [
        (torch.ones(()), torch.ones(4, dtype=torch.bool), "reduction='none'"),
        (torch.ones(3), None, "expected \\[4\\]"),
        (torch.ones(4, 2), None, "flatten\\(1\\)"),
        (torch.ones(4, dtype=torch.int64), None, "real numbers"),
        (1.0, None, "leave out .item"),
    ],
)
def test_what_a_loss_may_return(losses, mask, says):
    with pytest.raises((TypeError, ValueError), match=says):
        mean_loss(losses, 4, mask)


@pytest.mark.parametrize("engine", ["loop", "auto"])
def test_a_task_without_points_takes_no_step_with_minibatches_either(engine):
    tasks = Lines().sample(3, support=4, query=4)
    tasks = tasks._replace(support=masked(tasks.support, [4, 0, 1]))
    network = qs.nets.MLP(1, [8], 1)
    learner = qs.MAML(network, lr=0.1, steps=3, minibatch=2, engine=engine)
    torch.testing.assert_close(learner.adapt(tasks.support)(tasks.query.x).mean[1], network(tasks.query.x[1]))

"""What `explain` says is what the engine does."""

import pytest
import torch
from inner.grid import Recurrent, batch, mlp
from torch import nn

import quickstudy as qs
from quickstudy.gradient.maml import MAML


def wide():
    return nn.Sequential(nn.Linear(6, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 1))


@pytest.mark.parametrize("minibatch", [None, 2])
@pytest.mark.parametrize("mask", [None, "trivial", "unequal"])
def test_the_plan_explained_is_the_plan_that_runs(minibatch, mask):
    learner, tasks = MAML(mlp(), lr=0.1, steps=2, minibatch=minibatch), batch("unequal" if mask == "unequal" else "")
    if mask == "trivial":
        tasks = qs.Tasks(qs.Examples(*tasks.support[:2], torch.ones(3, 5, dtype=torch.bool)), tasks.query)
    explained = learner.explain(tasks)
    learner.meta_loss(tasks)
    assert list(learner.inner.choice.plans.values()) == [explained.plan]


def test_rows_are_those_of_a_minibatch():
    """Low-rank weights pay for few rows: what pays for a minibatch does not for the whole support set."""
    x, y = torch.randn(8, 200, 6), torch.randn(8, 200, 1)
    tasks = qs.Tasks(qs.Examples(x, y), qs.Examples(x, y))
    small, whole = (MAML(wide(), lr=0.01, minibatch=size).explain(tasks) for size in (5, None))
    assert {layer.rows for layer in small.layers} == {5} and {layer.rows for layer in whole.layers} == {200}
    assert "2.weight" in small.plan.lowrank - whole.plan.lowrank
    assert small.engine == "lowrank" and "5 rows a task" in str(small)


@pytest.mark.parametrize("minibatch", [None, 2])
def test_no_support_points(minibatch):
    tasks = batch()
    explained = MAML(mlp(), minibatch=minibatch).explain(qs.Tasks(tasks.support.first(0), tasks.query))
    assert explained.engine == "batched" and "in one pass" in str(explained)


@pytest.mark.parametrize(
    ("network", "options", "engine", "says"),
    [
        (mlp, {}, "batched", "first step: weights still shared by all tasks in 2 layers"),
        (wide, {}, "lowrank", "2.weight [256, 256], 5 rows a task: low-rank"),
        (mlp, {"engine": "loop"}, "loop", "because engine='loop' was chosen"),
        (lambda: Recurrent(nn.LSTM), {}, "loop", "because torch has no batching rule for LSTM"),
        (mlp, {"adapt": "2.*"}, "batched", "adapted: 2 tensors by SGD, 4 steps"),
        (
            mlp,
            {"mixed_mode": True, "checkpoint": "sqrt"},
            "batched",
            "reverse over forward\ncheckpoints: every 2 steps",
        ),
        (lambda: mlp(nn.LayerNorm(6)), {"mixed_mode": True}, "batched", "forward over reverse"),
        (mlp, {"truncate": 3}, "batched", "second order in the last 3 steps"),
        (mlp, {"first_order": True}, "batched", "meta-gradient: first order"),
        (
            mlp,
            {"implicit": qs.Implicit(solver="neumann", iterations=7), "proximal": 1.0},
            "batched",
            "meta-gradient: implicit, neumann, 7 iterations",
        ),
    ],
)
def test_it_says_what_is_done_and_why(network, options, engine, says):
    explained = MAML(network(), steps=4, **options).explain(batch())
    assert explained.engine == engine
    assert says in str(explained)


def test_it_names_what_the_loss_does_not_reach():
    network = mlp()
    network.spare = nn.Parameter(torch.ones(2))
    network.forward = lambda x: network[:3](x)
    assert "does not depend on spare: they do not change" in str(MAML(network).explain(batch()))

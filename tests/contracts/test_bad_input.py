"""Every learner answers bad input with one line that says what was given, what was expected and what to do."""

import pytest
import torch
from learner_table import LEARNERS, Lines, masked

from quickstudy.data import Examples, Tasks

GOOD = Lines().sample(2, support=3, query=3, generator=torch.Generator().manual_seed(0))
S, Q = GOOD.support, GOOD.query


def spoil(tensor, value):
    tensor = tensor.clone()
    tensor[1, 2] = value
    return tensor


BAD = {
    "NaN in x": (Tasks(Examples(spoil(S.x, float("nan")), S.y), Q), ValueError, "support.x .* task 1, point 2"),
    "infinite y": (Tasks(Examples(S.x, spoil(S.y, float("inf"))), Q), ValueError, "support.y"),
    "NaN in the query": (Tasks(S, Examples(Q.x, spoil(Q.y, float("nan")))), ValueError, "query.y"),
    "NaN at a real masked point": (
        Tasks(Examples(spoil(S.x, float("nan")), S.y, torch.ones(2, 3, dtype=torch.bool)), Q),
        ValueError,
        "real points",
    ),
    "no feature axis": (Tasks(Examples(S.x[..., 0], S.y), Q), ValueError, r"unsqueeze\(-1\)"),
    "one task's points": (Tasks(Examples(S.x[0], S.y[0]), Q), ValueError, r"x.unsqueeze\(0\), and y.unsqueeze\(0\) if"),
    "one task's numbers": (Tasks(Examples(S.x[0, :, 0], S.y[0, :, 0]), Q), ValueError, r"x.reshape\(1, -1, 1\)"),
    "one task's outputs": (Tasks(Examples(S.x[:1], S.y[0]), Q), ValueError, r"y.unsqueeze\(0\) for the points of one"),
    "no output axis": (Tasks(Examples(S.x, S.y[..., 0]), Q), ValueError, r"y.unsqueeze\(-1\)"),
    "unlike lengths": (Tasks(Examples(S.x, S.y[:, :2]), Q), ValueError, "must agree"),
    "unlike tasks": (Tasks(S.select(0), Q), ValueError, "1 tasks and query 2"),
    "zero tasks": (Tasks(S.select(slice(0, 0)), Q.select(slice(0, 0))), ValueError, "zero tasks"),
    "no query": (Tasks(S, Q.first(0)), ValueError, "at least one per task"),
    "a task without query points": (Tasks(S, masked(Q, [3, 0])), ValueError, "task 1 has no real query point"),
    "mixed dtypes": (Tasks(Examples(S.x.double(), S.y), Q), TypeError, "cast one"),
    "the learner's dtype differs": (GOOD.to(dtype=torch.float64), TypeError, "learner"),
    "support and query of other types": (Tasks(S, Q.to(dtype=torch.float64)), TypeError, "support.x is torch.float32"),
    "float mask": (Tasks(Examples(S.x, S.y, torch.ones(2, 3)), Q), ValueError, "torch.bool"),
    "mask of another shape": (Tasks(Examples(S.x, S.y, torch.ones(2, 2, dtype=torch.bool)), Q), ValueError, "mask"),
    "boolean labels": (Tasks(Examples(S.x, S.y > 0), Q), TypeError, "class labels"),
    "labels with an axis too many": (Tasks(Examples(S.x, S.y.long()), Q), ValueError, "squeeze"),
    "query of other features": (Tasks(S, Examples(Q.x.repeat(1, 1, 2), Q.y)), ValueError, "must agree"),
    "arrays": (Tasks(Examples(S.x.numpy(), S.y.numpy()), Q), TypeError, "torch.as_tensor"),
    "a tuple": ((S.x, S.y), TypeError, "quickstudy.Tasks"),
    "another device": (Tasks(S, Q.to("meta")), ValueError, r"tasks.to\(device\)"),
}


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("case", BAD)
def test_meta_loss_refuses(name, case):
    tasks, error, says = BAD[case]
    learner = LEARNERS[name]()
    with pytest.raises(error, match=says) as refusal:
        learner.meta_loss(tasks)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", LEARNERS)
def test_adapt_and_predict_refuse(name):
    learner = LEARNERS[name]()
    with pytest.raises(ValueError, match="NaN"):
        learner.adapt(Examples(spoil(S.x, float("nan")), S.y))
    with pytest.raises(TypeError, match="Examples"):
        learner.adapt((S.x, S.y))
    predictor = learner.adapt(S)
    with pytest.raises(ValueError, match="expects|expected"):
        predictor(Q.x[:1])
    with pytest.raises(ValueError, match="expects|expected"):
        predictor(Q.x.repeat(1, 1, 2))

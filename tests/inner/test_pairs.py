"""Engines, options, rules, layers, what moves, data and losses, every pair of them: exact, and all engines agree.

A loss that is differentiated once more is at stake, so the oracle is a fourth-order central difference of the meta-loss
along a random direction, in float64. Where the gradient is by definition not the derivative of the loss (first order,
truncation), the loop engine is the oracle, itself checked in test_exact.py.
"""

import itertools
import random

import pytest
import torch
from inner.grid import (
    AXES,
    DENSE_RULES,
    ENGINES,
    NOT_A_DERIVATIVE,
    RECURRENT,
    assert_close,
    assert_is_the_slope,
    batch,
    build,
    covering,
    legal,
    loss_and_gradient,
    refused,
)

CASES = list(covering(AXES.values()))
PLAIN = ("plain", "SGD", "everything", "all points", "squared")


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def assert_exact(case):
    layer, option, rule, *_, data, _ = case
    tasks = batch(data)
    engines = [engine for engine in ENGINES if not refused(engine, case)]
    learners = {engine: build(engine, case) for engine in engines}
    found = {engine: loss_and_gradient(learner, tasks) for engine, learner in learners.items()}
    own_masks = layer == "dropout" and option != "same masks"  # drawn in another order by each engine
    if not own_masks:
        for engine in engines:
            assert found[engine][0] == pytest.approx(found["loop"][0], rel=1e-10)
            assert_close(found[engine][1], found["loop"][1])
    if option in NOT_A_DERIVATIVE:
        return
    for engine in engines if own_masks else engines[:2][-1:]:  # one stands for all that agree; the loop is slow
        h = 2e-6 if rule in ("Adam", "RMSProp") else 2e-5
        assert_is_the_slope(learners[engine], found[engine][1], tasks, h)


def test_every_legal_pair_is_covered():
    axes = [list(axis) for axis in AXES.values()]
    for i, j in itertools.combinations(range(len(axes)), 2):
        held = {(case[i], case[j]) for case in CASES}
        assert held == {pair for pair in itertools.product(axes[i], axes[j]) if legal(pair)}
    assert all(legal(case) for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=" | ".join)
def test_exact(case):
    assert_exact(case)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_exact_in_any_combination(seed):
    draw = random.Random(seed)
    for _ in range(20):
        case = tuple(draw.choice(list(axis)) for axis in AXES.values())
        if legal(case):
            assert_exact(case)


@pytest.mark.parametrize("rule", DENSE_RULES)
def test_lowrank_refuses_what_is_not_linear(rule):
    with pytest.raises(ValueError, match="linear in the gradients"):
        build("lowrank", ("MLP", "plain", rule, *PLAIN[2:]))


@pytest.mark.parametrize("layer", RECURRENT)
@pytest.mark.parametrize("option", ["plain", "mixed mode"])
def test_recurrent_layers_run_in_the_loop_or_not_at_all(layer, option):
    case = (layer, option, *PLAIN[1:])
    for engine in ("batched", "lowrank"):
        with pytest.raises(ValueError, match=f"no batching rule for {layer}; use engine='auto' or 'loop'"):
            build(engine, case)
    explained = build("auto", case).explain(batch())
    assert explained.engine == "loop" and f"no batching rule for {layer}" in str(explained)


@pytest.mark.parametrize("layer", ["MLP", "BatchNorm", "attention"])
@pytest.mark.parametrize("option", ["plain", "mixed mode, checkpoint 2"])
def test_a_task_without_support_points_beside_others(layer, option):
    tasks = batch("unequal", sizes=(5, 2, 0))
    case = (layer, option, "momentum", *PLAIN[2:])
    _, expected = loss_and_gradient(build("loop", case), tasks)
    for engine in ("batched", "lowrank", "auto"):
        assert_close(loss_and_gradient(build(engine, case), tasks)[1], expected)

"""The implicit gradient against finite differences of inner problems that are solved, and what it refuses."""

import warnings

import pytest
import torch
from inner.grid import (
    LAYERS,
    LOSSES,
    MOVES,
    assert_close,
    assert_is_the_slope,
    batch,
    build,
    covering,
    loss_and_gradient,
    refused,
)
from torch import nn
from torch.func import functional_call

import quickstudy as qs
from quickstudy.inner.optimizers import SGD

# The formula holds at the solution only, and as far as the linear system is solved. The proximal term outweighs the
# curvature of all these losses (eigenvalues from -10 to 19, found by trying), so that the problem is strongly convex,
# with eigenvalues from 90 to 119: a step at the rate 0.009 leaves at most 0.2 of the distance to the solution, 18 steps
# 1e-13 of it, and a difference over 1e-4 then errs by 1e-9. The Neumann series is that same iteration; conjugate
# gradient is faster. The Hessian still makes a tenth of the answer, which is asked for to one part in a million.
RATE, TERMS, PROXIMAL = 0.009, 18, 100.0
SOLVERS = {
    "cg": qs.Implicit(iterations=10),
    "neumann": qs.Implicit(solver="neumann", iterations=TERMS, rate=RATE),
}
EACH = [("batched", "cg"), ("batched", "neumann"), ("lowrank", "cg"), ("loop", "cg")]


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def solved(engine, solver, layer, moves="everything", data="all points", loss="squared", **more):
    options = {"rule": SGD(RATE), "steps": TERMS, "proximal": PROXIMAL, "implicit": SOLVERS[solver]} | more
    return build(engine, (layer, "plain", "SGD", moves, data, loss), **options)


def assert_exact(*case, data="all points", each=EACH):
    tasks, expected = batch(data), None
    for engine, solver in each:
        if refused(engine, (case[0], "plain", "SGD")):
            continue
        learner = solved(engine, solver, *case)
        _, found = loss_and_gradient(learner, tasks)
        if expected is None:
            expected = found
            assert_is_the_slope(learner, found, tasks, 1e-4)
        assert_close(found, expected)


@pytest.mark.parametrize("layer", [k for k in LAYERS if k != "dropout"])  # which has another loss at every step
def test_exact_for_every_layer_engine_and_solver(layer):
    assert_exact(layer)


@pytest.mark.parametrize("case", list(covering((MOVES, ("all points", "unequal"), LOSSES))), ids=" | ".join)
def test_exact_for_whatever_moves_and_is_read(case):
    assert_exact("MLP", *case, data=case[1], each=[("batched", "cg"), ("loop", "neumann")])


def test_the_hessian_matters():
    tasks = batch()
    _, exact = loss_and_gradient(solved("batched", "cg", "MLP"), tasks)
    _, without = loss_and_gradient(solved("batched", "cg", "MLP", implicit=qs.Implicit(iterations=1)), tasks)
    assert max((a - b).norm() / a.norm() for a, b in zip(exact, without, strict=True)) > 1e-3


def test_conjugate_gradient_where_a_matrix_is_not_positive():
    """Four systems side by side: positive, negative from the first direction on, from the second on, and solved."""
    shift = 2.0
    diagonal = torch.tensor([[1.0, 3.0], [-3.0, 1.0], [4.0, -1.0], [1.0, 1.0]])
    vector = torch.tensor([[1.0, 1.0], [2.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    how = qs.Implicit(iterations=5)
    [found] = how.solve(lambda v: [diagonal * v[0]], [vector], shift)
    torch.testing.assert_close(found[0], vector[0] / diagonal[0])
    torch.testing.assert_close(found[1], vector[1] / shift)  # as if H were 0
    size, curvature = vector[2].square().sum(), (diagonal[2] * vector[2].square()).sum()
    torch.testing.assert_close(found[2], size / curvature * vector[2])  # its first step alone
    assert torch.equal(found[3], vector[3])
    vector[0, 0] = torch.nan
    [found] = how.solve(lambda v: [diagonal * v[0]], [vector], shift)
    assert found[0].isnan().any() and found[1:].isfinite().all()


@pytest.mark.parametrize("chunk", [None, 2])
def test_a_second_derivative_is_refused(chunk):
    learner, tasks = solved("batched", "cg", "MLP", chunk=chunk), batch()
    params = list(learner.parameters())
    expected = torch.autograd.grad(learner.meta_loss(tasks), params)
    with warnings.catch_warnings():
        warnings.simplefilter("default" if chunk is None else "ignore")  # chunks run again without, and say so
        found = torch.autograd.grad(learner.meta_loss(tasks), params, create_graph=True)
    assert_close(found, expected)
    with pytest.raises(NotImplementedError, match=r"second derivative .* Leave out implicit="):
        torch.autograd.grad(found[0].sum(), params[0])


def test_a_second_derivative_is_not_taken_for_zero():
    """Where the query loss is linear in the weights, the gradient's own graph would end at once."""

    def linear(model, data, outer):
        return model(data.x).mean()

    network = nn.Linear(6, 1)
    loop = qs.inner_loop(network, lr=RATE, steps=TERMS, proximal=PROXIMAL, implicit=SOLVERS["cg"])
    value = loop(batch().support).evaluate(linear, batch().query).mean()
    grads = torch.autograd.grad(value, list(network.parameters()), create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivative"):
        torch.autograd.grad(sum(g.sum() for g in grads), list(network.parameters()))


def test_transforms_are_refused():
    learner, tasks = solved("batched", "cg", "MLP"), batch()
    with pytest.raises(NotImplementedError, match="torch.autograd"):
        torch.func.grad(lambda p: functional_call(learner, p, (tasks,)))(dict(learner.named_parameters()))


@pytest.mark.parametrize(("engine", "solver"), EACH)
def test_dropout_falls_the_same_way_throughout_the_system(engine, solver):
    learner, tasks = solved(engine, solver, "dropout"), batch()
    params = list(learner.parameters())
    loss = learner.meta_loss(tasks)
    before = torch.get_rng_state()
    one = torch.autograd.grad(loss, params, retain_graph=True)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    for a, b in zip(torch.autograd.grad(loss, params), one, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"solver": "lu"}, "solver='lu'"),
        ({"iterations": 0}, "iterations=0"),
        ({"damping": -1.0}, "damping=-1.0"),
        ({"rate": float("nan")}, "rate=nan"),
    ],
)
def test_bad_options(options, says):
    with pytest.raises(ValueError, match=says):
        qs.Implicit(**options)


def test_what_does_not_go_together():
    with pytest.raises(ValueError, match="proximal="):
        solved("batched", "cg", "MLP", proximal=0.0)
    for options in ({"mixed_mode": True}, {"checkpoint": "sqrt"}, {"first_order": True}, {"truncate": 1}):
        with pytest.raises(ValueError, match=f"leave out {next(iter(options))}"):
            solved("batched", "cg", "MLP", **options)

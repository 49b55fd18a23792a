"""What goes into an inner loop and its results is checked in words."""

import pytest

import quickstudy as qs

TASKS = qs.tasks.Sinusoid().sample(4, support=5, query=5)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda loop: loop(TASKS), TypeError, "pass its .support"),
        (lambda loop: loop((TASKS.support.x, TASKS.support.y)), TypeError, "not tuple"),
        (lambda loop: loop(qs.Examples(TASKS.support.x[..., 0], TASKS.support.y)), ValueError, "unsqueeze"),
        (lambda loop: loop(TASKS.support).losses(TASKS.query.x), TypeError, "not Tensor"),
        (lambda loop: loop(TASKS.support).losses(TASKS.query.select(slice(2))), ValueError, "2 tasks, .* to 4"),
    ],
)
def test_bad_data_of_a_bare_inner_loop(call, error, says):
    with pytest.raises(error, match=says):
        call(qs.inner_loop(qs.nets.MLP(1, [4], 1)))

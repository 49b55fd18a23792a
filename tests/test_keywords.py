"""Unknown arguments of the functions with many arguments."""

import inspect

import pytest

import quickstudy as qs


@pytest.mark.parametrize(
    ("function", "misspelt", "advice"),
    [
        (qs.fit, "step", r"fit\(\) has no argument 'step'; did you mean 'steps'\?"),
        (qs.fit, "evaluate_ever", "did you mean 'evaluate_every'"),
        (qs.rl.fit, "checkpoints_every", "did you mean 'checkpoint_every'"),
        (qs.evaluate, "suport", r"evaluate\(\) has no argument 'suport'; did you mean 'support'\?"),
        (qs.evaluate, "zzz", "its arguments are learner, family, tasks, support, steps"),
    ],
)
def test_a_misspelt_argument_names_the_nearest(function, misspelt: str, advice: str) -> None:
    with pytest.raises(TypeError, match=advice):
        function(None, None, **{misspelt: 3})


def test_the_signature_stays() -> None:
    assert {"steps", "validation_tasks", "out"} <= set(inspect.signature(qs.fit).parameters)
    assert inspect.signature(qs.evaluate).parameters["tasks"].default == 600


def test_the_warning_about_a_run_in_memory_names_the_line_of_the_caller() -> None:
    with pytest.warns(UserWarning, match="kept in memory") as caught:
        qs.fit(qs.CNP(width=8), qs.tasks.Sinusoid(), steps=1, validation_tasks=2)
    assert caught[0].filename == __file__

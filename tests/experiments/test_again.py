"""The same command once more, with other options."""

from dataclasses import replace
from pathlib import Path

from quickstudy.experiments.again import differences
from quickstudy.recipes.navigation2d import maml as navigation
from quickstudy.recipes.sinusoid import np as waves
from quickstudy.recipes.table import recipe as table

OUT = Path("my runs/a")


def test_nothing_differs() -> None:
    options = waves.Options(out=OUT)
    assert differences(options, replace(options, out=None, parallel=3), OUT) == []


def test_what_was_trained_and_what_is_measured_have_cures_of_their_own() -> None:
    before = waves.Options(seeds=(1, 2))
    now = replace(before, steps=10, support=(1, 2), seeds=(), test_tasks=5, shots=(1, 4), which="last")
    trained, measured = differences(now, before, OUT)
    assert trained == (
        "--steps is 50000 there and 10 here, --seeds is 1 2 there and not given here, --support is 3 20 there and 1 2 "
        "here: give --steps 50000 --seeds 1 2 --support 3 20 to go on with that run, or choose another --out."
    )
    assert measured.endswith("`quickstudy evaluate 'my runs/a' --which last --tasks 5 --support 1 4` measures it so.")
    assert measured.startswith(
        "--which is best there and last here, --test-tasks is 600 there and 5 here, --shots is 5"
    )


def test_the_words_of_a_policy_are_those_of_evaluate() -> None:
    before = navigation.Options()
    [measured] = differences(replace(before, test_episodes=3, test_steps=1), before, OUT)
    assert "`quickstudy evaluate 'my runs/a' --support 3 --steps 1`" in measured


def test_paths_are_compared_by_where_they_are() -> None:
    columns = {"task": "a", "x": ("b",), "y": ("c",)}
    now, before = (table.Options(data=path, **columns) for path in (Path("d.csv"), Path("d.csv").absolute()))
    assert differences(now, before, OUT) == []

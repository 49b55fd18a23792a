"""Differences between the options of a command and those of the run in its folder."""

from dataclasses import replace
from pathlib import Path

from quickstudy.experiments.again import differences
from quickstudy.recipes.navigation2d import maml as navigation
from quickstudy.recipes.sinusoid import np as waves
from quickstudy.recipes.table import recipe as table

OUT = Path("my runs/a")


def test_equal_options_have_no_differences() -> None:
    options = waves.Options(out=OUT)
    assert differences(options, replace(options, out=None, parallel=3), OUT) == []


def test_options_of_training_and_of_measuring_have_a_sentence_each() -> None:
    before = waves.Options(seeds=(1, 2))
    now = replace(before, steps=10, support=(1, 2), seeds=(), test_tasks=5, shots=(1, 4), which="last")
    trained, measured = differences(now, before, OUT)
    assert trained == (
        "--steps was 50000 and is now 10, --seeds was 1 2 and is now not given, --support was 3 20 and is now 1 2: "
        "give --steps 50000 --seeds 1 2 --support 3 20 to continue that run, or choose another --out."
    )
    command = "`quickstudy evaluate 'my runs/a' --which last --tasks 5 --support 1 4`"
    assert measured.endswith(f"{command} measures that run this way.")
    assert measured.startswith("--which was best and is now last, --test-tasks was 600 and is now 5, --shots was 5")


def test_options_of_a_policy_are_named_as_in_evaluate() -> None:
    before = navigation.Options()
    [measured] = differences(replace(before, test_episodes=3, test_steps=1), before, OUT)
    assert "`quickstudy evaluate 'my runs/a' --support 3 --steps 1`" in measured


def test_switches_are_written_as_in_a_shell() -> None:
    before = navigation.Options()
    [trained] = differences(replace(before, first_order=True), before, OUT)
    assert trained.startswith("--first-order was False and is now True: give --no-first-order to continue that run")
    [trained] = differences(before, replace(before, first_order=True), OUT)
    assert "give --first-order to continue that run" in trained


def test_relative_and_absolute_paths_are_equal() -> None:
    columns = {"task": "a", "x": ("b",), "y": ("c",)}
    now, before = (table.Options(data=path, **columns) for path in (Path("d.csv"), Path("d.csv").absolute()))
    assert differences(now, before, OUT) == []

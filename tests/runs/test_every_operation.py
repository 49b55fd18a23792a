"""Every state in which SIGKILL can leave a run, after any number of kills: it ends as an undisturbed run does.

A training is filmed: its folder is copied before every file operation. Then training is continued from every copy, and
filmed as well, until no new state turns up.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import kills
from runs.camera import States, describe, filming

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.runs.atomic import is_settled, newest
from quickstudy.runs.reading import CheckpointError
from quickstudy.runs.run import BEST, LAST, is_half_deleted, is_run, read_config

SMALL: dict[str, Any] = {"tasks": 2, "validation_tasks": 2, "support": 2, "query": 2, "compile": False, "device": "cpu"}
EVERY = {"log_every": 1, "evaluate_every": 2, "checkpoint_every": 2}
OLD = {"lr": 0.1}


def fit(run: Path, *, steps: int = 2, exist: str = "resume", **options: Any) -> None:
    torch.manual_seed(0)
    learner = qs.CNP(width=4)
    qs.fit(learner, qs.tasks.Sinusoid(), steps=steps, out=run, exist=exist, **{**SMALL, **EVERY, **options})  # type: ignore[arg-type]


def extend(run: Path) -> None:
    fit(run, steps=4, exist="extend")


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """No flush to the disk, which a kill does not undo, and no TensorBoard."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr("quickstudy.training.loggers.tensorboard.available", lambda: False)


def every_state(
    folder: Path,
    begin: Callable[[Path], None],
    go_on: Callable[[Path], None],
    skip: Callable[[Path], bool] = lambda run: False,
) -> list[Path]:
    """The states of a run that `begin` trains and `go_on` continues; each is checked to end as the undisturbed run."""
    states = States(folder / "states")
    with filming(folder / "run", states):
        begin(folder / "run")
    expected = kills.outcome(folder)
    for number, state in enumerate(states.found):  # grows meanwhile
        if skip(state / "run"):
            continue
        place = folder / f"again {number}"
        shutil.copytree(state, place)
        with filming(place / "run", states):
            go_on(place / "run")
        assert kills.differences(kills.outcome(place), expected) == [], state
        shutil.rmtree(place)
        assert number < 500, "the states do not come to an end"
    return states.found


def check_readers(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything that reads a run finds its checkpoints, and changes nothing; then it is resumed by the command."""
    run, before = state / "run", describe(state / "run")
    for which, name in (("last", LAST), ("best", BEST)):
        place = newest(run / name)
        if place is not None:
            found, kept = qs.load(run, which=which), qs.load(place)  # type: ignore[arg-type]
            assert all(torch.equal(a, b) for a, b in zip(found.parameters(), kept.parameters(), strict=True))
    assert main(["evaluate", str(run), "--tasks", "2", "--support", "1"]) == 0, capsys.readouterr().err
    assert main(["report", str(run), "--out", str(state / "report.html")]) == 0, capsys.readouterr().err
    assert describe(run) == before
    assert main(["resume", str(run)]) == 0, capsys.readouterr().err
    (run / "report.html").unlink()  # which `fit` does not write


def unsettled(states: list[Path]) -> list[Path]:
    """Those in which the replacement of a checkpoint was cut short, and a complete one is there."""
    runs = [state / "run" for state in states]
    some = [
        run for run in runs if is_run(run) and newest(run / LAST) and not all(map(is_settled, (run / LAST, run / BEST)))
    ]
    return [run.parent for run in some]


def test_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    states = every_state(tmp_path, fit, fit)
    found = [
        state
        for state in unsettled(states)
        if not (state / "run" / LAST).exists() or not (state / "run" / BEST).exists()
    ]
    assert len(found) >= 2
    for state in found:
        check_readers(state, capsys)
        assert kills.differences(kills.outcome(state), kills.outcome(tmp_path)) == []


def test_extend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path / "run")
    whole = {**kills.outcome(tmp_path)}

    def go_on(run: Path) -> None:
        try:
            extend(run)
        except ValueError as error:  # it was finished before
            assert "steps=4 does not extend" in str(error)

    states = every_state(tmp_path, extend, go_on)
    expected = kills.outcome(tmp_path)
    for number, state in enumerate(states):
        if read_config(state / "run")["steps"] == 2:  # still the shorter run
            with pytest.raises(ValueError, match="lengthen it by exist='extend'"):
                fit(state / "run", steps=4)
            fit(state / "run")
            different = kills.differences(kills.outcome(state), whole)
            assert set(different) <= {"run/config.json.quickstudy-tmp"}  # which the next change of the config removes
        elif state in unsettled([state]) and number % 3 == 0:
            check_readers(state, capsys)
            assert kills.differences(kills.outcome(state), expected) == []
        else:
            fit(state / "run", steps=4)
            assert kills.differences(kills.outcome(state), expected) == []


def test_overwrite(tmp_path: Path) -> None:
    fit(tmp_path / "run", **OLD)
    old = {name: data for name, data in kills.contents(tmp_path).items() if not name.endswith(".lock")}
    half_deleted = 0

    def go_on(run: Path) -> None:
        """What a person may do; refused where it is still the old run, which is then all there."""
        nonlocal half_deleted
        if is_run(run) and read_config(run)["lr"] == OLD["lr"]:
            assert {n: d for n, d in kills.contents(run.parent).items() if not n.endswith(".lock")} == old
            with pytest.raises(ValueError, match="lr was 0.1 and is now 0.001"):
                fit(run)
            return fit(run, exist="overwrite")
        if is_half_deleted(run):
            half_deleted += 1
            before = describe(run)
            with pytest.raises(CheckpointError):
                qs.load(run)
            for command in ("report", "evaluate", "resume"):
                assert half_deleted > 3 or main([command, str(run)]) == 1
            for exist in ("error", "extend"):
                with pytest.raises(FileExistsError, match="holds the rest of a run whose overwriting was interrupted"):
                    fit(run, exist=exist)
            assert describe(run) == before
        return fit(run, exist="overwrite" if half_deleted % 2 else "resume")

    def is_begun(run: Path) -> bool:  # the rest is as in `test_fit`
        return is_run(run) and read_config(run)["lr"] != OLD["lr"] and newest(run / LAST) is not None

    every_state(tmp_path, lambda run: fit(run, exist="overwrite"), go_on, is_begun)
    assert half_deleted > 8

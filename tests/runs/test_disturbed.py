"""Run folders that are removed, renamed or edited during training, and full disks."""

import errno
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from recipes import running
from training.workload import STEPS, Waves, train

from quickstudy.cli import main
from quickstudy.report import figures
from quickstudy.runs import atomic

Disturb = Callable[[Path], object]


def at_batch(number: int, disturb: Disturb, run: Path) -> Waves:
    """A family that disturbs the run before its batch of that number."""
    calls = 0

    def hook() -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            disturb(run)

    return Waves(hook)


def replace(run: Path) -> None:
    run.rename(run.with_name("renamed"))
    run.mkdir()
    (run / "config.json").write_text("another run")


GONE: dict[str, Disturb] = {
    "removed": shutil.rmtree,
    "renamed": lambda run: run.rename(run.with_name("renamed")),
    "replaced": replace,
}


@pytest.mark.parametrize("what", GONE)
def test_a_folder_that_is_gone_ends_the_training_and_is_not_made_again(tmp_path: Path, what: str) -> None:
    run = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="was removed or renamed while it was trained in") as caught:
        train("gradient", run, at_batch(25, GONE[what], run))
    assert "\n" not in str(caught.value)
    assert [p.name for p in run.iterdir()] == ["config.json"] if what == "replaced" else not run.exists()
    if what != "removed":
        assert train("gradient", tmp_path / "renamed", exist="resume").steps == STEPS


def edit(run: Path) -> None:
    """As an editor saves."""
    (run / "new").write_text("edited")
    (run / "new").rename(run / "metrics.jsonl")


@pytest.mark.parametrize("disturb", [lambda run: (run / "metrics.jsonl").unlink(), edit])
def test_metrics_that_are_removed_are_written_again(tmp_path: Path, disturb: Disturb) -> None:
    whole = train("gradient", tmp_path / "whole")
    with pytest.warns(RuntimeWarning, match=r"metrics\.jsonl was removed or replaced while training; it is written"):
        run = train("gradient", tmp_path / "run", at_batch(25, disturb, tmp_path / "run"))
    timed = whole.config["time_fields"]
    for mine, theirs in zip(run.metrics, whole.metrics, strict=True):
        assert {k: v for k, v in mine.items() if k not in timed} == {k: v for k, v in theirs.items() if k not in timed}


def test_metrics_that_are_cut_short_are_named(tmp_path: Path) -> None:
    def cut(run: Path) -> None:
        os.truncate(run / "metrics.jsonl", 0)

    with pytest.warns(RuntimeWarning, match=r"metrics\.jsonl was cut short by another program: \d+ bytes are lost"):
        run = train("gradient", tmp_path / "run", at_batch(25, cut, tmp_path / "run"))
    assert run.metrics[0]["step"] > 20 and run.metrics[-1]["step"] == STEPS
    assert train("gradient", tmp_path / "run", exist="resume").metrics == run.metrics


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """While entered, no file grows beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_figure_that_does_not_fit_names_its_path_and_the_cure(tmp_path: Path) -> None:
    figure = figures.lines([figures.Series("a", [0, 1], [0, 1])], xlabel="x", ylabel="y")
    path = figures.save(figure, tmp_path, "a")
    before = path.read_bytes()
    with small_files(1000), pytest.raises(OSError, match=r"cannot write .*a\.(pdf|png): .*; raise the limit") as caught:
        figures.save(figure, tmp_path, "a")
    assert caught.value.errno == errno.EFBIG and path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"a.pdf", "a.png"}


def test_a_disk_that_is_full_while_drawing_costs_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = atomic._write_flushed

    def full(path: Path, data: bytes) -> None:
        if path.parent.name == "figures":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(path, data)

    monkeypatch.setattr(atomic, "_write_flushed", full)
    command = ["run", "sinusoid-maml", *running.TINY["sinusoid-maml"], "--out", str(tmp_path / "run")]
    with pytest.warns(RuntimeWarning, match=r"cannot write .*\.pdf: No space left on device; free some space"):
        assert main(command) == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "figures" / "page.html")]) == 1
    assert "page.html: No space left on device; free some space" in capsys.readouterr().err

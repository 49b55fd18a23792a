"""Overwriting deletes a run of `fit`, and nothing else."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from training.workload import Waves, make

import quickstudy as qs
from quickstudy.runs import overwrite
from quickstudy.runs.checkpoint import CheckpointError
from quickstudy.runs.lock import Lock
from quickstudy.runs.run import is_run, read_config

SMALL: dict[str, Any] = {"tasks": 2, "validation_tasks": 2, "support": 2, "query": 2, "compile": False}


def fit(out: Path, steps: int = 2, **options: Any) -> Any:
    return qs.fit(make("gradient"), Waves(), steps=steps, out=out, **{**SMALL, **options})


def content(folder: Path) -> dict[str, bytes | str]:
    """Everything in a folder, links as where they point."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, with the page that `quickstudy report` writes."""
    out = tmp_path_factory.mktemp("made") / "run"
    fit(out)
    (out / "report.html").write_text("a page")
    (out / "checkpoints/last.quickstudy-tmp").mkdir()  # as a kill may leave it
    (out / "checkpoints/last.quickstudy-tmp/model.safetensors").write_bytes(b"half")
    return out


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "run")


def test_a_run_is_replaced_and_leaves_no_trace(run: Path, tmp_path: Path) -> None:
    fit(run, steps=4, lr=0.5, exist="overwrite")
    fit(tmp_path / "fresh", steps=4, lr=0.5)
    assert read_config(run) == read_config(tmp_path / "fresh")
    events = lambda names: {name for name in names if "tfevents" not in name}  # noqa: E731
    assert events(content(run)) == events(content(tmp_path / "fresh"))
    assert len(list((run / "tensorboard").iterdir())) <= 1
    weights = [(out / "checkpoints/last/model.safetensors").read_bytes() for out in (run, tmp_path / "fresh")]
    assert weights[0] == weights[1]


def test_where_there_is_none_one_is_made(tmp_path: Path) -> None:
    assert fit(tmp_path / "run", exist="overwrite").steps == 2
    (tmp_path / "empty").mkdir()
    assert fit(tmp_path / "empty", exist="overwrite").steps == 2


def a_file(run: Path) -> str:
    (run / "notes.md").write_text("mine")
    return "notes.md"


def a_figure(run: Path) -> str:
    (run / "figures/mine.png").write_bytes(b"png")
    return "figures/mine.png"


def a_folder(run: Path) -> str:
    (run / "thesis").mkdir()
    return "thesis"


def beside_the_weights(run: Path) -> str:
    (run / "checkpoints/last/notes.txt").write_text("mine")
    return "checkpoints/last/notes.txt"


def another_checkpoint(run: Path) -> str:
    shutil.copytree(run / "checkpoints/best", run / "checkpoints/good")
    return "checkpoints/good"


def a_link(run: Path) -> str:
    elsewhere = run.parent / "elsewhere.jsonl"
    elsewhere.write_text("mine")
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").symlink_to(elsewhere)
    return "metrics.jsonl"


def a_linked_folder(run: Path) -> str:
    shutil.move(run / "tensorboard" if (run / "tensorboard").exists() else run / "figures", run.parent / "elsewhere")
    (run / "tensorboard").symlink_to(run.parent / "elsewhere")
    return "tensorboard"


def a_folder_with_the_name_of_a_file(run: Path) -> str:
    (run / "report.html").unlink()
    (run / "report.html").mkdir()
    return "report.html"


def a_copy_of_the_config(run: Path) -> str:
    shutil.copy(run / "config.json", run / "config.json.overwritten")
    return "config.json.overwritten"


INTRUDERS = [
    a_file,
    a_figure,
    a_folder,
    beside_the_weights,
    another_checkpoint,
    a_link,
    a_linked_folder,
    a_folder_with_the_name_of_a_file,
    a_copy_of_the_config,
]


@pytest.mark.parametrize("intrude", INTRUDERS, ids=lambda f: f.__name__)
def test_what_fit_did_not_write_is_named_and_nothing_is_deleted(run: Path, intrude: Any) -> None:
    name = intrude(run)
    before = content(run.parent)
    with pytest.raises(FileExistsError, match=f"{name} was not written by quickstudy.fit.*move it away") as caught:
        fit(run, exist="overwrite")
    assert "\n" not in str(caught.value)
    assert content(run.parent) == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda config: {"steps": 3}, "is not a run that quickstudy.fit made"),
        (lambda config: [], "config.json cannot be read: it holds a list, not an object"),
        (lambda config: {**config, "recipe": "demo"}, "is a run of the recipe demo, and is not overwritten"),
    ],
)
def test_a_config_that_fit_did_not_write_protects_the_folder(run: Path, change: Any, says: str) -> None:
    (run / "config.json").write_text(json.dumps(change(read_config(run))))
    before = content(run)
    with pytest.raises((FileExistsError, CheckpointError), match=says):
        fit(run, exist="overwrite")
    assert content(run) == before


def test_a_part_of_a_run_is_not_overwritten(run: Path) -> None:
    fit(run / "part")
    before = content(run)
    for out, says in ((run / "part", "is a part of the run"), (run, "part was not written by quickstudy.fit")):
        with pytest.raises(FileExistsError, match=says):
            fit(out, exist="overwrite")
    assert content(run) == before


def test_never_while_another_process_trains_there(run: Path) -> None:
    before = content(run)
    with Lock(run), pytest.raises(BlockingIOError, match="another process is training"):
        fit(run, exist="overwrite")
    assert {k: v for k, v in content(run).items() if k != ".lock"} == {k: v for k, v in before.items() if k != ".lock"}


def test_bad_arguments_are_refused_before_anything_is_deleted(run: Path) -> None:
    before = content(run)
    for bad in ({"lr": -1.0}, {"optimizer": lambda params: None}, {"device": "gpu"}):
        with pytest.raises((ValueError, TypeError)):
            fit(run, exist="overwrite", **bad)
    with pytest.raises(TypeError, match="float64"):
        qs.fit(make("gradient").double(), Waves(), steps=2, out=run, exist="overwrite", **SMALL)
    assert content(run) == before


@pytest.mark.parametrize("place", range(0, 12, 2))
def test_a_deletion_that_is_cut_short_is_repeated(run: Path, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    """Until then the folder is no run, and nothing reads what is left of the old one."""
    calls = 0

    def failing(original: Any) -> Any:
        def delete(path: Path, *arguments: Any, **options: Any) -> None:
            nonlocal calls
            calls += 1
            if calls > place:
                raise OSError(5, "Input/output error")
            original(path, *arguments, **options)

        return delete

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", failing(Path.unlink))
        patched.setattr(Path, "rmdir", failing(Path.rmdir))
        with pytest.raises(OSError, match="cannot write .*Input/output error"):
            overwrite.remove_run(run, read_config(run))
    assert not is_run(run) and (run / "config.json.overwritten").exists()
    fit(run, steps=3, exist="overwrite")
    assert torch.isfinite(next(qs.load(run).parameters())).all()

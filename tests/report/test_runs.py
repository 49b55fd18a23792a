"""Run folders, read: their parts, their figures, and as data frames."""

import builtins
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import quickstudy as qs
from quickstudy import report


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of four steps."""
    torch.manual_seed(0)
    learner = qs.MAML(qs.nets.MLP(1, [4], 1), lr=0.01, steps=1)
    return qs.fit(learner, qs.tasks.Sinusoid(), steps=4, out=tmp_path_factory.mktemp("runs") / "sine", log_every=1)


def test_the_metrics_of_a_run_as_a_frame(run: Any) -> None:
    frame = run.frame()
    assert list(frame["step"]) == [1, 2, 3, 4]
    assert list(frame["loss"]) == [line["loss"] for line in run.metrics]
    known = [line["validation_loss"] for line in run.metrics if "validation_loss" in line]
    assert known and list(frame["validation_loss"].dropna()) == known


def test_the_frame_of_a_folder_names_the_parts(run: Any, tmp_path: Path) -> None:
    frame = report.frame(run.path)
    assert set(frame["part"]) == {""} and frame.drop(columns="part").equals(run.frame())
    (tmp_path / "np").mkdir()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "np" / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    assert report.frame(tmp_path).values.tolist() == [["np", 1, 2.0], ["np", 2, 1.0]]


def test_results_as_a_frame(tmp_path: Path) -> None:
    value = {"mean": 0.5, "ci95": None, "n": 9, "over": "tasks"}
    names = ("maml/mse/k=10/steps=1", "np/mse/k=5", "oracle_log_likelihood/kernel=rbf")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "result.json").write_text(json.dumps({"metrics": dict.fromkeys(names, value)}))
    frame = report.result_frame(tmp_path)
    assert list(frame["learner"]) == ["MAML", "Neural Process", "exact posterior"]
    assert list(frame["metric"]) == ["mse", "mse", "log_likelihood"]
    assert list(frame["k"][:2]) == [10, 5] and frame["steps"][0] == 1 and pd.isna(frame["k"][2])
    assert frame["kernel"][2] == "rbf" and set(frame["n"]) == {9} and frame["ci95"].isna().all()


def test_without_pandas_the_extra_is_named(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name="pandas")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    for ask, called in ((run.frame, r"run\.frame\(\)"), (lambda: report.frame(run.path), r"frame\(\)")):
        with pytest.raises(ModuleNotFoundError, match=rf'^{called} needs pandas.*pip install "quickstudy\[pandas\]"'):
            ask()


def test_figures_of_several_seeds_are_those_of_the_first_where_there_are_none_of_all(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for folder, names in (("seed-10", "ab"), ("seed-2", "ab"), (".", "b")):
        (tmp_path / folder / "figures").mkdir(parents=True)
        for name in names:
            (tmp_path / folder / "figures" / f"{name}.png").touch()
    found = report.read_run(tmp_path).figures
    assert [str(path.relative_to(tmp_path)) for path in found.values()] == ["seed-2/figures/a.png", "figures/b.png"]


def test_public_names_are_there_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(callable(getattr(report, name)) for name in report.__all__)
    assert set(report.__all__) <= set(dir(report))
    with pytest.raises(AttributeError, match="has no attribute 'plot'; it has animate"):
        report.plot


def test_reading_a_run_needs_no_torch(run: Any) -> None:
    code = "import sys; from quickstudy import report; report.read_run(sys.argv[1]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, str(run.path)], check=False).returncode == 0

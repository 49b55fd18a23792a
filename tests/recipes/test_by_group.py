"""The errors of every held-out group in groups.csv."""

import csv
import json
from pathlib import Path

import pytest
from recipes import running

from quickstudy.cli import main


def read(run: Path) -> list[dict[str, str]]:
    """The rows of groups.csv."""
    with (run / "groups.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_errors_of_groups_agree_with_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quickstudy.tasks.fitted_gp._ROUNDS", 1)  # on a coarse grid alone
    monkeypatch.setattr("quickstudy.tasks.fitted_gp._COARSE", 5)
    run, learner = tmp_path / "run", ["--learner", "maml", "--test-steps", "0", "2", "--seen", "2", "3"]
    assert main(["run", "table", *running.tiny("table", tmp_path), *learner, "--out", str(run)]) == 0
    assert "Only 1 group of each fold chooses the best weights" in capsys.readouterr().err
    rows, metrics = read(run), json.loads((run / "result.json").read_text())["metrics"]
    assert list(rows[0]) == ["group", "fold", "K", "learner", "steps", "rmse", "log_likelihood"]
    own = [row for row in rows if (row["learner"], row["K"], row["steps"]) == ("MAML", "3", "2")]
    assert sorted(row["group"] for row in own) == [f"p{i}" for i in range(7)] and {"1", "2"} == {r["fold"] for r in own}
    mean = sum(float(row["rmse"]) ** 2 for row in own) / 7
    assert mean**0.5 == pytest.approx(metrics["maml/rmse/k=3/steps=2"]["mean"], rel=1e-5)
    likelihood = sum(float(row["log_likelihood"]) for row in own) / 7
    assert likelihood == pytest.approx(metrics["maml/log_likelihood/k=3/steps=2"]["mean"], rel=1e-5)
    assert len(rows) == 7 * 2 * (2 + 3)  # groups, K, MAML after two numbers of steps and three rivals

    before = (run / "groups.csv").read_bytes()
    assert main(["evaluate", str(run), "--support", "4"]) == 0
    assert (run / "groups.csv").read_bytes() == before
    assert main(["evaluate", str(run), "--support", "4", "--write"]) == 0
    assert {row["K"] for row in read(run)} == {"4"}

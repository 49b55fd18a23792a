"""The comparison on real tables: its tables, its sums, and a method from a file."""

from pathlib import Path

import pytest

from quickstudy.cli import main
from quickstudy.recipes.few_rows.method import read_method
from quickstudy.recipes.few_rows.scores import main_column, near_best, summary
from quickstudy.recipes.few_rows.sources import SOURCES, rows_of
from quickstudy.runs.config import write_config

GROUPS = {"sleepstudy": 18, "Oxboys": 26, "Wafer": 80, "Glucose2": 14, "Remifentanil": 65, "Blackmore": 231}
METHOD = """
import quickstudy as qs


def fit(table, seed, most):
    model = qs.MixedModel(random=0)
    model.fit(table)
    return model
"""


def column(seen: int, rmse: float, density: float, half: float = 0.1) -> dict:
    return {"seen": seen, "rmse": [rmse, half], "log_likelihood": [density, half], "coverage90": [0.9, 0.1]}


def table(mixture: float) -> dict:
    """A table whose best single learner has RMSE 1 at the main column."""
    return {
        "learners": {
            "everyone": [column(0, 4.0, -4.0), column(4, 4.0, -4.0), column(8, 4.0, -4.0)],
            "line": [column(0, 4.0, -4.0), column(4, 1.0, -1.0), column(8, 0.5, -0.5)],
            "together": [column(0, 4.0, -4.0), column(4, mixture, -mixture), column(8, 0.5, -0.5)],
        }
    }


def test_there_are_28_tables_and_they_can_be_read() -> None:
    assert len(SOURCES) == 28
    for name, groups in GROUPS.items():
        rows = rows_of(name)
        assert len(rows.names) == groups and all(len(each) > 1 for each in rows.rows)


def test_learners_are_compared_after_four_rows_and_near_means_within_the_interval_of_the_best() -> None:
    assert main_column(table(1.0), "line")["seen"] == 4
    assert near_best(table(1.05), "rmse") and near_best(table(1.05), "log_likelihood")
    assert not near_best(table(1.2), "rmse") and not near_best(table(1.2), "log_likelihood")
    found = summary({"a": table(1.05), "b": table(1.2)})
    assert found["line/relative_rmse/k=4"].mean == 0.25 and found["line/log_likelihood_gain/k=4"].mean == 3.0
    assert found["together/near_best_rmse"].mean == 0.5 and found["together/near_best_rmse"].over == "tables"
    assert found["together/relative_rmse/k=4"].mean == pytest.approx((1.05 + 1.2) / 8)


def test_a_method_of_ones_own_stands_beside_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.py").write_text(METHOD)
    options = ["--tables", "Orthodont", "--learners", "intercept", "--out", str(tmp_path / "run"), "--steps", "3"]
    assert main(["run", "few-rows", *options, "--method", str(tmp_path / "own.py")]) == 0
    said = capsys.readouterr().out
    assert "own" in said and "mixture of all" in said


def test_what_is_wrong_with_a_method_or_a_table_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_method(tmp_path / "absent.py")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match="no function fit"):
        read_method(tmp_path / "empty.py")
    (tmp_path / "text.txt").write_text("")
    with pytest.raises(ValueError, match="no Python file"):
        read_method(tmp_path / "text.txt")
    out = ["--out", str(tmp_path / "run")]
    assert main(["run", "few-rows", "--tables", "sleep", *out]) == 1
    assert "no such table; the tables are sleepstudy" in capsys.readouterr().err
    assert main(["run", "few-rows", "--tables", "Orthodont", "--learners", "log-gp", *out]) == 1
    assert "no learner 'log-gp' for this table" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["resume", "evaluate"])
def test_a_method_that_a_run_names_is_not_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str):
    """Whoever sends somebody a run must not choose what code is executed there."""
    own, run, trap = tmp_path / "own.py", tmp_path / "run", tmp_path / "executed"
    own.write_text(f"import pathlib\npathlib.Path({str(trap)!r}).touch()\n{METHOD}")
    run.mkdir()
    write_config(run, {"recipe": "few-rows", "options": {"tables": ["Orthodont"], "method": str(own)}})
    assert main([command, str(run)]) == 1
    said = capsys.readouterr().err
    assert "code that a run names is not executed" in said and f"--method {own}" in said and not trap.exists()
    assert main([command, str(run), "--method", str(tmp_path / "other.py")]) == 1
    assert "is another one" in capsys.readouterr().err and not trap.exists()


def test_a_method_that_is_named_again_continues_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, run = tmp_path / "own.py", tmp_path / "run"
    own.write_text(METHOD)
    options = ["--tables", "Orthodont", "--learners", "intercept", "--out", str(run), "--steps", "3"]
    assert main(["run", "few-rows", *options, "--method", str(own)]) == 0
    assert main(["run", "few-rows", *options, "--method", str(own)]) == 1
    assert f"quickstudy resume {run} --method {own}" in capsys.readouterr().err
    (run / "result.json").unlink()
    assert main(["resume", str(run), "--method", str(own)]) == 0
    assert "own" in (run / "tables.json").read_text()
    write_config(run, {"recipe": "few-rows", "options": {}})
    assert main(["resume", str(run), "--method", str(own)]) == 1
    assert "has no method of your own" in capsys.readouterr().err

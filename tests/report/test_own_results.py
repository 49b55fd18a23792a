"""Results of a learner that is not quickstudy's, from `fit` and `evaluate` to a row in a report."""

from pathlib import Path

import pytest
from testing.own_learner import Kernel

import quickstudy as qs


@pytest.mark.usefixtures("quick_figures", "few_validation_tasks")
def test_an_own_learner_has_a_row_beside_the_others(tmp_path: Path) -> None:
    family = qs.tasks.Sinusoid()
    for name, learner in (("mine", Kernel()), ("cnp", qs.CNP(width=8))):
        run = qs.fit(learner, family, steps=2, out=tmp_path / name)
        before = qs.report.read_run(tmp_path / name).result
        run.add_metrics(qs.evaluate(learner, family, tasks=4, support=(2, 5)))
        run.add_metrics(qs.evaluate(learner, family, tasks=6, support=5))
        after = qs.report.read_run(tmp_path / name).result
        assert {k: v for k, v in after.items() if k != "metrics"} == {k: v for k, v in before.items() if k != "metrics"}
        assert before["metrics"].items() <= after["metrics"].items()  # the validation loss stays
        assert (after["metrics"]["mse/k=2"]["n"], after["metrics"]["mse/k=5"]["n"]) == (4, 6)
    table = qs.report.result_tables(tmp_path / "mine", tmp_path / "cnp")[0]
    assert "mean squared error" in table.title and [row[0] for row in table.rows] == ["mine", "cnp"]
    page = qs.report.write_report([tmp_path / "mine", tmp_path / "cnp"], tmp_path / "page.html").read_text()
    assert "<td>mine</td>" in page and "<td>cnp</td>" in page


def test_a_run_in_memory_has_no_file_for_metrics() -> None:
    with pytest.warns(UserWarning, match="kept in memory"):
        run = qs.fit(qs.CNP(width=8), qs.tasks.Sinusoid(), steps=1, validation_tasks=2)
    with pytest.raises(ValueError, match=r"kept in memory and has no result.json; train it with fit\(\.\.\., out="):
        run.add_metrics({})

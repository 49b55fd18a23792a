"""Every recipe with small sizes: the files of a run, resuming it, and measuring it again."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from recipes import running

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.evaluation.intervals import over_tasks
from quickstudy.experiments.execute import execute, reopen
from quickstudy.recipes import RECIPES
from quickstudy.recipes.sinusoid import waves as sinusoids
from quickstudy.report import figures

pytestmark = pytest.mark.filterwarnings("ignore:the chains of the compartment model:RuntimeWarning")  # 3 steps are few
OVER = {
    "table": "groups",
    "few-rows": "tables",
    "pharmacokinetics": "groups",
    **dict.fromkeys(("gridnavi-rl2", "gridnavi-varibad"), "trials of all goals"),
}
KEYS = {"recipe", "command", "seed", "steps", "seconds", "commit", "hardware", "metrics"}


@pytest.fixture(scope="module", params=list(RECIPES))
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A recipe and the folder of its finished run."""
    folder = tmp_path_factory.mktemp(request.param)
    arguments = [request.param] if request.param == "demo" else ["run", request.param]
    assert main([*arguments, *running.tiny(request.param, folder), "--out", str(folder / "run")]) == 0
    return request.param, folder / "run"


def test_files_of_a_run(finished: tuple[str, Path]) -> None:
    recipe, run = finished
    result = json.loads((run / "result.json").read_text())
    assert set(result) == KEYS
    assert (result["recipe"], result["seed"], result["steps"]) == (recipe, 0, 3)
    assert result["command"].startswith("quickstudy ")
    assert result["metrics"]
    for name, metric in result["metrics"].items():
        assert set(metric) == {"mean", "ci95", "n", "over"}, name
        assert math.isfinite(metric["mean"]) and metric["n"] >= 4, name
        assert metric["over"] == OVER.get(recipe, "tasks"), name
    pictures = list((run / "figures").glob("*.png"))
    assert pictures and all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


def test_resuming_a_finished_run_changes_nothing(finished: tuple[str, Path]) -> None:
    _, run = finished
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["resume", str(run)]) == 0
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_measuring_again_gives_the_same(finished: tuple[str, Path]) -> None:
    recipe, run = finished
    name, options = reopen(run)
    assert name == recipe
    reporter = running.Kept()
    again = execute(name, options, mode="measure", write=False, reporter=reporter)
    assert not any("drawing" in line for line in reporter.lines)
    assert again["metrics"] == json.loads((run / "result.json").read_text())["metrics"]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save no figures, which take time and are tested elsewhere."""
    monkeypatch.setattr("quickstudy.report.figures.save", lambda *arguments, **options: None)


@pytest.mark.usefixtures("undrawn")
def test_a_run_is_reproducible(tmp_path: Path) -> None:
    _, options = reopen(_maml(tmp_path / "first"))
    again = execute("sinusoid-maml", replace(options, out=tmp_path / "second"))
    assert again["metrics"] == json.loads((tmp_path / "first" / "result.json").read_text())["metrics"]
    other = execute("sinusoid-maml", replace(options, out=tmp_path / "third", seed=1))
    assert other["metrics"] != again["metrics"]


@pytest.mark.usefixtures("undrawn")
def test_several_seeds(tmp_path: Path) -> None:
    run = _maml(tmp_path / "run", "--seeds", "3", "5", "--parallel", "1")
    result = json.loads((run / "result.json").read_text())
    alone = [json.loads((run / f"seed-{seed}" / "result.json").read_text()) for seed in (3, 5)]
    assert result["seed"] == [3, 5] and [r["seed"] for r in alone] == [3, 5]
    for name, metric in result["metrics"].items():
        assert metric["over"] == "seeds" and metric["n"] == 2
        assert metric["mean"] == pytest.approx(sum(r["metrics"][name]["mean"] for r in alone) / 2)


@pytest.mark.usefixtures("undrawn")
def test_seeds_that_were_stopped_are_resumed(tmp_path: Path) -> None:
    run = _maml(tmp_path / "run", "--seeds", "3", "5", "--parallel", "1")
    whole = json.loads((run / "result.json").read_text())["metrics"]
    (run / "result.json").unlink()
    (run / "seed-5" / "result.json").unlink()
    kept = (run / "seed-3" / "result.json").read_bytes()
    assert main(["resume", str(run)]) == 0
    assert json.loads((run / "result.json").read_text())["metrics"] == whole
    assert (run / "seed-3" / "result.json").read_bytes() == kept


@pytest.mark.usefixtures("undrawn")
def test_a_run_killed_between_training_and_measuring_is_finished_by_resume(tmp_path: Path) -> None:
    run = _maml(tmp_path / "run")
    whole = json.loads((run / "result.json").read_text())
    trained = whole | {"metrics": {"validation_loss": {"mean": 1.0, "ci95": 0.1, "n": 100, "over": "tasks"}}}
    (run / "result.json").write_text(json.dumps(trained))  # as fit writes it after training
    assert main(["resume", str(run)]) == 0
    assert json.loads((run / "result.json").read_text()) == whole


@pytest.mark.usefixtures("undrawn")
def test_resume_trains_the_parts_that_are_missing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(["demo", *running.TINY["demo"], "--out", str(run)]) == 0
    whole = json.loads((run / "result.json").read_text())["metrics"]
    kept = {path: path.read_bytes() for path in (run / "maml").rglob("*") if path.is_file()}
    (run / "result.json").unlink()
    for part in ("np", "oracle"):
        shutil.rmtree(run / part)
    assert main(["resume", str(run)]) == 0
    assert json.loads((run / "result.json").read_text())["metrics"] == whole
    assert {path: path.read_bytes() for path in (run / "maml").rglob("*") if path.is_file()} == kept


@pytest.mark.usefixtures("undrawn")
def test_the_best_and_the_last_weights_can_be_measured(tmp_path: Path) -> None:
    run = _maml(tmp_path / "run", "--which", "last")
    _, options = reopen(run)
    learner = qs.load(run, which="last")
    found = sinusoids.measure(learner, qs.tasks.Sinusoid(), options, (2, 3), (1,))
    stored = json.loads((run / "result.json").read_text())["metrics"]["mse/k=2/steps=1"]
    assert found["mse/k=2/steps=1"].mean == stored["mean"]


@pytest.mark.usefixtures("undrawn")
def test_meta_sgd_and_maml_start_from_the_same_weights(tmp_path: Path) -> None:
    """Without training, Meta-SGD equals MAML if it has MAML's rate; with another rate only before adapting."""
    small = [*running.TINY["sinusoid-meta-sgd"], "--lr", "1e-12"]
    for name, more in (("same", []), ("other", ["--initial-lr", "0.02"])):
        assert main(["run", "sinusoid-meta-sgd", *small, *more, "--out", str(tmp_path / name)]) == 0
        found = json.loads((tmp_path / name / "result.json").read_text())["metrics"]
        for steps, agree in ((0, True), (1, not more)):
            means = [found[f"{part}/mse/k=3/steps={steps}"]["mean"] for part in ("meta_sgd", "maml")]
            assert (means[0] == pytest.approx(means[1], rel=1e-5)) is agree


def test_the_interval_of_a_ratio() -> None:
    """The interval agrees with that of a bootstrap over tasks."""
    chance = torch.Generator().manual_seed(0)
    below = torch.rand(600, generator=chance, dtype=torch.float64) + 0.5
    above = 3 * below + torch.rand(600, generator=chance, dtype=torch.float64)
    found = sinusoids.ratio(over_tasks(above), over_tasks(below))
    drawn = torch.randint(600, (4000, 600), generator=chance)
    ratios = above[drawn].mean(1) / below[drawn].mean(1)
    assert found.mean == pytest.approx(float(above.mean() / below.mean()))
    assert found.ci95 == pytest.approx(float(1.96 * ratios.std()), rel=0.06)


def _maml(out: Path, *more: str) -> Path:
    assert main(["run", "sinusoid-maml", *running.TINY["sinusoid-maml"], "--out", str(out), *more]) == 0
    return out


@pytest.mark.parametrize(
    ("module", "name", "error"),
    [(figures, "lines", ValueError("no such glyph")), (figures, "save", OSError(28, "No space left on device"))],
)
def test_a_run_succeeds_if_a_figure_cannot_be_drawn(module, name, error, tmp_path, monkeypatch) -> None:
    def broken(*arguments, **options):
        raise error

    monkeypatch.setattr(module, name, broken)
    run = tmp_path / "run"
    with pytest.warns(RuntimeWarning, match=f"{error.args[-1]}.*numbers are in result.json"):
        assert main(["run", "sinusoid-maml", *running.TINY["sinusoid-maml"], "--out", str(run)]) == 0
    assert json.loads((run / "result.json").read_text())["metrics"]
    assert main(["resume", str(run)]) == 0

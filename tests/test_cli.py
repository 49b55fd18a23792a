"""The command line: every command, the messages for misspelt ones, and the exit statuses."""

import ast
import inspect
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from recipes import running

from quickstudy import (
    ANIL,
    BOIL,
    CAVIA,
    MAML,
    Implicit,
    MetaCurvature,
    MetaSGD,
    Reptile,
    iMAML,
    nets,
    optimizers,
    rl,
    tasks,
)
from quickstudy import cli as cli_module
from quickstudy.cli import main
from quickstudy.commands import COMMANDS
from quickstudy.recipes import RECIPES
from quickstudy.report import citations
from quickstudy.runs.rebuild.spec import to_spec
from quickstudy.runs.signals import Signals

pytestmark = pytest.mark.usefixtures("quick_figures", "few_validation_tasks", "short_measurements")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished tiny runs of two recipes."""
    folder = tmp_path_factory.mktemp("runs")
    made = {}
    for recipe in ("sinusoid-maml", "sinusoid-np"):
        made[recipe] = folder / recipe
        assert main(["run", recipe, *running.TINY[recipe], "--out", str(made[recipe])]) == 0
    return made


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(re.search(rf"^  {command}\b", said, re.MULTILINE) for command in COMMANDS)


def test_no_command_shows_help_and_is_a_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: quickstudy COMMAND" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"quickstudy \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize("arguments", [["list"], ["run", "--help"], ["run"]])
def test_recipes_are_listed_with_a_line_each(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == (2 if arguments == ["run"] else 0)
    said = capsys.readouterr().out
    for name, recipe in RECIPES.items():
        assert re.search(rf"^  {name} +{re.escape(recipe.summary)}$", said, re.MULTILINE)
        assert len(recipe.summary) <= 90


def test_light_commands_do_not_import_torch() -> None:
    for arguments in (["--help"], ["--version"], ["list"], ["run", "--help"], ["rum"], ["run", "sinusoid-mamal"]):
        code = f"import sys; from quickstudy.cli import main; main({arguments}); sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0, arguments


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_help_of_a_recipe_explains_every_option(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", recipe, "--help"]) == 0
    words = re.sub(r"[\s│|]+", " ", capsys.readouterr().out)
    kind = RECIPES[recipe].load().Options
    explained = {name: text for each in reversed(kind.__mro__[:-1]) for name, text in _explanations(each).items()}
    assert set(explained) == {field.name for field in fields(kind)} >= {"steps", "seed", "seeds", "device", "out"}
    for name, text in explained.items():
        assert f"--{name.replace('_', '-')}" in words and text in words, name


def _explanations(kind: type) -> dict[str, str]:
    """The string under each field of a class, read from its source."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(kind)).body if isinstance(node, ast.ClassDef))
    return {
        field.target.id: below.value.value
        for field, below in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr)
    }


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in ("list", "run")])
def test_help_of_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"usage: quickstudy {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["evalute"], "did you mean 'evaluate'"),
        (["xyzzy"], "`quickstudy --help` shows the commands"),
        (["run", "sinusoid-mamal"], "did you mean 'sinusoid-maml'"),
        (["run", "qqq"], "`quickstudy list` shows the recipes"),
        (["run", "sinusoid-maml", "--stepss", "3"], "--steps"),
        (["run", "sinusoid-maml", "--steps", "many"], "many"),
        (["run", "sinusoid-maml", "--compile", "maybe"], "auto"),
        (["run", "--steps", "3"], "name the recipe first"),
        (["run", "table", "--task", "a"], "--data"),
        (["demo", "--process-step", "3"], "--process-steps"),
        (["list", "everything"], "list takes no arguments; leave out everything"),
        (["report"], "at least one run"),
        (["resume"], "required"),
        (["evaluate", "x", "--task", "3"], "--tasks"),
    ],
)
def test_misspelt_arguments_suggest_the_nearest_and_exit_with_status_2(
    arguments: list[str], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert answer in re.sub(r"[\s│]+", " ", capsys.readouterr().err)


@pytest.mark.parametrize("command", ["resume", "evaluate", "report", "cite"])
def test_a_run_that_is_not_there(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, str(tmp_path / "nothing")]) == 1
    assert _only_line(capsys).startswith(f"quickstudy: error: there is no run at {tmp_path / 'nothing'}")
    (tmp_path / "other").mkdir()
    assert main([command, str(tmp_path / "other")]) == 1
    assert "is not a run: it has no config.json" in _only_line(capsys)


def test_the_error_for_an_existing_run_says_what_to_do(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs["sinusoid-maml"]
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main(["run", "sinusoid-maml", *running.TINY["sinusoid-maml"], "--out", str(run)]) == 1
    expected = f"already holds this run; continue it, or show its results, with `quickstudy resume {run}`"
    assert expected in _only_line(capsys)
    assert main(["run", "sinusoid-maml", *running.TINY["sinusoid-maml"], "--lr", "0.5", "--out", str(run)]) == 1
    assert "--lr was 0.001 and is now 0.5: give --lr 0.001 to continue that run" in _only_line(capsys)
    assert main(["run", "sinusoid-np", "--out", str(run)]) == 1
    assert "holds a run of sinusoid-maml; choose another --out" in _only_line(capsys)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_folder_that_is_not_a_run_is_not_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    assert main(["run", "sinusoid-maml", "--steps", "1", "--out", str(tmp_path)]) == 1
    assert "is not a run of quickstudy; choose another --out" in _only_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "left", [(), (".lock",), ("config.json.quickstudy-tmp",), (".lock", "config.json.quickstudy-tmp")]
)
def test_a_run_killed_before_its_config_was_written_is_started_again(left: tuple[str, ...], tmp_path: Path) -> None:
    for name in left:
        (tmp_path / name).write_text('{"recipe": "sin')
    assert main(["run", "sinusoid-oracle", *running.TINY["sinusoid-oracle"], "--out", str(tmp_path)]) == 0
    assert (tmp_path / "result.json").exists() and not (tmp_path / "config.json.quickstudy-tmp").exists()


@pytest.mark.parametrize(
    "left", [(".lock", "metrics.jsonl"), ("config.json.quickstudy-old",), ("config.json.quickstudy-tmp", "a.csv")]
)
def test_a_folder_with_other_files_is_not_changed(
    left: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in left:
        (tmp_path / name).write_text("precious")
    assert main(["run", "sinusoid-maml", *running.TINY["sinusoid-maml"], "--out", str(tmp_path)]) == 1
    assert "is not a run of quickstudy; choose another --out" in _only_line(capsys)
    assert {path.name for path in tmp_path.iterdir()} == set(left)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c | {"recipe": "os.system"}, "a recipe 'os.system' that this version lacks"),
        (lambda c: c | {"recipe": None}, "has no checkpoint: it was stopped before its first step"),
        (lambda c: {"recipe": None, "options": {}}, "was not made by a recipe"),
        (lambda c: c | {"options": c["options"] | {"lrr": 1}}, "unknown option 'lrr'"),
        (lambda c: [c], "holds a list, not an object"),
    ],
)
def test_a_tampered_run(
    change: object, message: str, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((runs["sinusoid-maml"] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(change(config)))  # type: ignore[operator]
    capsys.readouterr()
    assert main(["resume", str(tmp_path)]) == 1
    assert message in _only_line(capsys)


def test_a_truncated_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text('{"recipe": "sinus')
    assert main(["resume", str(tmp_path)]) == 1
    assert "config.json is damaged" in _only_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "-1"], "--steps -1: expected at least 1"),
        (["--seed", "-1"], "--seed -1: expected at least 0"),
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--steps", "0"], "--steps 0: expected at least 1"),
        (["--device", "abacus"], "unknown device 'abacus'"),
        (["--seeds", "1", "1"], "expected different seeds"),
        (["--shots", "5", "-1"], "--shots 5 -1: expected at least 0"),
        (["--width", "0"], "--width 0: expected at least 1"),
    ],
)
def test_invalid_values_are_reported_in_one_line_with_status_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "sinusoid-maml", "--steps", "2", *arguments, "--out", str(tmp_path / "run")]) == 2
    assert message in _only_line(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lr", "-1"], "--lr -1.0; expected a positive number"),
        (["--inner-lr", "-1"], "--inner-lr -1.0; expected"),
        (["--inner-steps", "-1"], "--inner-steps -1; expected"),
        (["--tasks", "0"], "--tasks 0; expected"),
        (["--support", "0"], "--support 0; expected"),
    ],
)
def test_an_error_of_a_learner_or_of_fit_names_the_option_with_status_1(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "sinusoid-maml", "--steps", "2", *arguments, "--out", str(tmp_path / "run")]) == 1
    assert message in _only_line(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "pass --missing drop to leave them out"),
        (["--missing", "drop"], "pass --short drop to leave them out"),
        (["--missing", "drop", "--x", "day", "height"], "--task, --x and --y must name different columns"),
        (["--sigma-floor", "-1", "--missing", "drop", "--short", "drop"], "--sigma-floor -1.0; expected"),
    ],
)
def test_an_error_of_a_table_names_the_option(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = running.plants(tmp_path)
    data.write_text(f"{data.read_text()}p0,9,\np9,1,3\n")
    columns = ["--data", str(data), "--task", "plant", "--x", "day", "--y", "height"]
    assert main(["run", "table", *columns, *arguments, "--out", str(tmp_path / "run")]) == 1
    assert message in _only_line(capsys, after="")


def test_a_table_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ["--task", "plant", "--x", "day", "--y", "height"]
    assert main(["run", "table", "--data", str(tmp_path / "no.csv"), *columns, "--out", str(tmp_path / "run")]) == 1
    assert "no file" in _only_line(capsys)
    misspelt = ["--task", "plannt", *columns[2:]]
    data = str(running.plants(tmp_path))
    assert main(["run", "table", "--data", data, *misspelt, "--out", str(tmp_path / "run")]) == 1
    assert "did you mean 'plant'" in _only_line(capsys)


def test_debug_raises_the_exception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        main(["--debug", "resume", str(tmp_path)])
    monkeypatch.setenv("QUICKSTUDY_DEBUG", "1")
    with pytest.raises(FileNotFoundError):
        main(["resume", str(tmp_path)])


def test_evaluate(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    run = runs["sinusoid-np"]
    before = (run / "result.json").read_bytes()
    capsys.readouterr()
    assert main(["evaluate", str(run), "--tasks", "6", "--support", "1", "4", "--which", "last"]) == 0
    said, progress = capsys.readouterr()
    assert "mean squared error" in said and "K=1" in said and "K=4" in said and "K=2" not in said
    assert "figures" not in said and "(unchanged; --write would keep these numbers)" in said
    assert "drawing" not in progress
    assert (run / "result.json").read_bytes() == before


def test_evaluate_after_other_numbers_of_gradient_steps(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs["sinusoid-maml"]
    before = (run / "result.json").read_bytes()
    capsys.readouterr()
    steps = ["0", "2", "3", "4", "12"]
    assert main(["evaluate", str(run), "--tasks", "4", "--support", "2", "--steps", *steps]) == 0
    said = capsys.readouterr().out
    assert all(f"after {count} steps" in said for count in steps[1:]) and "after 1 step " not in said
    assert "before adapting" in said and (run / "result.json").read_bytes() == before
    assert main(["evaluate", str(run), "--steps", "2", "-1"]) == 2
    assert "--steps 2 -1: expected at least 0" in _only_line(capsys)


def test_the_number_of_steps_of_training_is_measured_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = [*running.TINY["sinusoid-maml"], "--inner-steps"]
    assert main(["run", "sinusoid-maml", *tiny, "5", "--out", str(tmp_path / "five")]) == 0
    said = capsys.readouterr().out
    assert "after 5 steps" in said and "after 10 steps" in said and "after 4 steps" not in said
    assert main(["run", "sinusoid-maml", *tiny, "12", "--test-steps", "0", "12", "--out", str(tmp_path / "own")]) == 0
    said = capsys.readouterr().out
    assert "after 12 steps" in said and "after 10 steps" not in said


def test_evaluate_and_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["run", "gp-cnp", *running.TINY["gp-cnp"], "--out", str(run)]) == 0
    before = json.loads((run / "result.json").read_text())
    assert main(["evaluate", str(run), "--tasks", "6", "--seed", "5", "--write"]) == 0
    after = json.loads((run / "result.json").read_text())
    assert after["metrics"]["mse/kernel=rbf"]["n"] == 6
    assert {k: v for k, v in after.items() if k != "metrics"} == {k: v for k, v in before.items() if k != "metrics"}
    capsys.readouterr()
    assert main(["evaluate", str(run), "--support", "3"]) == 1
    assert "has a fixed protocol, which --support cannot change" in _only_line(capsys, after="")


def test_a_policy_is_evaluated_after_as_many_episodes_and_steps_as_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    size = ["--steps", "1", "--tasks", "2", "--episodes", "2", "--width", "4", "--test-tasks", "4", "--rivals"]
    assert main(["run", "navigation2d-maml", *size, "--test-episodes", "2", "--out", str(run)]) == 0
    before = (run / "result.json").read_bytes()
    capsys.readouterr()
    assert main(["evaluate", str(run), "--tasks", "3", "--support", "1", "2", "--steps", "2"]) == 0
    said = capsys.readouterr().out
    assert "return of an episode" in said and all(f"K={k}" in said for k in (1, 2))
    assert all(when in said for when in ("before adapting", "after 1 step", "after 2 steps")) and "after 3" not in said
    assert (run / "result.json").read_bytes() == before
    assert main(["evaluate", str(run), "--support", "1", "--steps", "1", "--write"]) == 0
    found = json.loads((run / "result.json").read_text())["metrics"]
    assert set(found) == {f"maml/return{way}/steps={k}" for way in ("", "_by_transitions") for k in (0, 1)}
    assert main(["evaluate", str(run), "--write"]) == 0
    assert (run / "result.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--support", "0"], 2, "--support 0: expected at least 1"),
        (["--steps", "-1"], 2, "--steps -1: expected at least 0"),
        (["--tasks", "1"], 2, "--tasks 1: expected at least 2"),
        (["--support", "1", "2", "--write"], 2, "--write keeps one measurement"),
    ],
)
def test_invalid_evaluations_of_a_policy(
    arguments: list[str], status: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"recipe": "navigation2d-maml", "options": {}}))
    assert main(["evaluate", str(tmp_path), *arguments]) == status
    assert message in _only_line(capsys)


def test_learners_without_gradient_steps_reject_numbers_of_steps(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["evaluate", str(runs["sinusoid-np"]), "--steps", "2"]) == 1
    assert "sinusoid-np has a fixed protocol, which --steps cannot change" in _only_line(capsys)
    data = ["--data", str(running.plants(tmp_path)), *running.TINY["table"]]
    assert main(["run", "table", *data, "--test-steps", "1", "--out", str(tmp_path / "np")]) == 1
    assert "--learner np adapts without gradient steps; leave --test-steps out, or use" in _only_line(capsys)


def test_report(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert (runs["sinusoid-np"] / "report.html").exists()  # a finished run has one already
    assert main(["report", str(runs["sinusoid-maml"])]) == 0
    assert str(runs["sinusoid-maml"] / "report.html") in capsys.readouterr().out
    assert main(["report", *map(str, runs.values()), "--out", str(tmp_path / "both.html")]) == 0
    page = (tmp_path / "both.html").read_text()
    assert "<h1>sinusoid-maml and sinusoid-np</h1>" in page and "Comparison: mean squared error" in page


def test_a_run_succeeds_if_its_page_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("quickstudy.report.html.write_report", broken)
    run = tmp_path / "a run"
    assert main(["run", "sinusoid-oracle", *running.TINY["sinusoid-oracle"], "--out", str(run)]) == 0
    output = capsys.readouterr()
    assert "told the task" not in output.err and "mean squared error" in output.out
    assert f"report:  not written (OSError: no space left on device); the numbers are in {run}" in output.err
    assert f"quickstudy report '{run}'" in output.err and not (run / "report.html").exists()


def test_cite_prints_exactly_the_methods_used(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["cite", str(runs["sinusoid-maml"])]) == 0
    expected = ["finn2017maml", "kingma2015adam"]
    assert re.findall(r"^@\w+\{(\w+),", capsys.readouterr().out, re.M) == expected
    assert main(["cite", str(runs["sinusoid-np"])]) == 0
    expected = ["finn2017maml", "garnelo2018np", "kingma2015adam", "loshchilov2017sgdr"]
    assert re.findall(r"^@\w+\{(\w+),", capsys.readouterr().out, re.M) == expected


def test_citations_follow_the_configuration() -> None:
    config = {
        "learner": {"class": "NeuralProcess", "paths": "both", "objective": "iwae"},
        "optimizer": "torch.optim.SGD",
    }
    assert list(citations.keys_of_config(config)) == ["garnelo2018np", "burda2016iwae"]
    config = {"learner": {"class": "CNP"}, "family": "GaussianProcess(kernel='rbf')", "schedule": "constant"}
    assert list(citations.keys_of_config(config)) == ["garnelo2018cnp", "rasmussen2006gp", "kingma2015adam"]
    for family, expected in (
        (tasks.Harmonic(), ["lacoste2018multitask"]),
        (tasks.SineAndLine(), ["finn2018platipus"]),
        (tasks.Steps(), []),
        (tasks.Pendulum(), ["blanes2002splitting"]),
        (tasks.Informed(tasks.Pharmacokinetics(), ("dose",)), ["pinheiro1995nlme"]),
    ):
        config = {"learner": {"class": "CNP"}, "family": repr(family)}
        assert list(citations.keys_of_config(config)) == ["garnelo2018cnp", *expected, "kingma2015adam"]


def test_citations_follow_the_inner_loop() -> None:
    network = nets.MLP(1, [8], 1)
    rates = optimizers.SGD(optimizers.Rates(network, per="layer", steps=2))
    for learner, expected in (
        (MAML(network), []),
        (MetaSGD(network, mixed_mode=True), ["li2017metasgd", "kemaev2025mixflow"]),
        (MetaCurvature(network), ["park2019metacurvature"]),
        (ANIL(network), ["raghu2020anil"]),
        (BOIL(network), ["oh2021boil"]),
        (MAML(network, adapt="*.bias"), ["raghu2020anil"]),
        (CAVIA(network, context=0), ["zintgraf2019cavia"]),
        (iMAML(network), ["rajeswaran2019imaml"]),
        (MAML(network, rule=rates), ["antoniou2019mamlpp"]),
        (MAML(network, implicit=Implicit(), proximal=1.0), ["rajeswaran2019imaml"]),
    ):
        config = {"learner": to_spec(learner), "optimizer": "torch.optim.SGD"}
        found = list(citations.keys_of_config(config))
        assert found == ["finn2017maml", *expected]
        assert set(found) <= set(citations.BIBTEX)
    config = {"learner": to_spec(Reptile(network)), "optimizer": "torch.optim.SGD"}
    assert list(citations.keys_of_config(config)) == ["nichol2018reptile"]


def test_citations_follow_the_reinforcement_learner() -> None:
    policy = rl.CategoricalPolicy(nets.MLP(1, [8], 2))
    for learner, expected in (
        (rl.MAMLTRPO(policy), ["finn2017maml", "schulman2015trpo"]),
        (rl.MAMLVPG(policy), ["finn2017maml", "kingma2015adam"]),
        (rl.MAMLVPG(policy, estimator="dice", optimizer=torch.optim.SGD), ["finn2017maml", "foerster2018dice"]),
        (
            rl.MAMLTRPO(policy, estimator="loaded_dice", past=0.5),
            ["finn2017maml", "schulman2015trpo", "farquhar2019loaded"],
        ),
        (rl.MAMLTRPO(policy, estimator="emaml"), ["finn2017maml", "schulman2015trpo", "stadie2018emaml"]),
        (rl.ProMP(policy), ["rothfuss2019promp", "kingma2015adam"]),
    ):
        assert list(citations.keys_of_config({"learner": to_spec(learner)})) == expected


def test_every_citation_is_well_formed() -> None:
    for key, entry in citations.BIBTEX.items():
        assert re.match(rf"@\w+\{{{key},\n", entry) and entry.count("{") == entry.count("}")
        assert all(f"  {field} " in entry for field in ("title", "author", "year"))
    cited = {key for keys in citations.EXPERIMENTS.values() for key in keys}
    for table in (
        citations.LEARNERS,
        citations.OBJECTIVES,
        citations.ESTIMATORS,
        citations.FAMILIES,
        citations.SCHEDULES,
    ):
        cited |= {key for keys in table.values() for key in keys}
    assert cited <= set(citations.BIBTEX)


def test_a_second_demo_shows_the_results_of_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["demo", *running.TINY["demo"], "--out", str(tmp_path / "demo")]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert "MAML, after 10 steps" in first and (tmp_path / "demo" / "report.html").exists()
    made = (tmp_path / "demo" / "np" / "metrics.jsonl").stat().st_mtime_ns
    assert main(arguments) == 0
    assert capsys.readouterr().out == first
    assert (tmp_path / "demo" / "np" / "metrics.jsonl").stat().st_mtime_ns == made
    assert main([*arguments, "--seed", "1"]) == 1
    error = _only_line(capsys)
    assert "holds a run of demo with other options. --seed was 0 and is now 1: give --seed 0 to continue" in error
    assert main([*arguments, "--test-tasks", "5", "--shots", "1", "--steps", "4"]) == 1
    error = _only_line(capsys)
    assert "--steps was 3 and is now 4: give --steps 3 to continue that run, or choose another --out." in error
    assert f"`quickstudy evaluate {tmp_path / 'demo'} --tasks 5 --support 1` measures that run this way." in error
    assert main(["resume", str(tmp_path / "demo" / "np")]) == 1
    outer = tmp_path / "demo"
    assert f"is a part of the run {outer}; resume all of it with `quickstudy resume {outer}`" in _only_line(capsys)


ENDLESS = [
    "run",
    "sinusoid-maml",
    "--steps",
    "1000000",
    "--width",
    "8",
    "--compile",
    "off",
    "--test-tasks",
    "4",
    "--out",
]


def test_ctrl_c_saves_and_prints_the_command_that_continues(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "quickstudy.cli", *ENDLESS, str(run)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    _wait_for_training(run, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert f"continue with `quickstudy resume {run}`" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("number", "status"), [(signal.SIGHUP, 129), (signal.SIGTERM, 143)])
def test_other_signals_do_so_too(number: int, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, returned = tmp_path / "run", threading.Event()

    def send() -> None:
        _wait_for_training(run)
        os.kill(os.getpid(), number)
        while not returned.wait(30):  # the signal was lost: end the run
            signal.raise_signal(signal.SIGINT)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        assert main([*ENDLESS, str(run)]) == status
    finally:
        returned.set()
        sender.join()
    assert f"continue with `quickstudy resume {run}`" in capsys.readouterr().err
    assert (run / "checkpoints" / "last").exists()


def _wait_for_training(run: Path, process: subprocess.Popen[str] | None = None) -> None:
    """Return when the run has written its first checkpoint, or its process has ended."""
    deadline = time.monotonic() + 60
    while not (run / "checkpoints" / "last").exists() and time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            return
        time.sleep(0.05)
    time.sleep(0.3)


def test_the_installed_command() -> None:
    script = Path(sys.executable).with_name("quickstudy")
    answer = subprocess.run([script, "rnu"], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == "quickstudy: error: there is no command 'rnu'; did you mean 'run'?\n"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_that_is_ignored_stays_ignored(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(arguments: list[str]) -> None:
        with Signals() as signals:
            os.kill(os.getpid(), number)
            assert signals.received is None and signal.getsignal(number) is signal.SIG_IGN

    monkeypatch.setitem(COMMANDS, "list", look)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        assert main(["list"]) == 0
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(("rank", "size", "prints"), [("7", None, True), ("7", "1", True), ("0", "1", True)])
def test_rank_is_ignored_without_several_processes(
    rank: str,
    size: str | None,
    prints: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("LOCAL_RANK", rank)
    if size is not None:
        monkeypatch.setenv("WORLD_SIZE", size)
    assert main(["run", "sinusoid-oracle", *running.TINY["sinusoid-oracle"], "--out", str(tmp_path / "run")]) == 0
    assert ("run:" in capsys.readouterr().out) == prints


@pytest.mark.parametrize(("size", "message"), [("2", "or unset WORLD_SIZE"), ("two", "expected a whole number")])
def test_an_incomplete_torchrun_environment_is_reported_in_one_line(
    size: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", size)
    assert main(["run", "sinusoid-oracle", *running.TINY["sinusoid-oracle"], "--out", str(tmp_path / "run")]) == 1
    assert message in _only_line(capsys)


def _only_line(capsys: pytest.CaptureFixture[str], after: str | None = None) -> str:
    """The one line on stderr; with `after`, the last of several."""
    lines = capsys.readouterr().err.strip().split("\n")
    if after is None:
        assert len(lines) == 1, lines
    assert lines[-1].startswith("quickstudy: error: ")
    return lines[-1]


def test_warnings_are_one_line() -> None:
    """A person at the shell does not want to see the code that warns."""
    usual = warnings.formatwarning
    with cli_module._plain_warnings(debug=False):
        shown = warnings.formatwarning("two\nlines", RuntimeWarning, "columns.py", 63, "kept = rows")
    assert shown == "quickstudy: warning: two lines\n"
    with cli_module._plain_warnings(debug=True):
        assert warnings.formatwarning is usual
    assert warnings.formatwarning is usual

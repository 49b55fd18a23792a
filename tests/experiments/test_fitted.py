"""Runs of `fit` without a recipe, resumed and measured from the command line, or the messages where they cannot be."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from training.workload import Waves

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.experiments import fitted

pytestmark = pytest.mark.usefixtures("quick_figures")
SMALL: dict[str, Any] = {"steps": 10, "tasks": 3, "validation_tasks": 3, "query": 4, "checkpoint_every": 4}


class Stop(Exception):
    pass


def learner(steps: int = 5) -> Any:
    torch.manual_seed(0)
    return qs.MAML(qs.nets.MLP(1, [8], 1), steps=steps)


def fit(out: Path, family: Any = None, made: Any = None, **options: Any) -> Any:
    settings = {**SMALL, "support": (3, 9), "schedule": "cosine", **options}
    return qs.fit(made or learner(), family or qs.tasks.Sinusoid(), out=out, **settings)


def act(out: Path, **options: Any) -> Any:
    torch.manual_seed(0)
    made = qs.rl.MAMLTRPO(qs.rl.GaussianPolicy(qs.nets.MLP(2, [4], 2), 2), lr=0.1)
    return qs.rl.fit(made, qs.rl.Navigation2D(num_envs=2, horizon=5), steps=3, tasks=2, out=out, **options)


def sgd(params: Any) -> torch.optim.Optimizer:
    """An optimiser from outside quickstudy."""
    return torch.optim.SGD(params, lr=0.01)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of finished runs."""
    folder = tmp_path_factory.mktemp("runs")
    fit(folder / "maml")
    fit(folder / "cnp", qs.tasks.GaussianProcess(), qs.CNP(width=4), support=5, schedule="constant")
    fit(folder / "own", Waves(), optimizer=sgd, support=2)
    fit(folder / "network", made=qs.MAML(torch.nn.Sequential(torch.nn.Linear(1, 1))))
    act(folder / "acts")
    return folder


def weights(out: Path) -> bytes:
    return (out / "checkpoints/last/model.safetensors").read_bytes()


def interrupted(monkeypatch: pytest.MonkeyPatch, method: str, count: int) -> None:
    """Make call number `count` of a method raise Stop."""
    owner, name = {"sample": (qs.tasks.Sinusoid, "sample"), "update": (qs.rl.MAMLTRPO, "update")}[method]
    original, calls = getattr(owner, name), []

    def stopping(self: Any, *args: Any, **options: Any) -> Any:
        if options.get("split", "train") == "train":
            calls.append(1)
        if len(calls) == count:
            raise Stop
        return original(self, *args, **options)

    monkeypatch.setattr(owner, name, stopping)


@pytest.mark.parametrize(("kind", "method"), [(fit, "sample"), (act, "update")])
def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: Any, method: str
) -> None:
    kind(tmp_path / "whole")
    with monkeypatch.context() as patched, pytest.raises(Stop):
        interrupted(patched, method, 7 if method == "sample" else 2)
        kind(tmp_path / "broken")
    assert not (tmp_path / "broken/result.json").exists()
    assert main(["resume", str(tmp_path / "broken")]) == 0
    said = capsys.readouterr()
    assert "validation loss" in said.out and f"run:     {tmp_path / 'broken'}" in said.out
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "broken")]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert "validation loss" in (tmp_path / "broken/report.html").read_text()
    assert main(["resume", str(tmp_path / "broken")]) == 0  # finished: shown again, and nothing changes
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")


def test_resume_restores_the_dtype_and_continues_an_extension(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        for name in ("whole", "broken"):
            fit(tmp_path / name, evaluate_every=3)
        fit(tmp_path / "whole", steps=20, evaluate_every=3, exist="extend")
        with monkeypatch.context() as patched, pytest.raises(Stop):
            interrupted(patched, "sample", 7)
            fit(tmp_path / "broken", steps=20, evaluate_every=3, exist="extend")
    finally:
        torch.set_default_dtype(torch.float32)
    assert main(["resume", str(tmp_path / "broken")]) == 0
    assert torch.get_default_dtype() == torch.float32
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")


def test_an_interrupted_run_prints_the_command_that_continues_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patched, pytest.raises(Stop):
        interrupted(patched, "sample", 7)
        fit(tmp_path / "run")
    original = qs.tasks.Sinusoid.sample

    def interrupting(self: Any, *args: Any, **options: Any) -> Any:
        if options["split"] == "train":
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(fitted.qs.tasks.Sinusoid, "sample", interrupting)
        assert main(["resume", str(tmp_path / "run")]) == 130
    assert f"stopped; continue with `quickstudy resume {tmp_path / 'run'}`" in capsys.readouterr().err
    assert main(["resume", str(tmp_path / "run")]) == 0


def test_evaluate_measures_after_the_steps_of_training_and_more(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (runs / "maml/result.json").read_bytes()
    assert main(["evaluate", str(runs / "maml"), "--tasks", "4"]) == 0
    said = capsys.readouterr().out
    assert all(f"K={k}" in said for k in (3, 6, 9))  # both ends of support=(3, 9), and its middle
    assert all(when in said for when in ("before adapting", "after 1 step", "after 5 steps", "after 10 steps"))
    assert main(["evaluate", str(runs / "maml"), "--tasks", "4", "--support", "4", "--steps", "0", "20"]) == 0
    said = capsys.readouterr().out
    assert "K=4" in said and "after 20 steps" in said and "after 5 steps" not in said
    assert (runs / "maml/result.json").read_bytes() == before


def test_evaluate_equals_the_python_call(runs: Path) -> None:
    found = fitted.find(runs / "maml")
    assert found is not None
    metrics = fitted.evaluate(found, tasks=5, support=(3,), steps=(1,), seed=2)
    same = qs.evaluate(qs.load(runs / "maml"), qs.tasks.Sinusoid(), tasks=5, support=3, steps=1, seed=2)
    assert {k: m.mean for k, m in metrics.items()} == {k: m.mean for k, m in same.items()}


def test_evaluate_adds_metrics_to_the_result(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads((runs / "cnp/result.json").read_text())
    assert main(["evaluate", str(runs / "cnp"), "--tasks", "4", "--write"]) == 0
    after = json.loads((runs / "cnp/result.json").read_text())
    assert after["metrics"]["validation_loss"] == before["metrics"]["validation_loss"]
    assert after["metrics"]["log_likelihood/k=5"]["n"] == 4
    assert {k: v for k, v in after.items() if k != "metrics"} == {k: v for k, v in before.items() if k != "metrics"}
    page = (runs / "cnp/report.html").read_text()
    assert "log-likelihood per point" in page and "Means over 4 unseen tasks." in page
    assert f"report:  {runs / 'cnp/report.html'}" in capsys.readouterr().out
    assert main(["evaluate", str(runs / "cnp"), "--steps", "1"]) == 1
    assert capsys.readouterr().err == "quickstudy: error: CNP adapts without gradient steps; leave --steps out\n"


def test_a_policy_is_measured_after_numbers_of_episodes_and_steps(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(runs / "acts"), "--tasks", "3"]) == 0
    said = capsys.readouterr().out
    assert "return of an episode" in said and "before adapting" in said and "after 1 step" in said
    assert main(["evaluate", str(runs / "acts"), "--tasks", "3", "--support", "1", "2", "--steps", "2"]) == 0
    said = capsys.readouterr().out
    assert "K=1" in said and "K=2" in said and "after 2 steps" in said and "after 1 step " not in said


def test_a_part_of_a_recipe_is_measured_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"recipe": "demo", "options": {}}))
    fit(tmp_path / "part")
    assert main(["evaluate", str(tmp_path / "part"), "--tasks", "4", "--steps", "2"]) == 0
    assert "after 2 steps" in capsys.readouterr().out
    assert main(["resume", str(tmp_path / "part")]) == 1
    assert f"resume all of it with `quickstudy resume {tmp_path}`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "name", "says"),
    [
        ("resume", "own", ["its tasks come from training.workload.Waves, code or data from outside quickstudy"]),
        ("resume", "own", ["its optimizer is a function from outside quickstudy, ", "test_fitted.sgd. In Python"]),
        ("resume", "own", ["call `qs.fit(learner, family, steps=10, tasks=3, support=2, query=4, "]),
        ("resume", "own", ["test_fitted.sgd, schedule='cosine', clip=float('inf'), validation_tasks=3, check"]),
        ("evaluate", "own", ["call `qs.evaluate(qs.load('", "own'), family, support=2)`"]),
        ("resume", "network", ["a custom network, torch.nn.modules.container.Sequential. In Python"]),
        ("evaluate", "network", ["network', learner=learner), family, support=(3, 6, 9))`"]),
    ],
)
def test_parts_from_outside_quickstudy_are_named_with_the_python_call(
    runs: Path, capsys: pytest.CaptureFixture[str], command: str, name: str, says: list[str]
) -> None:
    assert main([command, str(runs / name)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(part in error for part in says), error


def test_the_python_call_in_the_message_continues_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patched, pytest.raises(Stop):
        interrupted(patched, "sample", 7)
        fit(tmp_path / "run", Waves(), patience=100, log_every=3)
    assert main(["resume", str(tmp_path / "run")]) == 1
    call = capsys.readouterr().err.split("call `")[1].split("`")[0]
    run = eval(call, {"qs": qs, "learner": learner(), "family": Waves()})
    assert run.steps == 10 and (tmp_path / "run/result.json").exists()


def test_a_run_of_an_earlier_version_without_a_description_of_its_tasks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path / "run")
    config = json.loads((tmp_path / "run/config.json").read_text())
    del config["family_spec"]
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    assert main(["evaluate", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert "an earlier version made it, which did not store a description of the tasks. In Python" in error
    assert fit(tmp_path / "run", exist="resume").steps == 10  # it can be resumed in Python


def test_a_run_that_was_stopped_before_its_first_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path / "run")
    for path in sorted((tmp_path / "run/checkpoints").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    for command in ("resume", "evaluate"):
        assert main([command, str(tmp_path / "run")]) == 1
        assert "stopped before its first step, and its initial weights are lost" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"family_spec": {"class": "os.system"}}, "this version has no family 'os.system'"),
        ({"dtype": "complex64"}, "has dtype='complex64'; expected one of float32, float64"),
        ({"steps": "many"}, "steps='many'; expected a whole number"),
    ],
)
def test_a_damaged_config_is_reported_in_one_line(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], says: str
) -> None:
    config = json.loads((runs / "maml/config.json").read_text()) | change
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    os.symlink(runs / "maml/checkpoints", tmp_path / "run/checkpoints")
    assert main(["resume", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1, error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--tasks", "1"], "--tasks 1: expected at least 2"),
        (["--steps", "-1"], "--steps -1: expected at least 0"),
        (["--seed", "-1"], "--seed -1: expected at least 0"),
    ],
)
def test_invalid_arguments(runs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    assert main(["evaluate", str(runs / "maml"), *arguments]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["rl2", "varibad", "pearl"])
def test_evaluate_measures_policies_that_take_no_gradient_steps(kind: str, tmp_path: Path) -> None:
    env = qs.rl.Navigation2D(num_envs=2, horizon=5)
    made: Any = {
        "rl2": lambda: qs.rl.RL2.of(env, width=8, episodes=2),
        "varibad": lambda: qs.rl.VariBAD.of(env, width=8, episodes=2),
        "pearl": lambda: qs.rl.PEARL.of(env, hidden=[8], train_tasks=3, gradient_steps=1),
    }[kind]()
    qs.rl.fit(made, env, steps=2, tasks=2, out=tmp_path / "run")
    found = fitted.evaluate(fitted.find(tmp_path / "run"), tasks=3)
    same = qs.rl.evaluate(qs.load(tmp_path / "run", which="last"), env, tasks=3)
    assert {name: metric.mean for name, metric in found.items()} == {name: m.mean for name, m in same.items()}
    assert "return/steps=1" in found
    with pytest.raises(ValueError, match="adapts without gradient steps; leave --steps out"):
        fitted.evaluate(fitted.find(tmp_path / "run"), tasks=3, steps=(1,))

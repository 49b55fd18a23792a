"""Loggers: what they are told, TensorBoard's own files, and the adapters against stand-ins of their services."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest
from training.workload import STEPS, train

from quickstudy.runs.metrics_file import MetricsFile, read_metrics
from quickstudy.training.loggers import Logger
from quickstudy.training.loggers.mlflow import MLflow
from quickstudy.training.loggers.tensorboard import TensorBoard
from quickstudy.training.loggers.wandb import WandB


class Notebook:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def start(self, folder: Path, config: dict[str, Any], step: int) -> None:
        """Remember."""
        self.events.append(("start", folder, config["seed"], step))

    def log(self, step: int, values: dict[str, float]) -> None:
        """Remember."""
        self.events.append((step, values))

    def close(self) -> None:
        """Remember."""
        self.events.append("close")


def test_a_logger_is_told_every_line(tmp_path: Path) -> None:
    notebook = Notebook()
    assert isinstance(notebook, Logger)
    run = train("gradient", tmp_path / "run", loggers=[notebook])
    assert notebook.events[0] == ("start", tmp_path / "run", 0, 0)
    assert notebook.events[-1] == "close"
    assert [{"step": step, **values} for step, values in notebook.events[1:-1]] == run.metrics


def test_loggers_are_closed_when_training_breaks_off(tmp_path: Path) -> None:
    notebook = Notebook()

    def stop(step: int, *rest: object) -> None:
        if step > 10:
            raise KeyError(step)

    with pytest.raises(KeyError):
        train("gradient", tmp_path / "run", loggers=[notebook], progress=stop)
    assert notebook.events[-1] == "close"


def test_tensorboard_holds_the_metrics(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train("gradient", tmp_path / "run")
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    losses = {event.step: event.value for event in events.Scalars("loss")}
    assert losses == pytest.approx({line["step"]: line["loss"] for line in run.metrics})
    assert max(losses) == STEPS


def test_tensorboard_forgets_what_a_resume_does_again(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for step, value in ((0, 1.0), (20, 2.0)):  # the second begins after step 20
        writer = TensorBoard()
        writer.start(tmp_path, {}, step)
        for later in range(step + 10, 50, 10):
            writer.log(later, {"loss": value})
        writer.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0)]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for a service's package."""

    def install(name: str) -> MagicMock:
        package = MagicMock(spec=ModuleType(name), name=name)
        for function in ("init", "set_experiment", "start_run", "log_params", "log_metrics", "end_run"):
            setattr(package, function, MagicMock())
        monkeypatch.setitem(sys.modules, name, package)
        return package

    return install


def test_wandb_is_told_config_and_metrics(tmp_path: Path, service: Any) -> None:
    package = service("wandb")
    run = train("gradient", tmp_path / "run", loggers=[WandB(project="p", mode="offline")])
    options = package.init.call_args.kwargs
    assert (options["project"], options["mode"], options["name"]) == ("p", "offline", "run")
    assert options["config"] == run.config
    told = [call.args[0] for call in package.init.return_value.log.call_args_list]
    assert told == run.metrics
    package.init.return_value.finish.assert_called_once_with()


def test_mlflow_is_told_config_and_metrics(tmp_path: Path, service: Any) -> None:
    package = service("mlflow")
    run = train("gradient", tmp_path / "run", loggers=[MLflow(experiment="e")])
    package.set_experiment.assert_called_once_with("e")
    assert package.log_params.call_args.args[0]["seed"] == "0"
    told = [{"step": call.kwargs["step"], **call.args[0]} for call in package.log_metrics.call_args_list]
    assert told == run.metrics
    package.end_run.assert_called_once_with()


def test_a_logger_that_cannot_be_closed_does_not_hide_what_ended_training(tmp_path: Path) -> None:
    class Jammed(Notebook):
        def close(self) -> None:
            raise OSError("jammed")

    def stop(step: int, *rest: object) -> None:
        raise KeyError(step)

    with pytest.raises(KeyError) as caught:
        train("gradient", tmp_path / "run", loggers=[Jammed()], progress=lambda step, *rest: step > 5 and stop(step))
    assert caught.value.__notes__ == ["in addition, Jammed could not be closed: jammed"]
    with pytest.raises(OSError, match="jammed"):
        train("gradient", tmp_path / "other", loggers=[Jammed()])


@pytest.mark.parametrize("adapter", [WandB, MLflow, TensorBoard])
def test_the_adapters_are_loggers(adapter: type) -> None:
    assert isinstance(adapter(), Logger)


@pytest.mark.parametrize("adapter", [WandB, MLflow])
def test_without_its_package_a_logger_says_what_to_install(adapter: Any, tmp_path: Path) -> None:
    """Before a folder is made."""
    with pytest.raises(ModuleNotFoundError, match=f'pip install "quickstudy.{adapter.package}."'):
        train("gradient", tmp_path / "run", loggers=[adapter()])
    assert not (tmp_path / "run").exists()


def test_a_line_cut_short_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2')
    assert read_metrics(tmp_path) == [{"step": 1}]
    assert read_metrics(tmp_path / "nowhere") == []


def test_what_json_cannot_hold_is_left_out(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path)
    file.write({"step": 1, "loss": 0.1 + 0.2, "validation_loss": float("nan"), "lr": float("inf")})
    assert file.flush() == (tmp_path / "metrics.jsonl").stat().st_size
    file.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "loss": 0.1 + 0.2}

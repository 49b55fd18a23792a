"""MLflow (the `mlflow` extra)."""

import json
from pathlib import Path
from typing import Any


class MLflow:
    """Logs to the MLflow tracking server that is configured: `fit(..., loggers=[MLflow(experiment="sines")])`.

    Args:
        experiment: name of the experiment.
    """

    package = "mlflow"

    def __init__(self, *, experiment: str = "quickstudy"):
        self._experiment = experiment

    def start(self, folder: Path, config: dict[str, Any], step: int) -> None:
        """Begin a run named after the folder, with the config as its parameters."""
        del step
        import mlflow

        self._mlflow = mlflow
        mlflow.set_experiment(self._experiment)
        mlflow.start_run(run_name=folder.name)
        mlflow.log_params({key: json.dumps(value)[:500] for key, value in config.items()})

    def log(self, step: int, values: dict[str, float]) -> None:
        """Log one point of each metric."""
        self._mlflow.log_metrics(values, step=step)

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()

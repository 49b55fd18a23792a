"""Weights & Biases (the `wandb` extra)."""

from pathlib import Path
from typing import Any


class WandB:
    """Logs to Weights & Biases: `fit(..., loggers=[WandB(project="sines")])`.

    Args:
        project: name of the project.
        options: further arguments of `wandb.init`.
    """

    package = "wandb"

    def __init__(self, *, project: str = "quickstudy", **options: Any):
        self._options = {"project": project, **options}

    def start(self, folder: Path, config: dict[str, Any], step: int) -> None:
        """Begin a run named after the folder; its step axis is the training step, so a resume overwrites."""
        del step
        import wandb

        self._run = wandb.init(config=config, name=folder.name, dir=str(folder), **self._options)
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, values: dict[str, float]) -> None:
        """Log one row, with the training step as one of its values."""
        self._run.log({**values, "step": step})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()

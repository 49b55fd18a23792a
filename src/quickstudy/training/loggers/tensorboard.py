"""TensorBoard. `fit` uses it by itself when the `tensorboard` package is installed."""

import importlib.util
from pathlib import Path
from typing import Any


def available() -> bool:
    """Whether the `tensorboard` package is installed."""
    return importlib.util.find_spec("tensorboard") is not None


class TensorBoard:
    """Writes event files to the run's `tensorboard/` folder: `tensorboard --logdir runs`."""

    def start(self, folder: Path, config: dict[str, Any], step: int) -> None:
        """Open an event file; what an interrupted run logged after `step` is purged."""
        del config
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def log(self, step: int, values: dict[str, float]) -> None:
        """One scalar per metric."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()

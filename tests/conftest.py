"""What every test starts from: one thread, float32, seeded random numbers; nothing leaks into the next."""

import importlib
import io
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import shapes
import torch

shapes.install()  # before anything imports quickstudy
torch.set_num_threads(1)  # tests run side by side, one a core
os.environ |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}  # the processes that tests start, too
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a suite that was started in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as under nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
if not torch.accelerator.is_available():
    # torch.manual_seed notes the stack for each kind of device, to seed it later: milliseconds each time
    torch.cuda.manual_seed_all = torch.xpu.manual_seed_all = torch.mtia.manual_seed_all = lambda seed: None


@pytest.fixture(autouse=True)
def clean_slate() -> Iterator[None]:
    """Seed torch, and restore the default dtype and determinism flags that a test may have changed."""
    dtype = torch.get_default_dtype()
    deterministic = torch.are_deterministic_algorithms_enabled()
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(dtype)
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def quick_figures() -> Iterator[None]:
    """Draw figures small, without a layout, and as PNG only, in a quarter of the time, for tests of other things."""
    from quickstudy.report import figures

    def to_png(figure: Any, caption: str = "") -> bytes:
        figure.set_layout_engine("none")
        figure.set_dpi(30)
        buffer, text = io.BytesIO(), {figures.CAPTION: caption} if caption else {}
        with figures.mplstyle.context(figures.STYLE):
            figure.savefig(buffer, format="png", dpi=30, metadata=text)
        return buffer.getvalue()

    def save(figure: Any, folder: str | Path, name: str, caption: str = "") -> Path:
        path = Path(folder) / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(to_png(figure, caption))
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "to_png", to_png)
        patch.setattr(figures, "save", save)
        yield


@pytest.fixture(scope="module")
def few_validation_tasks() -> Iterator[None]:
    """Validate on 4 tasks at most, for tests of other things: 100 tasks cost more than the few steps of a tiny run."""
    fit = importlib.import_module("quickstudy.training.fit")
    whole = fit.make_plan

    def make_plan(*, validation_tasks: int, **others: Any) -> Any:
        return whole(validation_tasks=min(validation_tasks, 4), **others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "make_plan", make_plan)
        yield


@pytest.fixture(scope="module")
def short_measurements() -> Iterator[None]:
    """Recipes tune on few tasks, measure times twice, walk 10 steps, and choose rates on few goals."""
    import quickstudy as qs
    from quickstudy.experiments import side_by_side
    from quickstudy.recipes.navigation2d import board, measure
    from quickstudy.recipes.sinusoid import waves
    from quickstudy.recipes.sinusoid.compare import measuring

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qs, "tune_adaptation", partial(qs.tune_adaptation, steps=(0, 1, 2, 5), tasks=8))
        patch.setattr(measuring, "TIMED_TASKS", 2)
        patch.setattr(measuring, "UNTIMED", 0)
        patch.setattr(measuring, "TIMED", 2)
        patch.setattr(waves, "CHOOSING", 8)
        patch.setattr(measure, "CHOOSING", 4)
        patch.setattr(board, "HORIZON", 10)
        patch.setattr(side_by_side, "cores", lambda: 1)  # seeds run in this process: others would not be short
        yield


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded generator on the CPU."""
    return torch.Generator().manual_seed(0)

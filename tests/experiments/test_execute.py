"""Where a run of a recipe is kept if no folder is given."""

from pathlib import Path
from typing import Any

import pytest

from quickstudy.experiments.execute import default_folder
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

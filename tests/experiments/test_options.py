"""Options as `config.json` stores them, and the errors for a file that was changed."""

from pathlib import Path

import pytest

from quickstudy.experiments.options import check_options, from_json, to_json
from quickstudy.recipes import RECIPES
from quickstudy.recipes.sinusoid.np import Options
from quickstudy.recipes.table import recipe as table


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "table"])
def test_options_survive_writing_and_reading(recipe: str, tmp_path: Path) -> None:
    kind = RECIPES[recipe].load().Options
    options = kind(seeds=(1, 2), out=tmp_path)
    assert from_json(kind, to_json(options), tmp_path) == options


def test_a_path_is_stored_as_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = table.Options(data=Path("rows.csv"), task="a", x=("b",), y=("c",), out=tmp_path)
    assert from_json(table.Options, to_json(options), tmp_path).data == tmp_path / "rows.csv"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 3}, "unknown option 'step'; did you mean 'steps'"),
        ({"steps": "many"}, "steps='many'; expected int"),
        ({"steps": True}, "steps=True; expected int"),
        ({"lr": "0.1"}, "lr='0.1'; expected float"),
        ({"which": "worst"}, "which='worst'; expected Literal"),
        ({"shots": 5}, "shots=5; expected tuple"),
        ({"support": [3, "x"]}, "expected tuple"),
    ],
)
def test_a_tampered_config(change: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="config.json.*") as error:
        from_json(Options, to_json(Options()) | change, tmp_path)
    assert message in str(error.value)


def test_a_config_that_lacks_an_option(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lacks options"):
        from_json(table.Options, {"steps": 3}, tmp_path)


@pytest.mark.parametrize(
    "bad", [{"steps": 0}, {"seed": -1}, {"test_tasks": 1}, {"test_seed": -1}, {"seeds": (1, 1)}, {"seeds": (-1,)}]
)
def test_invalid_options(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        check_options(Options(**bad))

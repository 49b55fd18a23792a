"""A new file is read as that of training, where that can be done and the user says nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quickstudy.cli import main
from quickstudy.estimators.group_regressor import GroupRegressor
from quickstudy.tables.model import TableModel

NEW = "group/x0/y\nann/1,5/3,25\nann/4/\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of a file whose columns were separated by slashes, and with decimal commas."""
    place = tmp_path_factory.mktemp("remembered")
    group, x = np.repeat(np.arange(8), 5), np.tile(np.arange(5.0), 8)
    model = GroupRegressor("line").fit(x[:, None], 2 + group * x + np.sin(np.arange(40)), groups=group).model_
    replace(model, delimiter="/", decimal=",").save(place / "model")
    return place


@pytest.mark.parametrize(
    ("content", "options", "sentence"),
    [
        (NEW, [], "new.csv: '/' separates the columns, as in training; --delimiter chooses another"),
        (NEW, ["--delimiter", "/"], ""),
        (NEW.replace("/", ";"), [], ""),  # another mark, which is found
        (NEW.replace("/", "\t"), ["--delimiter", "tab"], ""),
        (NEW.replace("/", "|").replace(",", "."), ["--decimal", "."], ""),
        (NEW.replace("/", ",").replace("1,5", '"1,5"').replace("3,25", '"3,25"'), [], ""),
    ],
)
def test_explicit_options_win_and_what_was_assumed_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys, content: str, options: list[str], sentence: str
) -> None:
    monkeypatch.chdir(folder)
    Path("new.csv").write_text(content)
    assert main(["predict", "model", "new.csv", "--out", "found.csv", *options]) == 0
    said = capsys.readouterr().out
    assert sentence in said and ("separates" in said) == bool(sentence)
    assert ("as in training; --decimal ." in said) == ("--decimal" not in options)
    Path("plain.csv").write_text(NEW.replace("/", ";").replace(",", "."))
    assert main(["predict", "model", "plain.csv", "--out", "plain_found.csv", "--decimal", "."]) == 0
    assert Path("found.csv").read_text() == Path("plain_found.csv").read_text()


def test_inputs_of_ones_own_are_read_alike(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(folder)
    Path("new.csv").write_text(NEW)
    Path("at.csv").write_text("x0\n1,5\n2,5\n")
    assert main(["predict", "model", "new.csv", "--at", "at.csv", "--out", "found.csv"]) == 0
    assert "at.csv: commas are decimal marks" in capsys.readouterr().out
    assert [line.split(",")[1] for line in Path("found.csv").read_text().splitlines()[1:]] == ["1.5", "2.5"]


def test_models_that_say_nothing_of_it(folder: Path) -> None:
    """A model of an earlier version has decimal points, and any mark between columns."""
    text = (folder / "model" / "table.json").read_text()
    (folder / "model" / "table.json").write_text(text.replace('"decimal"', '"_d"').replace('"delimiter"', '"_m"'))
    model = TableModel.load(folder / "model")
    assert (model.decimal, model.delimiter) == (".", None)
    (folder / "model" / "table.json").write_text(text)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "[" * 200_000,
        lambda text: text[:50],
        lambda text: "[1, 2]",
        lambda text: text.replace('"inputs": [', '"inputs": [1, '),
        lambda text: text.replace('"levels"', '"_levels"'),
        lambda text: text.replace('"kind": "number"', '"other": "number"'),
    ],
    ids=["nested", "cut", "list", "number", "no levels", "unknown field"],
)
def test_a_damaged_description_of_a_model_is_one_line(folder: Path, damage, capsys) -> None:
    described = folder / "model" / "table.json"
    text = described.read_text()
    try:
        described.write_text(damage(text))
        assert described.read_text() != text
        assert main(["predict", str(folder / "model"), "new.csv"]) == 1
        said = capsys.readouterr().err
        assert said.startswith("quickstudy: error: ") and "table.json" in said and said.count("\n") == 1
    finally:
        described.write_text(text)

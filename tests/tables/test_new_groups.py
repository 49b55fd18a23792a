"""Predicting new groups from the shell: files in, files out, and what is wrong with a file in one line."""

import csv
from pathlib import Path

import pytest
import torch

from quickstudy.cli import main
from quickstudy.tables.candidates import Candidate
from quickstudy.tables.choosing import Choice
from quickstudy.tables.model import TableModel
from quickstudy.tables.shell import mixed


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of people on lines of their own, with two outcomes, and a model that was chosen for it."""
    folder = tmp_path_factory.mktemp("tables")
    chance = torch.Generator().manual_seed(0)
    lines = ["person;year;height;mass"]
    for i in range(14):
        start, slope = torch.randn(2, generator=chance).tolist()
        for year in range(2000, 2006):
            noise = torch.randn(2, generator=chance).tolist()
            height = 1500 + 10 * start + (20 + 3 * slope) * (year - 2000) + noise[0]
            mass = 5 + start + 0.1 * noise[1]
            lines.append(f"p{i};{year};{height:.3f};{mass:.4f}".replace(".", ","))
    (folder / "people.csv").write_text("\n".join(lines) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("quickstudy.tables.outputs.choose", quick)
        options = ["--group", "person", "--x", "year", "--y", "height", "mass", "--decimal", ","]
        assert main(["table", "people.csv", *options]) == 0
    return folder


def quick(rows, **options):
    """`choose` with two of the learners, as the others are slow."""
    from quickstudy.tables.choosing import choose

    return choose(rows, **options | {"only": ("everyone", "intercept", "line")})


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_rows_without_an_outcome_are_predicted_from_those_with_one(place: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(place)
    new = "person;year;height;mass\nann;2000;1520;6,1\nann;2001;1545;6\nann;2004;;\nbo;2004;;\n"
    (place / "new.csv").write_text(new)
    assert main(["predict", "models/people", "new.csv", "--decimal", ",", "--quantiles", "0.1", "0.9"]) == 0
    said = capsys.readouterr().out
    assert "predictions: predictions.csv (2 rows of 2 groups)" in said and "warning" not in said
    ann, bo = rows_of(place / "predictions.csv")
    assert list(ann) == [
        *("person", "year", "height_mean", "height_sd", "height_q0.1", "height_q0.9"),
        *("mass_mean", "mass_sd", "mass_q0.1", "mass_q0.9"),
    ]
    assert ann["person"] == "ann" and float(ann["year"]) == 2004
    assert 1590 < float(ann["height_mean"]) < 1640 and float(ann["height_q0.1"]) < float(ann["height_mean"])
    assert float(ann["mass_sd"]) < 0.4 < float(bo["mass_sd"])  # two rows tell a group's level
    assert (place / "predictions.png").exists()
    model = TableModel.load(place / "models/people")
    support = torch.tensor([[[2000.0], [2001.0]]]), torch.tensor([[[1520.0, 6.1], [1545.0, 6.0]]])
    from quickstudy.data import Examples

    belief = model.predict(Examples(*(part.double() for part in support)), torch.full((1, 1, 1), 2004.0))
    assert float(belief.mean[0, 0, 0]) == pytest.approx(float(ann["height_mean"]), rel=1e-9)


def test_the_decimal_mark_of_training_is_remembered(place: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(place)
    rows = "person;year;height;mass\nann;2000;1520,5;6,1\nann;2004;;\n"
    (place / "commas.csv").write_text(rows)
    (place / "points.csv").write_text(rows.replace(",", "."))
    assert TableModel.load("models/people").decimal == ","
    runs = [["commas.csv"], ["commas.csv", "--decimal", ","], ["points.csv", "--decimal", "."]]
    for k, options in enumerate(runs):
        assert main(["predict", "models/people", *options, "--out", f"mark{k}.csv"]) == 0
        said = capsys.readouterr().out
        assert ("commas.csv: commas are decimal marks, as in training; --decimal . reads points" in said) == (k == 0)
    assert len({(place / f"mark{k}.csv").read_text() for k in range(3)}) == 1
    assert main(["predict", "models/people", "points.csv", "--out", "mark3.csv"]) == 1
    said = capsys.readouterr().err
    assert "holds '1520.5' in row 1, and training had decimal commas" in said and "give --decimal .\n" in said


def test_grids_and_inputs_of_ones_own(place: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(place)
    (place / "known.csv").write_text("person;year;height;mass\nann;2000;1520;6\nbo;2000;1500;5\n")
    assert main(["predict", "models/people", "known.csv", "--grid", "3", "--out", "a/grid.csv"]) == 0
    assert [row["year"] for row in rows_of(place / "a/grid.csv")] == ["2000.0", "2002.5", "2005.0"] * 2
    (place / "at.csv").write_text("year\n2003\n2001\n")
    assert main(["predict", "models/people", "known.csv", "--at", "at.csv", "--out", "b.csv"]) == 0
    assert [row["year"] for row in rows_of(place / "b.csv")] == ["2003.0", "2001.0"] * 2
    (place / "at.csv").write_text("year;person\n2003;bo\n2001;ann\n2002;bo\n")
    assert main(["predict", "models/people", "known.csv", "--at", "at.csv", "--out", "b.csv"]) == 0
    found = [(row["person"], row["year"]) for row in rows_of(place / "b.csv")]
    assert found == [("ann", "2001.0"), ("bo", "2003.0"), ("bo", "2002.0")]
    (place / "at.csv").write_text("year;person\n2003;zoe\n")
    assert main(["predict", "models/people", "known.csv", "--at", "at.csv", "--out", "b.csv"]) == 1
    assert "--at has rows of group 'zoe', which is not among the new groups" in capsys.readouterr().err


def test_it_warns_of_inputs_and_groups_that_are_unlike_those_of_training(place: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(place)
    (place / "odd.csv").write_text("person;year;height;mass\nann;2000;15,2;6\nann;2009;;\nbo;2003;;\n")
    assert main(["predict", "models/people", "odd.csv", "--decimal", ","]) == 0
    said = capsys.readouterr().out
    assert "group ann: predictions outside the range of the 14 trained groups (year 2000 to 2005) are guesses" in said
    assert "group ann: the known rows are unlike those of all trained groups" in said


def test_groups_without_any_known_row_have_predictions_and_a_figure(place: Path, monkeypatch) -> None:
    monkeypatch.chdir(place)
    (place / "unknown.csv").write_text("person;year\nann;2000\nann;2004\n")
    assert main(["predict", "models/people", "unknown.csv", "--out", "c.csv"]) == 0
    first, last = rows_of(place / "c.csv")
    assert 60 < float(last["height_mean"]) - float(first["height_mean"]) < 100 and (place / "c.png").exists()


def test_it_warns_of_groups_that_training_had(place: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(place)
    (place / "known.csv").write_text("person;year;height;mass\np3;2000;1510;5\np3;2003;;\nP3;2003;;\n")
    assert main(["predict", "models/people", "known.csv"]) == 0
    said = capsys.readouterr().out
    assert "warning: group p3: training had groups of the same names, whose rows the model knows" in said


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("person;age;height;mass\nann;3;;\n", [], "no column 'year'; the model knows groups in 'person'"),
        ("person;year;height;mass\nann;2000;1;2\n", [], "none is left to predict"),
        ("person;year;height;mass\nann;;1;2\n", [], "row 1 has no value in column 'year'"),
        ("person;year;height;mass\nann;2000;tall;2\nann;2001;;\n", [], "'tall'"),
        ("person;year\nann;2000\n", ["--grid", "3", "--at", "new.csv"], "--at and --grid are both given"),
        ("person;year\nann;2000\n", ["--quantiles", "5"], "--quantiles 5: expected probabilities between 0 and 1"),
        ("person;year\nann;2000\n", ["--quantiles", "0.5", "1"], "--quantiles 1: expected probabilities between 0 and"),
        ("person;year\nann;2000\n", ["--grid", "0"], "--grid 0: expected at least 1"),
        ("person;year\nann;2000\n", ["--grid", "-3"], "--grid -3: expected at least 1"),
        ("person;year\nann;2000\n", ["--at", "bad_at.csv"], "no column 'year'; the model knows groups in 'person'"),
        ("person;year\nann;2000\n", ["--at", "absent.csv"], "no file absent.csv"),
        (
            "person;year\nann;2000\n",
            ["--out", "models"],
            "--out models is a folder; give the path of a file, such as mod",
        ),
        ("person;year\nann;2000\n", ["--out", "bad.csv"], "--out bad.csv would replace the file that is read"),
        ("person;year\n", [], "no rows below its header line"),
        ("person;year\nann;soon\n", [], "column 'year' holds 'soon' in row 1, which is not a number"),
        ("person;year\n;2001\n", [], "row 1 has no value in column 'person'; fill it in, or remove the row"),
        (
            "who;when\nann;2001\n",
            [],
            "no column 'person', 'year'; the model knows groups in 'person', inputs year and ou",
        ),
        (
            "person;year;height;mass\nann;2000;1,5;2\nann;2001;;\n",
            ["--decimal", "."],
            "if the comma is a decimal comma, give --decimal",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(
    place: Path, monkeypatch, capsys, content: str, options: list[str], message: str
) -> None:
    monkeypatch.chdir(place)
    (place / "bad.csv").write_text(content)
    (place / "new.csv").write_text("person;year\nann;2001\n")
    (place / "bad_at.csv").write_text("age\n30\n")
    assert main(["predict", "models/people", "bad.csv", "--out", "none.csv", *options]) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (place / "none.csv").exists()


def test_folders_that_hold_no_model_and_models_that_are_there(place: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(place)
    assert main(["predict", "models", "new.csv"]) == 1
    assert "models holds no model of a table" in capsys.readouterr().err
    options = ["--group", "person", "--x", "year", "--y", "height"]
    assert main(["table", "people.csv", *options]) == 1
    assert "models/people is there already" in capsys.readouterr().err
    assert main(["table", "people.csv", *options, "--decimal", ",", "--seen", "6", "--out", "m"]) == 1
    assert "--seen 6: the largest group has 6 rows" in capsys.readouterr().err


def test_many_rows_of_a_group_are_predicted_in_portions(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A covariance of 30,000 rows would take 7 GB."""
    monkeypatch.chdir(place)
    (place / "few.csv").write_text("person;year;height;mass\nann;2000;1520;6,1\n")
    options = ["--decimal", ",", "--out", "many.csv"]
    assert main(["predict", "models/people", "few.csv", "--grid", "30000", *options]) == 0
    found = rows_of(place / "many.csv")
    assert main(["predict", "models/people", "few.csv", "--grid", "2", "--decimal", ",", "--out", "ends.csv"]) == 0
    assert len(found) == 30_000 and [found[0], found[-1]] == rows_of(place / "ends.csv")


def test_a_misspelt_outcome_is_an_error_and_none_is_a_warning(place: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(place)
    (place / "near.csv").write_text("person;year;Height;mass\nann;2000;1520;6,1\nann;2004;;\n")
    assert main(["predict", "models/people", "near.csv", "--decimal", ",", "--out", "near_out.csv"]) == 1
    assert "no column 'height', but 'Height': known outcomes are in 'height'" in capsys.readouterr().err
    (place / "none.csv").write_text("person;year\nann;2004\n")
    assert main(["predict", "models/people", "none.csv", "--out", "none_out.csv"]) == 0
    assert "warning: no row has a value of height, mass, so nothing is known" in capsys.readouterr().out


def test_predictions_replace_no_file_but_earlier_predictions(place: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(place)
    (place / "ask.csv").write_text("person;year;height;mass\nann;2000;1520;6,1\nann;2004;;\n")
    ask = ["predict", "models/people", "ask.csv", "--decimal", ",", "--quantiles", "0.9", "0.1", "0.1"]
    before = (place / "people.csv").read_bytes()
    assert main([*ask, "--out", "people.csv"]) == 1
    assert "is there already and holds no predictions of this model" in capsys.readouterr().err
    assert (place / "people.csv").read_bytes() == before
    for _ in range(2):
        assert main([*ask, "--out", "twice.csv"]) == 0
    assert list(rows_of(place / "twice.csv")[0])[2:6] == ["height_mean", "height_sd", "height_q0.1", "height_q0.9"]
    assert main([*ask, "--out", "picture.png"]) == 1
    assert "give a name that ends in .csv" in capsys.readouterr().err


def test_columns_with_commas_are_told_apart(place: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(place)
    options = ["--group", "person", "--x", "year", "--y", "height,mass", "--decimal", ",", "--out", "models/x"]
    assert main(["table", "people.csv", *options]) == 1
    assert "give several columns one by one, without commas" in capsys.readouterr().err


def test_the_weights_of_the_mixture_are_said() -> None:
    candidate, line = Candidate("a line", lambda *given: None), Candidate("a curve", lambda *given: None)
    choice = Choice(None, {"a": (0.2, 0.0), "b": (0.8, 1.0)}, {}, (), (0, 1), {"a": candidate, "b": line})
    assert mixed([choice], ["y"]) == ["weights of the mixture: a curve 0.90, a line 0.10"]
    assert mixed([choice, choice], ["u", "v"])[1].startswith("v: weights of the mixture: a curve 0.90")

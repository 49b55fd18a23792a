"""Predicting new groups of a table whose inputs are dates and categories."""

import csv
from datetime import date, timedelta
from pathlib import Path

import pytest
import torch

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.runs.reading import CheckpointError
from quickstudy.tables.model import TableModel

ARMS = {"placebo": 0.0, "low dose": -0.02, "high dose": -0.05}


@pytest.fixture(scope="module", params=["calendar", "elapsed"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trial of three arms, whose patients are weighed at dates of their own, and a model of it."""
    folder = tmp_path_factory.mktemp(request.param)
    chance = torch.Generator().manual_seed(0)
    lines = ["patient,visit,arm,weight"]
    for i in range(18):
        start = date(2020, 1, 1) + timedelta(days=int(torch.randint(60, (), generator=chance)))
        arm, base = list(ARMS)[i % 3], 80 + float(torch.randn((), generator=chance))
        for day in range(0, 150, 30):
            weight = base + 4 * (i % 3) + ARMS[arm] * day + 0.1 * float(torch.randn((), generator=chance))
            lines.append(f"p{i},{start + timedelta(days=day)},{arm},{weight:.3f}")
    (folder / "trial.csv").write_text("\n".join(lines) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("quickstudy.tables.outputs.choose", quick)
        options = ["--group", "patient", "--x", "visit", "arm", "--y", "weight", "--dates", request.param]
        assert main(["table", "trial.csv", *options, "--out", "model"]) == 0
    return folder


def quick(rows, **options):
    """`choose` with two of the learners, as the others are slow."""
    from quickstudy.tables.choosing import choose

    return choose(rows, **options | {"only": ("everyone", "intercept")})


def predicted(content: str, *options: str) -> list[dict[str, str]]:
    Path("new.csv").write_text(content)
    assert main(["predict", "model", "new.csv", "--out", "found.csv", *options]) == 0
    with Path("found.csv").open() as file:
        return list(csv.DictReader(file))


NEW = "patient,visit,arm,weight\nann,2020-02-01,high dose,88\nann,2020-04-01,high dose,\nbo,2020-02-01,placebo,\n"


def test_dates_and_categories_are_written_as_they_came(place: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(place)
    ann, bo = predicted(NEW)
    assert list(ann)[:3] == ["patient", "visit", "arm"]
    assert [ann["visit"], ann["arm"]] == ["2020-04-01", "high dose"] and bo["arm"] == "placebo"
    assert float(ann["weight_mean"]) > float(bo["weight_mean"]) + 3
    assert Path("found.png").exists() and "warning" not in capsys.readouterr().out
    model = TableModel.load("model")
    assert model.x == ("visit", "arm=low dose", "arm=placebo") and model.inputs[1].levels == tuple(sorted(ARMS))
    other, _ = predicted(NEW.replace("2020-02-01", "01.02.2020").replace("2020-04-01", "01.04.2020"), *FORM)
    assert other["visit"] == "01.04.2020" and other["weight_mean"] == ann["weight_mean"]


FORM = ("--date-format", "%d.%m.%Y")


def test_grids_of_dates(place: Path, monkeypatch) -> None:
    """The first input varies over the range of training; the arm is that of the group."""
    monkeypatch.chdir(place)
    rows = predicted(NEW, "--grid", "3")
    days = [date.fromisoformat(row["visit"][:10]) for row in rows[:3]]
    model = TableModel.load("model")
    first, last = date(1970, 1, 1), date(1970, 1, 1)
    if model.inputs[0].elapsed:
        first = last = date(2020, 2, 1)
    assert [days[0], days[2]] == [first + timedelta(days=model.low[0]), last + timedelta(days=model.high[0])]
    assert [row["arm"] for row in rows] == ["high dose"] * 3 + ["placebo"] * 3
    Path("new.csv").write_text(NEW.replace("2020-04-01,high", "2020-04-01,low"))
    assert main(["predict", "model", "new.csv", "--grid", "3"]) == 1


def test_inputs_of_ones_own(place: Path, monkeypatch) -> None:
    monkeypatch.chdir(place)
    asked = [row["weight_mean"] for row in predicted(NEW)]
    Path("at.csv").write_text("visit,arm\n2020-04-01,high dose\n")
    assert predicted(NEW, "--at", "at.csv")[0]["weight_mean"] == asked[0]
    if TableModel.load("model").inputs[0].elapsed:
        Path("at.csv").write_text("visit,arm\n60,high dose\n")
        found = predicted(NEW, "--at", "at.csv")
        assert found[0]["weight_mean"] == asked[0] and found[0]["visit"] == "60"


@pytest.mark.parametrize(
    ("before", "after", "options", "message"),
    [
        (
            "high dose",
            "some dose",
            [],
            "holds 'some dose' in row 1, which was not in training (that had high dose, low do",
        ),
        (
            "2020-04-01",
            "01/04/2020",
            [],
            "holds '01/04/2020' in row 2, which is no date .* give --date-format %d/%m/%Y",
        ),
        ("2020-04-01", "60", [], "holds '60' in row 2, which is no date like those in other rows"),
        ("2020-04-01", "", [], "row 2 has no value in column 'visit'"),
        (
            "2020-04-01,high",
            "2020-04-01,low",
            ["--grid", "3"],
            "varies within group 'ann', and a grid varies visit alone",
        ),
        ("2020", "2020", ["--grid", "0"], "--grid 0: expected at least 1"),
    ],
)
def test_what_cannot_be_read(
    place: Path, monkeypatch, capsys, before: str, after: str, options: list[str], message: str
) -> None:
    monkeypatch.chdir(place)
    Path("new.csv").write_text(NEW.replace(before, after))
    assert main(["predict", "model", "new.csv", "--out", "none.csv", *options]) == 1
    said = capsys.readouterr().err
    start, _, end = message.partition(".* ")
    assert start in said and end in said.replace("pass --date", "give --date") and said.count("\n") == 1
    assert not Path("none.csv").exists()


def test_the_same_from_python(place: Path, monkeypatch) -> None:
    from quickstudy.tables.new_groups import read_new
    from quickstudy.tables.predicting import predict

    monkeypatch.chdir(place)
    asked = [row["weight_mean"] for row in predicted(NEW)]
    cells = zip(*(line.split(",") for line in NEW.splitlines()), strict=True)
    columns = {name: list(values) for name, *values in cells}
    model = TableModel.load("model")
    found = predict(model, read_new(columns, model)).columns
    assert [f"{mean}" for mean in found["weight_mean"]] == asked and found["arm"] == ["high dose", "placebo"]
    if model.inputs[0].elapsed:
        with pytest.raises(CheckpointError, match="counts days from the first date of a group .visit., which GroupReg"):
            qs.GroupRegressor.load("model")
    else:
        assert qs.GroupRegressor.load("model").n_features_in_ == 2


def test_warnings_name_dates(place: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(place)
    predicted(NEW.replace("2020-04-01", "2023-04-01"))
    span = "visit 0 to 120 days" if TableModel.load("model").inputs[0].elapsed else "visit 2020-01-0"
    assert f"of the 18 trained groups ({span}" in capsys.readouterr().out

"""Folds of a table, and finding them again when a run is measured again."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from recipes import running

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.experiments.options import check_options
from quickstudy.recipes.table import folds
from quickstudy.recipes.table import recipe as table
from quickstudy.runs.reading import CheckpointError
from quickstudy.tasks import Table
from quickstudy.tasks.datasets.record import TableRecord


@pytest.fixture
def options(tmp_path: Path) -> table.Options:
    return table.Options(data=running.plants(tmp_path), task="plant", x=("day",), y=("height",), folds=3, width=8)


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gaussian processes are fitted on a coarse grid alone."""
    monkeypatch.setattr("quickstudy.tasks.fitted_gp._ROUNDS", 1)
    monkeypatch.setattr("quickstudy.tasks.fitted_gp._COARSE", 5)


def _deal(options: table.Options) -> list[Table]:
    return folds.deal(options, folds.read(options))


def test_every_group_is_held_out_once(options: table.Options) -> None:
    tables = _deal(options)
    tested = [name for each in tables for name in each.groups("test")]
    assert sorted(tested) == [f"p{i}" for i in range(7)]
    for each in tables:
        groups = [set(each.groups(split)) for split in ("train", "validation", "test")]
        assert all(groups) and sum(map(len, groups)) == 7 == len(set.union(*groups))


@pytest.mark.parametrize("count", [0, 1, 6])
def test_invalid_numbers_of_folds(options: table.Options, count: int) -> None:
    with pytest.raises(ValueError, match=f"--folds {count}: 7 groups can be divided into 2 to 5 folds"):
        _deal(replace(options, folds=count))
    lines = options.data.read_text().splitlines()
    options.data.write_text("\n".join(line for line in lines if line[:2] in ("pl", "p0", "p1", "p2")))
    with pytest.raises(ValueError, match="column 'plant' has 3 groups; expected at least 4 to hold some out"):
        _deal(options)


def test_more_rows_seen_than_groups_have(options: table.Options) -> None:
    """Four groups have 6 rows and three have 7: if 6 rows are seen, only three groups have one left to predict."""
    with pytest.raises(ValueError, match="--seen 4 7: the largest group has 7 rows, .* give at most 6"):
        _deal(replace(options, seen=(4, 7)))
    with pytest.raises(ValueError, match=r"--seen 6: no group of fold \d of 5 has more than 6 rows"):
        _deal(replace(options, seen=(2, 6), folds=5))
    for wrong in ((), (3, 3)):
        with pytest.raises(ValueError, match="--seen.*: expected different numbers of rows, at least one"):
            _deal(replace(options, seen=wrong))
    tables = _deal(replace(options, seen=(2, 5)))
    assert folds.too_short(tables, (2, 5)) == ""
    assert folds.too_short(tables, (2, 6)).startswith("Not predicted: 4 of 7 groups, which have no more than 6 rows")
    with pytest.raises(ValueError, match="--seen 0: expected at least 1"):
        check_options(replace(options, seen=(0,)))


def test_what_is_left_out_is_said(options: table.Options) -> None:
    assert folds.left_out(_deal(options)[0]) == ""
    options.data.write_text(f"{options.data.read_text()}p0,9,\np9,1,3\n")  # 45 rows of 7 groups before
    first = _deal(replace(options, missing="drop", short="drop"))[0]
    assert folds.left_out(first) == (
        "Left out: 1 of 47 rows, which lack a value (--missing drop), and 1 of 8 groups, which have a single row "
        "(--short drop)."
    )
    assert "dropped=1 rows and 1 groups" in repr(first)


def test_few_validation_groups_are_said(options: table.Options) -> None:
    tables = _deal(options)
    said = folds.few_for_validation(tables, "best")
    assert said.startswith("Only 1 group of each fold chooses the best weights") and "--which last" in said
    assert folds.few_for_validation(tables, "last") == ""


def _shuffle(path: Path) -> None:
    header, *lines = path.read_text().splitlines()
    random.Random(3).shuffle(lines)
    path.write_text("\n".join([header, *lines]) + "\n")


def test_the_order_of_the_file_does_not_matter(options: table.Options) -> None:
    before = _deal(options)
    _shuffle(options.data)
    after = _deal(options)
    assert [repr(each) for each in after] == [repr(each) for each in before]
    assert [each.groups("test") for each in after] == [each.groups("test") for each in before]


def test_a_run_finds_its_folds_again_in_the_same_data_only(options: table.Options) -> None:
    before = _deal(options)
    kept = json.loads(json.dumps(TableRecord.of(before).to_json()))
    _shuffle(options.data)
    again = folds.again(options, folds.read(options), kept)
    assert [repr(each) for each in again] == [repr(each) for each in before]
    record = TableRecord.from_json(kept)
    assert record.folds[1].scaling.center.equal(before[1].center) and record.y == ("height",)

    text = options.data.read_text()
    changes = {
        text + "q1,0,20\nq1,1,30\nq2,0,20\nq2,1,25\n": r"2 groups \('q1', 'q2'\) were added; put the file back",
        "\n".join(line for line in text.splitlines() if not line.startswith("p3")): "group 'p3' is missing",
        text.replace("p2,1,", "p2,1.5,"): "the rows of group 'p2' differ",
        text + "p6,9,40\n": "the rows of group 'p6' differ",
        text.replace("p5,", "p8,"): "group 'p8' was added, and group 'p5' is missing",
    }
    for changed, match in changes.items():
        options.data.write_text(changed)
        with pytest.raises(ValueError, match=rf"plants.csv has changed since .* was trained: {match}"):
            folds.again(options, folds.read(options), kept)
    options.data.write_text(text)
    with pytest.raises(ValueError, match="keeps no record of its groups, as an earlier version made it"):
        folds.again(options, folds.read(options), None)
    for damaged in ({}, [], kept | {"folds": [{"splits": {}}]}, kept | {"groups": 3}):
        with pytest.raises(ValueError, match="record of the table is damaged"):
            TableRecord.from_json(damaged)


def test_evaluate_refuses_another_file_and_draws_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, data = tmp_path / "run", running.plants(tmp_path)
    assert main(["run", "table", *running.tiny("table", tmp_path), "--out", str(run), "--learner", "cnp"]) == 0
    first, picture = (run / "result.json").read_text(), (run / "figures" / "groups.png").read_bytes()
    _shuffle(data)
    (run / "figures" / "groups.png").write_bytes(b"of an earlier measurement")
    assert main(["evaluate", str(run), "--write"]) == 0
    metrics = [json.loads(text)["metrics"] for text in (first, (run / "result.json").read_text())]
    assert metrics[0] == metrics[1] and (run / "figures" / "groups.png").read_bytes() == picture
    capsys.readouterr()
    assert main(["evaluate", str(run), "--support", "9"]) == 1
    assert "--support 9: the largest group has 7 rows" in capsys.readouterr().err
    data.write_text(data.read_text().replace("p2,1,", "p2,1.5,"))
    assert main(["evaluate", str(run)]) == 1
    said = capsys.readouterr().err
    assert "plants.csv has changed since" in said and "the rows of group 'p2' differ" in said
    assert main(["resume", str(run)]) == 0  # a finished run is shown


def test_several_outputs_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A country called NA is kept, with a warning; every output has its units, its table and its figure."""
    lines = [
        f"{c},{t},{1e-9 * t + 1e-10 * i},{4.5e6 + t * i}" for i, c in enumerate(["NA", *"abcde"]) for t in range(5)
    ]
    data = tmp_path / "small.csv"
    data.write_text("country,year,a/b=c,d\n" + "\n".join(lines) + "\n")
    roles = ["--data", str(data), "--task", "country", "--x", "year", "--y", "a/b=c", "d"]
    small = ["--steps", "2", "--width", "4", "--folds", "2", "--learner", "cnp", "--seen", "1", "3"]
    with pytest.warns(RuntimeWarning, match=r"column 'country' has a group called 'NA' \(5 rows\)"):
        assert main(["run", "table", *roles, *small, "--out", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr()
    assert "root mean squared error of a/b=c" in shown.out and "e-10" in shown.out and "0.00000" not in shown.out
    assert "Means over 6 held-out groups." in shown.out
    assert {path.stem for path in (tmp_path / "run" / "figures").glob("*.png")} == {"groups", "groups-d"}
    with pytest.raises(CheckpointError, match=r"has 2 learners, one in each of the folders fold-1, fold-2; load one"):
        qs.load(tmp_path / "run")

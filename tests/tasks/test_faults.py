"""A file with several faults is told of the first few of them at once."""

import pickle
from pathlib import Path

import pytest

from quickstudy.cli import main
from quickstudy.estimators.group_regressor import GroupRegressor
from quickstudy.tasks import Table
from quickstudy.tasks.datasets.faults import Faults, all_of, read_cells
from quickstudy.tasks.datasets.files import read_file

HEAD = "tree,year,soil,girth,height"
GOOD = [
    f"t{i},{2000 + k},{'clay' if i % 2 else 'sand'},{30 + i + k},{9 + i * 0.5 + k}" for i in range(8) for k in range(3)
]


def written(*lines: str) -> str:
    Path("trees.csv").write_text("\n".join([HEAD, *lines]) + "\n")
    return "trees.csv"


def changed(cells: dict[tuple[int, str], str]) -> str:
    """The good file with other cells, by row (from 1) and column."""
    rows = [line.split(",") for line in GOOD]
    for (row, column), cell in cells.items():
        rows[row - 1][HEAD.split(",").index(column)] = cell
    return written(*map(",".join, rows))


TREES = ["--group", "tree", "--x", "year", "soil", "--y", "girth", "height"]
SEVERAL: list[tuple[dict[tuple[int, str], str], list[str]]] = [
    (
        {(5, "girth"): "12 %", (9, "girth"): "<3"},
        ["'girth' holds '12 %' in row 5", "the same holds for '<3' in row 9)"],
    ),
    (
        {(row, "girth"): f"{row} cm" for row in (2, 4, 6, 8, 10)},
        ["holds '2 cm' in row 2", "the same holds for '4 cm' in row 4, '6 cm' in row 6 and more)"],
    ),
    (
        {(5, "girth"): "12 %", (3, "height"): "high"},
        ["'girth' holds '12 %' in row 5", "; and column 'height' holds 'high' in row 3"],
    ),
    (
        {(7, "year"): "later", (3, "height"): "1/2"},
        ["'year' holds 'later' in row 7", "; and column 'height' holds '1/2' in row 3"],
    ),
    (
        {(1, "soil"): "7", (7, "height"): "high"},
        ["column 'soil' holds '7' in row 1, and words in other rows", "; and column 'height' holds 'high' in row 7"],
    ),
    (
        {(4, "soil"): "", (9, "height"): ""},
        ["row 4 has no value in column 'soil', row 9 has no value in column 'height' (2"],
    ),
    (
        {(row, "girth"): "5" for row in range(1, 25)} | {(row, "height"): "2" for row in range(1, 25)},
        ["'girth' has the value 5 in all rows", "'height' has the value 2 in all rows"],
    ),
]


@pytest.mark.parametrize(("cells", "parts"), SEVERAL)
def test_several_bad_cells_and_columns_are_one_message(
    cells: dict[tuple[int, str], str], parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    path = changed(cells)
    with pytest.raises(ValueError) as said:
        Table.from_file(path, task="tree", x=["year", "soil"], y=["girth", "height"])
    assert main(["table", path, *TREES]) == 1
    shell = capsys.readouterr().err
    for part in parts:
        assert part in str(said.value) and part in shell
    assert shell.count("\n") == 1 and shell.count(parts[0]) == 1


def test_several_absent_columns_and_broken_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(*GOOD)
    assert main(["table", path, "--group", "Tree", "--x", "year", "sol", "--y", "mass"]) == 1
    said = capsys.readouterr().err
    assert (
        "no column 'Tree'; did you mean 'tree'? no column 'sol'; did you mean 'soil'? no column 'mass'; Columns" in said
    )
    assert main(["table", path, "--group", "tree", "--x", "year", "soil", "--y", "year", "soil"]) == 1
    assert "columns 'year', 'soil' are used twice" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"line 3: 2 values for 5 columns.*\(also wrong: lines 4, 28\)"):
        read_file(written(GOOD[0], "t0,1", "t1,1,2,3", *GOOD[1:], "x,y"))


def test_several_faults_of_new_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [line.split(",") for line in GOOD]
    x = [[float(row[1]), float(row[3])] for row in rows]
    GroupRegressor("intercept").fit(x, [float(row[4]) for row in rows], groups=[row[0] for row in rows]).save("model")
    for content, parts in (
        (
            "group,x0,x1,y\na,soon,5,1\na,2001,4,tall\na,2002,big,\n",
            ["'x0' holds 'soon'", "and column 'x1' holds 'big'", "and column 'y' holds 'tall'"],
        ),
        (
            "group,x0,x1,y\na,,5,1\na,2001,,2\na,2002,,\n",
            ["row 1 has no value in column 'x0'", "row 2 has no value in column"],
        ),
        ("group,y\na,1\n", ["no column 'x0', 'x1'; the model"]),
    ):
        Path("new.csv").write_text(content)
        assert main(["predict", "model", "new.csv"]) == 1
        said = capsys.readouterr().err
        assert all(part in said for part in parts) and said.count("\n") == 1


def test_faults_are_named_once_and_counted() -> None:
    def failing(*messages: str):
        def read() -> int:
            raise Faults(messages)

        return read

    with pytest.raises(Faults) as said:
        all_of([failing("a", "b"), lambda: 1, failing("b", "c", "d", "e")])
    assert str(said.value) == "a; and b; and c; and 2 more such faults"
    assert pickle.loads(pickle.dumps(said.value)).messages == tuple("abcde")
    assert all_of([lambda: 1, lambda: 2]) == [1, 2] and read_cells("n", ["1", "x", "3"], [2, 0], int) == [3, 1]
    with pytest.raises(ZeroDivisionError):  # a fault of the program is none of the table
        all_of([failing("a"), lambda: 1 // 0])

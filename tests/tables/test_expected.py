"""The time that choosing will take grows with the table, and is said before the first fit."""

from pathlib import Path

import pytest
import torch

from quickstudy.cli import main
from quickstudy.tables import shell
from quickstudy.tables.expected import expected_seconds
from quickstudy.tasks.datasets.columns import GroupedRows, read_groups


def table(groups: int, rows: int) -> GroupedRows:
    """Groups of equal size; some outcomes are negative, so that there are no learners of logarithms."""
    own = torch.arange(groups).repeat_interleave(rows)
    x = torch.arange(rows).repeat(groups)
    columns = {"g": own.tolist(), "x": x.tolist(), "y": (own - x).tolist()}
    return read_groups(columns, "g", ("x",), ("y",))


def test_it_grows_with_rows_and_outcomes_and_shrinks_with_speed() -> None:
    small, large = table(20, 10), table(200, 50)
    assert 10 < expected_seconds([small], speed=1.0) < expected_seconds([large], speed=1.0) < 300
    assert expected_seconds([small, small], speed=1.0) == pytest.approx(2 * expected_seconds([small], speed=1.0))
    assert expected_seconds([small], speed=4.0) == pytest.approx(expected_seconds([small], speed=1.0) / 4)
    assert expected_seconds([small]) > 0


def test_huge_groups_are_thinned_before_they_are_fitted_to() -> None:
    assert expected_seconds([table(10, 500)], speed=1.0) == expected_seconds([table(10, 5000)], speed=1.0)


def test_it_is_said_before_the_first_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: object, **options: object) -> None:
        raise RuntimeError("choosing begins")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shell, "choose_each", refused)
    lines = [f"g{i},{j},{i - j}" for i in range(8) for j in range(4)]
    Path("t.csv").write_text("\n".join(["g,x,y", *lines]))
    assert main(["table", "t.csv", "--group", "g", "--x", "x", "--y", "y"]) == 1
    said = capsys.readouterr()
    assert "expected time: about" in said.out and "choosing begins" in said.err

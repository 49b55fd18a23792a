"""The benchmark of processes runs, on tiny sizes."""

import json
from pathlib import Path

import pytest
import torch
from benchmarks import processes


@pytest.mark.parametrize("case", processes.CASES)
def test_it_runs(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    processes.main(["--quick", "--rounds", "1", "--case", case, "--out", str(tmp_path)])
    result = json.loads((tmp_path / "processes.json").read_text())["cases"][case]
    assert result["contenders"] and all(row["milliseconds"] > 0 for row in result["contenders"].values())
    assert case in capsys.readouterr().out


def test_the_transformer_beside_ours_hides_the_query_points() -> None:
    torch.manual_seed(0)
    dense = processes.DenseMask(width=16, depth=2, heads=2, hidden=32)
    support, x = processes.qs.Examples(torch.randn(2, 3, 1), torch.randn(2, 3, 1)), torch.randn(2, 4, 1)
    torch.testing.assert_close(dense(support, x)[:, :2], dense(support, x[:, :2]))

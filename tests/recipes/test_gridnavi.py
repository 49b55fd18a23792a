"""The recipe of GridNavi: the exact rows, and what is measured of RL^2."""

import json
from pathlib import Path

import pytest
from recipes import running

from quickstudy.cli import main


def test_the_exact_rows_stand_beside(tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["run", "gridnavi-rl2", *running.TINY["gridnavi-rl2"], "--cells", "5"]
    assert main([*arguments, "--out", str(out)]) == 0
    metrics = json.loads((out / "result.json").read_text())["metrics"]
    assert metrics["optimal/total"]["mean"] == pytest.approx(37.2143, abs=1e-3)
    assert metrics["told/total"]["mean"] == pytest.approx(44.2857, abs=1e-3)
    assert metrics["optimal/return/episode=1"]["mean"] == pytest.approx(4.0, abs=1e-4)
    for name in ("rl2", "rl2_greedy"):
        parts = [metrics[f"{name}/return/episode={k}"]["mean"] for k in range(1, 5)]
        assert metrics[f"{name}/total"]["mean"] == pytest.approx(sum(parts), abs=1e-4)
        assert -6 <= metrics[f"{name}/total"]["mean"] <= 44.3
    assert (out / "figures" / "episodes.png").exists()

"""The benchmark of planning runs, on a tiny size."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_decisions_are_counted(tmp_path):
    command = [sys.executable, "-m", "benchmarks.planning", "--quick", "--out", str(tmp_path)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    result = json.loads((tmp_path / "planning.json").read_text())["cases"]["plan"]
    assert result["carts"] == 20 and len(result["contenders"]) == 4 and "decisions a second" in answer.stdout
    for row in result["contenders"].values():
        assert abs(row["decisions_per_second"] * row["milliseconds"] / 1e3 - 20) < 1e-6

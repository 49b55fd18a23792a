"""The benchmark of environments runs, on a tiny size, and what it compares computes the same."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_environments_are_measured_beside_gymnasiums(tmp_path):
    command = [sys.executable, "-m", "benchmarks.environments", "--quick", "--out", str(tmp_path)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    result = json.loads((tmp_path / "environments.json").read_text())["cases"]["step"]
    assert result["disagreement"] < 1e-6 and result["environments"] == 64
    assert all(row["million_steps_per_second"] > 0 for row in result["contenders"].values())
    assert len(result["contenders"]) == 6 and "times faster than gymnasium" in answer.stdout

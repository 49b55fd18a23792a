"""The benchmark of robots runs, on a tiny size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytest.importorskip("mujoco", reason="the extra `mujoco` is not installed")


def test_robots_are_measured_beside_gymnasiums(tmp_path):
    command = [sys.executable, "-m", "benchmarks.robots", "--quick", "--out", str(tmp_path)]
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    # in an empty folder, as MuJoCo writes its warnings of gymnasium's files into the current one
    answer = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **paths}, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    result = json.loads((tmp_path / "robots.json").read_text())["cases"]["closed loop"]
    assert all(row["steps_per_second"] > 0 for row in result["contenders"].values())
    assert len(result["contenders"]) == 4 and "times AsyncVectorEnv" in answer.stdout

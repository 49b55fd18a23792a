"""The study of many processes: its arithmetic against closed forms, and a tiny run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.scaleout import BATCH, extrapolate, fit_ring, ring

ROOT = Path(__file__).parents[2]


def test_the_fit_finds_the_network_that_made_the_times():
    network = {"latency": 3e-5, "bandwidth": 2e9}
    measured = {(p, n): ring(p, n, network) for p in (1, 2, 4) for n in (2_000, 10_000_000)}
    assert fit_ring(measured) == pytest.approx(network)
    assert measured[1, 2_000] == 0


def test_a_free_network_scales_perfectly_and_a_slow_one_does_not():
    free = extrapolate(1_000, 1e-3, {"latency": 0.0, "bandwidth": 1e15})
    assert free["512"]["efficiency"] == pytest.approx(1) and free["8"]["seconds"] == pytest.approx(BATCH * 1e-3 / 8)
    slow = extrapolate(10**8, 1e-3, {"latency": 0.0, "bandwidth": 1e9})
    assert slow["64"]["seconds"] == pytest.approx(BATCH * 1e-3 / 64 + 2 * 63 / 64 * 0.4)
    assert slow["64"]["efficiency"] < slow["8"]["efficiency"] < 1


def test_it_runs(tmp_path):
    command = [sys.executable, "-m", "benchmarks.scaleout", "--quick", "--out", str(tmp_path)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    (row,) = json.loads((tmp_path / "scaleout.json").read_text())["cases"]["study"]["rows"]
    assert row["parameters"] == 28 * 2 + 2 * 28 * 29 + 29 and row["task_seconds"] > 0
    assert row["all_reduce_seconds"]["2"] > 0 and "Efficiency" in answer.stdout

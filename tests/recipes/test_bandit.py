"""The recipe of bandits: what is measured, and on what."""

import json
from pathlib import Path

import pytest
from recipes import running

from quickstudy.cli import main


def test_all_policies_play_the_same_bandits(tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["run", "bandit-rl2", *running.TINY["bandit-rl2"], "--test-tasks", "300"]
    assert main([*arguments, "--out", str(out)]) == 0
    metrics = json.loads((out / "result.json").read_text())["metrics"]
    names = ("rl2", "rl2_greedy", "index", "thompson", "greedy", "random")
    assert {f"{name}/return" for name in names} <= metrics.keys()
    assert metrics["random/return"]["mean"] == pytest.approx(3, abs=0.4)
    assert metrics["index/return"]["mean"] > metrics["random/return"]["mean"] + 0.3
    share = metrics["rl2/return"]["mean"] / metrics["index/return"]["mean"]
    assert metrics["rl2/share_of_index"]["mean"] == pytest.approx(share, rel=1e-4)
    assert (out / "figures" / "pulls.png").exists()

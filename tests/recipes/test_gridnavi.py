"""The recipes of GridNavi: the exact rows, what is measured of the learners, and distances between beliefs."""

import json
from pathlib import Path

import pytest
import torch
from recipes import running

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.recipes.gridnavi.beliefs import distances, posteriors
from quickstudy.recipes.gridnavi.measure import every_goal, trial


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


def test_the_belief_stands_beside_the_exact_one(tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["run", "gridnavi-varibad", *running.TINY["gridnavi-varibad"], "--cells", "5"]
    assert main([*arguments, "--out", str(out)]) == 0
    metrics = {name: m["mean"] for name, m in json.loads((out / "result.json").read_text())["metrics"].items()}
    assert metrics["optimal/total"] == pytest.approx(37.2143, abs=1e-3)
    assert metrics["fixed/total_variation/step=0"] == 0
    rises = [metrics[f"fixed/total_variation/step={step}"] for step in (0, 5, 10, 15, 30, 45)]
    assert rises == sorted(rises) and rises[-1] <= 20 / 21 + 1e-6  # if the goal is known, of 21
    assert all(0 <= metrics[f"varibad/total_variation/step={step}"] <= 1 for step in (0, 5, 45))
    assert {path.stem for path in (out / "figures").glob("*.png")} >= {"episodes", "distances", "beliefs"}


def test_distances_of_beliefs() -> None:
    """Of the exact belief itself 0; of the prior, where k of 21 goals are ruled out, k / 21."""
    walks = every_goal(5, 2)
    learner, chance = qs.rl.RL2.of(walks, width=4), torch.Generator().manual_seed(0)
    played = trial(learner, walks, 2, chance, greedy=False)
    truth = posteriors(walks, played)
    assert truth.shape == (21, 2, 30, 21)
    torch.testing.assert_close(truth.sum(-1), torch.ones(21, 2, 30))
    same = distances(truth, 3 * truth)
    assert float(same["varibad"].max()) < 1e-6
    excluded = (truth == 0).sum(-1) / 21
    torch.testing.assert_close(same["fixed"], excluded.mean(0))

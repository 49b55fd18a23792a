"""The recipes of GridNavi: the exact rows, what is measured of the learners, and distances between beliefs."""

import json
from pathlib import Path

import pytest
import torch
from recipes import running

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.recipes.gridnavi.beliefs import decoded, distances, posteriors, reread
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
    for name in ("varibad", "reread"):
        assert all(0 <= metrics[f"{name}/total_variation/step={step}"] <= 1 for step in (0, 5, 45))
    assert {path.stem for path in (out / "figures").glob("*.png")} >= {"episodes", "distances", "beliefs"}


def test_distances_of_beliefs() -> None:
    """Of the exact belief itself 0; of the prior, where k of 21 goals are ruled out, k / 21."""
    walks = every_goal(5, 2)
    learner, chance = qs.rl.RL2.of(walks, width=4), torch.Generator().manual_seed(0)
    played = trial(learner, walks, 2, chance, greedy=False)
    truth = posteriors(walks, played)
    assert truth.shape == (21, 2, 30, 21)
    torch.testing.assert_close(truth.sum(-1), torch.ones(21, 2, 30))
    same = distances(truth, {"varibad": 3 * truth})
    assert float(same["varibad"].max()) < 1e-6
    excluded = (truth == 0).sum(-1) / 21
    torch.testing.assert_close(same["fixed"], excluded.mean(0))


def test_a_second_decoder_reads_what_the_belief_holds() -> None:
    """Of a belief without information it makes the prior: 1 in 5, on the grid of 3x3."""
    walks = every_goal(3, 4)
    torch.manual_seed(0)
    learner = qs.rl.VariBAD.of(walks, width=4, latent=2, reads=("next_observation",), rewards="positive", episodes=2)
    played = trial(learner, walks, 2, torch.Generator().manual_seed(0), greedy=False)
    encoder = learner.autoencoder.encoder
    with torch.no_grad():
        encoder.head.weight.zero_()
        encoder.head.bias.copy_(torch.tensor([0.0, 0.0, -10.0, -10.0]))
    chance = torch.Generator().manual_seed(1)
    again = reread(learner.autoencoder, walks, played, 150, chance)
    found = decoded(again, walks, played, chance)
    torch.testing.assert_close(found, torch.full_like(found, 0.2), atol=0.06, rtol=0)
    assert again.encoder is encoder and again.rewards is not learner.autoencoder.rewards

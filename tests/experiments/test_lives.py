"""Agents in unseen tasks: what their returns are compared with."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from quickstudy.decide.living import Life
from quickstudy.experiments import lives
from quickstudy.experiments.across_seeds import shortfall
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.stage import Silent, Stage
from quickstudy.rl import Pendulum

OWN = [[[-130.0, -60.0]], [[-220.0, -110.0]]]  # of two seeds, in one episode of two tasks
BEST = [[[-100.0, -50.0]], [[-200.0, -100.0]]]


def _gathered(tmp_path: Path, **more: Any) -> tuple[dict[str, Life], dict[str, Any]]:
    options = Sampled(steps=1, seeds=(0, 1), out=tmp_path)
    for seed in options.seeds:
        (tmp_path / f"seed-{seed}").mkdir()
        found = {"np": OWN[seed], "simulator": BEST[seed]}
        kept = {name: Life(torch.tensor(returns), torch.tensor([1.0 + seed]), 4) for name, returns in found.items()}
        (tmp_path / f"seed-{seed}" / "lives.json").write_text(json.dumps(lives.to_json(kept)))
    stage = Stage("swing-up", options, "new", None, Silent())
    return lives.gather(options.seeds, stage, **more), json.loads((tmp_path / "evaluation.json").read_text())


def test_the_tasks_of_all_seeds_are_put_together(tmp_path: Path) -> None:
    found, evaluation = _gathered(tmp_path)
    assert found["np"].returns.tolist() == [[-130.0, -60.0, -220.0, -110.0]]
    assert found["np"].seconds.tolist() == [1.5] and "shortfall" not in evaluation
    assert evaluation["scores"]["np"]["episodes=1"]["mean"]["value"] == pytest.approx(-130.0)
    assert evaluation["scores"]["np"]["episodes=1"]["iqm"]["value"] == pytest.approx(-120.0)


def test_what_is_lost_of_the_reference(tmp_path: Path) -> None:
    _, evaluation = _gathered(tmp_path, reference="simulator")
    lost = evaluation["shortfall"]["np"]["episodes=1"]
    assert evaluation["shortfall"].keys() == {"np"}
    assert lost["value"] == pytest.approx((30 + 10 + 20 + 10) / (100 + 50 + 200 + 100))
    assert 10 / 112.5 <= lost["low"] < lost["value"] < lost["high"] <= 30 / 112.5


def test_shortfalls_of_returns_above_0() -> None:
    assert shortfall(torch.tensor([45.0, 90.0]), torch.tensor([50.0, 100.0])).mean() == pytest.approx(0.1)


def test_unseen_tasks_and_starts_depend_on_the_seeds_alone() -> None:
    env = Pendulum(num_envs=1)
    one, again, other = (lives.unseen(env, 50, 0, seed)["mass"] for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
    starts = [lives.initial_states(Sampled(steps=1, seed=seed)).initial_seed() for seed in (0, 0, 1)]
    assert starts[0] == starts[1] != starts[2]

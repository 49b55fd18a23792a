"""Navigation: the choice of learning rates, the rivals, and results of several seeds."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from recipes import running

from quickstudy.cli import main
from quickstudy.experiments import across_seeds
from quickstudy.recipes.navigation2d import measure as navigation_measure
from quickstudy.recipes.navigation2d.board import Navigation
from quickstudy.report.figures import Series


class Returns:
    def __init__(self, value: float):
        self.value = value

    def returns(self) -> torch.Tensor:
        return torch.full((2, 3), self.value)


class Walker:
    """A learner whose return is largest after steps with the learning rates 0.5, 0.05, 0.25."""

    def __init__(self, lr: Any = (), seen: int = 0):
        self.lr, self.seen = list(lr), seen

    def actor(self, lr: Any = None) -> "Walker":
        return Walker(lr)

    def adapt(self, episodes: Returns) -> "Walker":
        return Walker(self.lr, self.seen + 1)

    def rollout(self, board: Any, *, generator: torch.Generator) -> Returns:
        best = (0.5, 0.05, 0.25)
        return Returns(-sum(abs(a - b) for a, b in zip(self.lr[: self.seen], best, strict=False)))


def test_every_step_has_the_best_rate_on_validation_goals() -> None:
    options = Navigation(test_episodes=2)
    assert navigation_measure.rates(Walker(), options, 3) == (0.5, 0.05, 0.25)
    assert navigation_measure.rates(Walker(), options, 0) == ()


def test_rivals_are_measured_and_seeds_are_combined(tmp_path: Path) -> None:
    run = tmp_path / "run"
    small = [*running.TINY["navigation2d-maml"], "--test-steps", "1", "--rivals", "pretrained", "random", "oracle"]
    assert (
        main(
            [
                "run",
                "navigation2d-maml",
                *small,
                "--oracle-steps",
                "2",
                "--seeds",
                "0",
                "1",
                "--parallel",
                "1",
                "--out",
                str(run),
            ]
        )
        == 0
    )
    metrics = json.loads((run / "result.json").read_text())["metrics"]
    counted = {f"{name}/{way}/steps={k}" for name in ("maml", "pretrained", "random") for way in WAYS for k in (0, 1)}
    assert set(metrics) == counted | {"oracle/return/steps=0"}
    kept = [json.loads((run / f"seed-{seed}" / "returns.json").read_text()) for seed in (0, 1)]
    alone = json.loads((run / "seed-1" / "result.json").read_text())["metrics"]
    returns = kept[1]["pretrained"]["return"]
    assert sum(returns[1]) / 6 == pytest.approx(alone["pretrained/return/steps=1"]["mean"], abs=1e-3)
    assert returns[0] == kept[1]["pretrained"]["return_by_transitions"][0]
    assert all(rate in (1.0, 0.5, 0.25, 0.1, 0.05) for rate in kept[0]["maml"]["rates"])

    found = json.loads((run / "evaluation.json").read_text())
    mean = found["scores"]["maml"]["steps=1"]["mean"]
    assert mean["value"] == pytest.approx(metrics["maml/return/steps=1"]["mean"], abs=1e-3)
    assert mean["low"] <= mean["value"] <= mean["high"]
    assert set(found["probability_of_improvement"]) == {f"maml over {x}" for x in ("pretrained", "random", "oracle")}
    assert {path.name for path in (run / "figures").glob("*.png")} == {"returns.png", "profiles.png"}
    assert (run / "seed-0" / "figures" / "walking.gif").read_bytes().startswith(b"GIF8")
    assert (run / "seed-0" / "pretrained" / "config.json").exists() and not (run / "seed-0" / "random").exists()


WAYS = ("return", "return_by_transitions")


def test_a_series_with_one_value_is_drawn_as_a_horizontal_line() -> None:
    level = across_seeds.level(Series("oracle", [0], [-2.0], [0.1]), 3)
    assert (level.x, level.mean, level.ci95) == ([0, 3], [-2.0, -2.0], [0.1, 0.1])
    line = Series("maml", [0, 1], [-40.0, -11.0], [1.0, 1.0])
    assert across_seeds.level(line, 1) is line

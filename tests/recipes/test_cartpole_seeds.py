"""Carts: results of several seeds, and the animation, which replays recorded actions."""

import json
from pathlib import Path

import pytest
import torch
from recipes import running

from quickstudy.cli import main
from quickstudy.decide.living import live
from quickstudy.experiments.lives import initial_states
from quickstudy.recipes.cartpole import carts
from quickstudy.recipes.cartpole.film import Recorded, Replayed
from quickstudy.recipes.cartpole.np import Options


def test_replayed_actions_give_the_same_returns() -> None:
    sizes = {"test_tasks": 3, "episodes": 2, "horizon": 40, "candidates": 8, "plan": 4}
    options, kept = Options(steps=1, methods=("simulator",), **sizes), {}
    lives = carts.measure({}, options, lambda text: None, wrap=lambda name, x: kept.setdefault(name, Recorded(x)))
    replayed = Replayed(kept["simulator"].actions)
    found = live(carts.unseen_carts(options), replayed, episodes=2, generator=initial_states(options))
    assert torch.equal(found.returns, lives["simulator"].returns) and len(found.returns.unique()) > 1


def test_results_of_seeds_are_combined_and_the_first_cart_is_animated(tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["run", "cartpole-np", *running.TINY["cartpole-np"], "--methods", "np", "reinforce"]
    assert main([*arguments, "--seeds", "0", "1", "--parallel", "1", "--out", str(run)]) == 0
    found = json.loads((run / "evaluation.json").read_text())
    metrics = json.loads((run / "result.json").read_text())["metrics"]
    assert {name: len(rows) for name, rows in found["scores"].items()} == {"np": 2, "reinforce": 3}
    mean = found["scores"]["reinforce"]["episodes=3"]["mean"]["value"]
    assert mean == pytest.approx(metrics["reinforce/return/episode=3"]["mean"])
    lives = [json.loads((run / f"seed-{seed}" / "lives.json").read_text()) for seed in (0, 1)]
    pairs = [p for life in lives for p in zip(life["np"]["returns"][-1], life["reinforce"]["returns"][-1], strict=True)]
    wins = sum((ours > theirs) + (ours == theirs) / 2 for ours, theirs in pairs) / len(pairs)  # on the same cart
    assert found["probability_of_improvement"]["np over reinforce"]["value"] == pytest.approx(wins)
    assert {path.stem for path in (run / "figures").glob("*.png")} == {"episodes", "seconds", "profiles"}
    assert (run / "seed-1" / "figures" / "cart.gif").read_bytes().startswith(b"GIF8")

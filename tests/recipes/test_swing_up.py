"""Swinging up: the files of a run, what is paired, the planner, and argument checks."""

import json
from pathlib import Path

import pytest
import torch
from recipes import running

from quickstudy.cli import main
from quickstudy.decide.transitions import Transitions
from quickstudy.recipes.swing_up.recipe import METHODS, Options, act, shortfalls, untrained
from quickstudy.recipes.swing_up.systems import SYSTEMS, Name

every_system = pytest.mark.parametrize("system", SYSTEMS)


@every_system
def test_the_true_physics_swings_up(system: Name) -> None:
    """From the same starts a network that was never trained stays far below."""
    options = Options(steps=1, system=system, test_tasks=4, episodes=1, candidates=60, width=8)
    family = Transitions.from_environment(SYSTEMS[system].training())
    learners = untrained(options, family.dx, family.dy)
    found = {name: act(name, learners, family.encoding, options) for name in ("simulator", "fixed")}
    lost = shortfalls(found)
    assert list(lost) == ["fixed/shortfall/episode=1"] and lost["fixed/shortfall/episode=1"].mean > 0.3
    assert found["simulator"].returns.mean() > {"pendulum": -250.0, "cart-pole": 45.0}[system]


def test_every_method_begins_in_the_same_states() -> None:
    """With no time to act, the return is the reward of the start, which is known before the first torque."""
    options = Options(steps=1, test_tasks=5, episodes=3, horizon=1, candidates=3, width=8)
    family = Transitions.from_environment(SYSTEMS["pendulum"].training())
    learners = untrained(options, family.dx, family.dy)
    first, *others = (act(name, learners, family.encoding, options).returns for name in METHODS)
    for returns in others:
        torch.testing.assert_close(returns, first, rtol=0, atol=0.005)  # the cost of torques is at most 0.004
    assert len(first.unique()) == 15


@every_system
def test_seeds_are_combined(system: Name, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["run", "swing-up", *running.TINY["swing-up"], "--system", system, "--methods", "np", "simulator"]
    assert main([*arguments, "--seeds", "0", "1", "--parallel", "1", "--out", str(run)]) == 0
    found = json.loads((run / "evaluation.json").read_text())
    metrics = json.loads((run / "result.json").read_text())["metrics"]
    lives = [json.loads((run / f"seed-{seed}" / "lives.json").read_text()) for seed in (0, 1)]
    own, best = ([sum(life[name]["returns"][-1]) for life in lives] for name in ("np", "simulator"))
    lost = found["shortfall"]["np"]["episodes=2"]["value"]
    assert lost == pytest.approx((sum(best) - sum(own)) / abs(sum(best)), rel=1e-5)
    assert {"np/return/episode=2", "np/shortfall/episode=2", "simulator/return/episode=1"} <= metrics.keys()
    assert {path.stem for path in (run / "figures").glob("*.png")} == {"episodes", "profiles"}
    assert (run / "seed-0" / "np").is_dir() and not (run / "seed-0" / "fixed").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--methods", "pilco"], "--methods pilco: expected some of np simulator alpaca fixed"),
        (["--methods", "np", "np"], "--methods np np: expected some of"),
        (["--episodes", "0"], "--episodes 0: expected at least 1"),
        (["--horizon", "0"], "--horizon 0: expected at least 1"),
    ],
)
def test_invalid_options_raise_an_error_before_training(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "swing-up", *arguments, "--out", str(tmp_path / "run")]) != 0
    assert says in capsys.readouterr().err and not (tmp_path / "run" / "np").exists()

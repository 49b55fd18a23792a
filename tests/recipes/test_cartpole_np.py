"""Carts: the test carts, the files of a run, and argument checks."""

import json
from pathlib import Path

import pytest
import torch
from recipes import running

from quickstudy.cli import main
from quickstudy.experiments.lives import unseen
from quickstudy.recipes.cartpole import carts
from quickstudy.recipes.cartpole.np import Options
from quickstudy.report.palette import COLOURS


@pytest.mark.parametrize("unknown", ["masses", "gains"])
def test_unseen_carts_depend_on_test_seed_and_seed_alone(unknown: carts.Carts) -> None:
    env = carts.environment(unknown)
    one, again, other = (unseen(env, 50, 0, seed) for seed in (0, 0, 1))
    assert all(torch.equal(one[k], again[k]) for k in one)
    assert not torch.equal(one["masscart"], other["masscart"])
    assert bool((one["force_mag"] < 0).any()) == (unknown == "gains")
    assert 0.1 <= one["masscart"].min() and one["masscart"].max() <= 3.0
    assert 0.01 <= one["masspole"].min() and one["masspole"].max() <= 1.0


def test_a_method_does_not_depend_on_the_other_methods() -> None:
    def returns(*methods: str) -> list[list[float]]:
        sizes = {"test_tasks": 3, "episodes": 2, "horizon": 30, "candidates": 8, "plan": 6, "ensemble_steps": 2}
        options = Options(steps=1, methods=methods, **sizes)
        return carts.measure({}, options, lambda text: None)["simulator"].returns.tolist()

    assert returns("simulator") == returns("pets", "simulator")


@pytest.mark.parametrize("planner", ["mppi", "cem"])
def test_both_planners_balance_with_the_true_physics(planner: carts.Planner) -> None:
    options = Options(
        steps=1, test_tasks=4, methods=("simulator",), episodes=1, horizon=60, candidates=40, planner=planner
    )
    said: list[str] = []
    assert carts.measure({}, options, said.append)["simulator"].returns.tolist() == [[60.0] * 4]
    assert said[0].startswith("true simulator: 60 of 1 episodes")


def test_returns_are_written_to_lives_json(tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["run", "cartpole-np", *running.TINY["cartpole-np"], "--methods", "np", "reinforce"]
    assert main([*arguments, "--unknown", "gains", "--out", str(run)]) == 0
    lives = json.loads((run / "lives.json").read_text())
    assert {name: len(life["returns"]) for name, life in lives.items()} == {"np": 2, "reinforce": 3}
    assert all(len(life["seconds"]) == len(life["returns"]) for life in lives.values())
    metrics = json.loads((run / "result.json").read_text())["metrics"]
    mean = sum(lives["np"]["returns"][1]) / 4
    assert metrics["np/return/episode=2"]["mean"] == pytest.approx(mean)
    assert (run / "np").is_dir() and not (run / "fixed").exists()


@pytest.mark.parametrize("method", ["cnp", "maml", "alpaca", "actor-critic", "ppo"])
def test_optional_methods(method: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["run", "cartpole-np", *running.TINY["cartpole-np"], "--methods", method, "--start", "1"]
    assert main([*arguments, "--imagined", "1", "--out", str(run)]) == 0
    lives = json.loads((run / "lives.json").read_text())
    assert {name: len(life["returns"]) for name, life in lives.items()} == {method: 3 if method == "ppo" else 2}
    trained = {folder.name for folder in run.iterdir() if (folder / "checkpoints").is_dir()}
    assert trained == ({carts.LEARNER[method]} if method in carts.LEARNER else set())
    assert method in COLOURS


def test_methods_keep_their_random_numbers() -> None:
    first = {"np": 0, "simulator": 1, "fixed": 2, "pets": 3, "dqn": 4, "reinforce": 5}
    assert first.items() <= carts.PLACES.items() and len(set(carts.PLACES.values())) == len(carts.PLACES)
    assert set(carts.METHODS) == set(carts.PLACES)


def test_unknown_methods_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "cartpole-np", "--methods", "pilco", "--out", str(tmp_path / "run")]) != 0
    assert "--methods pilco: expected some of np simulator fixed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--methods", "np", "np"], "--methods np np: expected some of"),
        (["--episodes", "0"], "--episodes 0: expected at least 1"),
        (["--candidates", "0"], "--candidates 0: expected at least 1"),
        (["--imagined", "-1"], "--imagined -1: expected at least 0"),
    ],
)
def test_invalid_options_raise_an_error_before_training(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "cartpole-np", *arguments, "--out", str(tmp_path / "run")]) != 0
    assert says in capsys.readouterr().err and not (tmp_path / "run" / "np").exists()

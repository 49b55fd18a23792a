"""The error of learned carts by the number of transitions seen: what is measured, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from recipes import running

from quickstudy.cli import main
from quickstudy.recipes.cartpole import carts, dynamics


def test_a_learner_is_measured_on_each_cart_by_itself() -> None:
    """In parts of a few carts, as in one."""
    family = carts.family("gains")
    unseen = family.sample(5, support=30, query=8, split="test", generator=torch.Generator().manual_seed(0))
    learner = dynamics.learner("alpaca", family.dx, family.dy, 8)
    whole = dynamics.error(learner, unseen, 20)
    belief = learner.adapt(unseen.support.first(20))(unseen.query.x)  # type: ignore[operator]
    torch.testing.assert_close(whole, (belief.mean - unseen.query.y).square().mean((1, 2)).sqrt())
    most, dynamics.MOST_PAIRS = dynamics.MOST_PAIRS, 600
    try:
        torch.testing.assert_close(dynamics.error(learner, unseen, 20), whole)
    finally:
        dynamics.MOST_PAIRS = most


@pytest.mark.parametrize("name", [name for name in dynamics.NAMES if name not in dynamics.GRIDS])
def test_every_learner_predicts_carts(name: str) -> None:
    family = carts.family("masses")
    unseen = family.sample(2, support=4, query=3, split="test", generator=torch.Generator().manual_seed(0))
    learner = dynamics.learner(name, family.dx, family.dy, 8)
    for count in (0, 4):
        assert dynamics.error(learner, unseen, count).isfinite().all()


def test_the_worst_tenth_is_of_the_carts(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(["run", "cartpole-dynamics", *running.TINY["cartpole-dynamics"], "--out", str(out)]) == 0
    kept = json.loads((out / "errors.json").read_text())
    assert kept["seen"] == [0, 5, 20] and set(kept["errors"]) == {"np", "alpaca", "fixed"}
    metrics = json.loads((out / "result.json").read_text())["metrics"]
    values = kept["errors"]["np"][1]
    assert metrics["np/rmse/k=5"]["mean"] == pytest.approx(sum(values) / 40)
    assert metrics["np/worst_tenth/k=5"]["mean"] == pytest.approx(sum(sorted(values)[-4:]) / 4)
    fixed = [metrics[f"fixed/rmse/k={count}"]["mean"] for count in (0, 5, 20)]
    assert fixed[0] == fixed[1] == fixed[2]
    assert (out / "figures" / "errors.png").exists() and (out / "figures" / "worst.png").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--models", "conv-cnp"], "--models conv-cnp: it takes at most three inputs"),
        (["--models", "np", "np"], "--models np np: expected at least one, each once"),
        (["--transitions", "-1"], "--transitions -1: expected numbers of transitions, 0 or more"),
    ],
)
def test_invalid_options_are_refused_before_training(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["run", "cartpole-dynamics", *arguments, "--out", str(out)]) != 0
    assert says in capsys.readouterr().err and not out.exists()

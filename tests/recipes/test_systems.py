"""`quickstudy demo --all`: regression, navigation and carts on one page."""

from pathlib import Path
from typing import Any

import pytest

from quickstudy.cli import main
from quickstudy.recipes import RECIPES, systems

SIZES: dict[str, dict[str, Any]] = {
    "demo": {"steps": 2, "process_steps": 2, "width": 8, "test_tasks": 3, "shots": (2,)},
    "navigation2d-maml": {"steps": 1, "tasks": 2, "episodes": 2, "width": 4, "test_tasks": 3, "test_episodes": 2},
    "cartpole-np": {
        **{"steps": 2, "width": 8, "latent": 4, "test_tasks": 2, "episodes": 1, "model_free_episodes": 2},
        **{"horizon": 8, "candidates": 5, "plan": 4},
    },
}


def test_the_settings_are_options_of_their_recipes() -> None:
    for recipe, options in systems.SMALL.items():
        RECIPES[recipe].load().Options(**options)


def test_demo_all_writes_one_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {recipe: options | SIZES[recipe] for recipe, options in systems.SMALL.items()}
    monkeypatch.setattr(systems, "SMALL", small)
    out = tmp_path / "all"
    assert main(["demo", "--all", "--out", str(out), "--seed", "1"]) == 0
    page = (out / "report.html").read_text()
    assert "<h1>demo, navigation2d-maml and cartpole-np</h1>" in page
    assert all(f"<caption>{recipe}</caption>" in page for recipe in small)
    assert "data:image/gif" in page and page.count("data:image/png") >= 7
    kept = {path: path.read_bytes() for path in out.glob("*/result.json")}
    assert len(kept) == 3
    assert main(["demo", "--out", str(out), "--seed", "1", "--all"]) == 0  # shows the results
    assert {path: path.read_bytes() for path in kept} == kept
    capsys.readouterr()
    assert main(["demo", "--all", "--out", str(out)]) == 1
    assert "--seed was 1 and is now 0: give --seed 1 to continue that run" in capsys.readouterr().err
    assert main(["demo", "--all", "--out", str(out / "demo")]) == 1
    assert "holds a run; choose another --out" in capsys.readouterr().err
    assert main(["demo", "--all", "--steps", "3"]) == 2

"""The four systems of quickstudy, small: what `quickstudy demo --all` runs, one after the other, onto one page.

MAML and Neural Processes on regression (the recipe `demo`), MAML on reinforcement learning (2-D navigation), a Neural
Process that controls what it learns (carts of unknown masses, length and force).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from quickstudy.experiments.options import Options
from quickstudy.recipes import RECIPES

SMALL: dict[str, dict[str, Any]] = {
    "demo": {},
    "navigation2d-maml": {
        **{"steps": 100, "tasks": 10, "episodes": 10, "width": 64},
        **{"test_tasks": 40, "test_episodes": 20, "rivals": ("pretrained",)},
    },
    "cartpole-np": {
        **{"unknown": "gains", "steps": 3_000, "methods": ("np", "simulator", "fixed", "reinforce")},
        **{"test_tasks": 8, "episodes": 3, "model_free_episodes": 60, "horizon": 200},
    },
}
"""Recipes and what differs from their own settings."""


def each(folder: Path, run: Callable[[str, Options], object], **shared: Any) -> list[Path]:
    """Let `run` run every recipe of `SMALL` in a folder of its own below `folder`; the folders.

    Args:
        folder: of all.
        run: what a recipe's name and its options are given to.
        shared: options of all, as the seed and the device.
    """
    folders = []
    for recipe, options in SMALL.items():
        folders.append(folder / recipe)
        run(recipe, RECIPES[recipe].load().Options(**options, **shared, out=folders[-1]))
    return folders

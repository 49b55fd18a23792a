"""Regression, navigation and carts in small: `quickstudy demo --all` runs them one after the other and writes one page.

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
"""Recipes, and the options that differ from their defaults."""


def each(folder: Path, run: Callable[[str, Options], object], **shared: Any) -> list[Path]:
    """Run every recipe of `SMALL` in a folder of its own below `folder`; return the folders.

    Args:
        folder: of all runs.
        run: called with the name and the options of each recipe.
        shared: options for all of them, such as the seed and the device.
    """
    folders = []
    for recipe, options in SMALL.items():
        folders.append(folder / recipe)
        run(recipe, RECIPES[recipe].load().Options(**options, **shared, out=folders[-1]))
    return folders

"""Small versions of three recipes, which `quickstudy demo --all` runs one after the other.

They are MAML and Neural Processes in regression (`demo`), MAML in reinforcement learning (2-D navigation), and control
with a Neural Process (carts of unknown masses, length and force).
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
"""The recipes, and their options that differ from the defaults."""


def each(folder: Path, run: Callable[[str, Options], object], **shared: Any) -> list[Path]:
    """Run every recipe of `SMALL` in its own folder within `folder`; return these folders.

    Args:
        folder: folder of all runs.
        run: is called with the name and the options of each recipe.
        shared: options for all recipes, such as the seed and the device.
    """
    folders = []
    for recipe, options in SMALL.items():
        folders.append(folder / recipe)
        run(recipe, RECIPES[recipe].load().Options(**options, **shared, out=folders[-1]))
    return folders

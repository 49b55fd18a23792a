"""Copy the trained learners of runs of the recipe `page` into the package.

python -m quickstudy.recipes.page.ship RUN...
"""

import sys
from pathlib import Path

import quickstudy as qs
from quickstudy.experiments.execute import reopen
from quickstudy.recipes.page.recipe import Options
from quickstudy.runs.shipped import WEIGHTS

OTHERS = ("tnp", "rbf")  # comes from the recipe gp, which trains a larger one for longer


def ship(run: Path) -> list[Path]:
    """Save every learner of the run as LEARNER/FAMILY among the learners that come with the package."""
    _, options = reopen(run)
    assert isinstance(options, Options), f"{run} is no run of the recipe page"
    names = [name for name in options.learners if (name, options.family) != OTHERS]
    return [qs.save(qs.load(run / name), WEIGHTS / name / options.family) for name in names]


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        print(*ship(Path(folder)), sep="\n")

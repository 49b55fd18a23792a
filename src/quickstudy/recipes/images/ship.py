"""Copy the trained processes of runs of the recipe `images` into the package, where the page completes digits by them.

python -m quickstudy.recipes.images.ship RUN...
"""

import sys
from pathlib import Path

import quickstudy as qs
from quickstudy.experiments.execute import reopen
from quickstudy.recipes.images.options import Options
from quickstudy.runs.shipped import WEIGHTS

SAMPLES = 16  # latents of a prediction: fewer than in training's measurements, for speed


def ship(run: Path) -> Path:
    """Save the process of a run as MODEL/digits among the learners that come with the package."""
    _, options = reopen(run)
    assert isinstance(options, Options), f"{run} is no run of the recipe images"
    learner = qs.load(run)
    if isinstance(learner, qs.NeuralProcess):
        learner.samples = SAMPLES
    return qs.save(learner, WEIGHTS / options.model / "digits")


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        print(ship(Path(folder)))

"""Tiny runs of every recipe, as the tests of recipes and of the command line use them."""

import csv
import math
from pathlib import Path

from quickstudy.experiments.stage import Silent


class Kept(Silent):
    """A reporter that keeps all lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """Keep one line."""
        self.lines.append(text)


TINY: dict[str, list[str]] = {
    "demo": ["--steps", "3", "--process-steps", "3", "--width", "8", "--test-tasks", "4", "--shots", "2", "3"],
    "sinusoid-maml": ["--steps", "3", "--width", "8", "--test-tasks", "4", "--shots", "2", "3"],
    "sinusoid-pretrained": ["--steps", "3", "--width", "8", "--test-tasks", "4", "--shots", "2", "3"],
    "sinusoid-oracle": ["--steps", "3", "--width", "8", "--test-tasks", "4"],
    "sinusoid-meta-sgd": ["--steps", "3", "--width", "8", "--test-tasks", "4", "--shots", "2", "3"],
    "sinusoid-compare": [
        *("--steps", "3", "--width", "8", "--test-tasks", "4", "--shots", "2", "3", "--support", "2", "3"),
        *("--trials", "1", "--trial-steps", "2", "--methods", "maml", "pretrained", "cnp"),
    ],
    "sinusoid-np": ["--steps", "3", "--width", "8", "--test-tasks", "4", "--shots", "2", "3"],
    "few-rows": [
        *("--steps", "3", "--learners", "intercept", "line"),
        *("--tables", "sleepstudy", "Theoph", "Indometh", "BodyWeight"),
    ],
    "gp": [
        *("--steps", "3", "--test-tasks", "4", "--orders", "2", "--autoregressive-tasks", "4"),
        *("--times", "1", "2", "--larger-tasks", "4"),
    ],
    "gp-kl": [
        *("--steps", "3", "--model", "cnp", "--test-tasks", "4", "--orders", "2", "--autoregressive-tasks", "4"),
        *("--times", "1", "2", "--larger-tasks", "4"),
    ],
    "gp-np": ["--steps", "3", "--width", "8", "--test-tasks", "4", "--samples", "3"],
    "gp-cnp": ["--steps", "3", "--width", "8", "--test-tasks", "4"],
    "sawtooth": [
        *("--model", "cnp", "--steps", "3", "--tasks", "2", "--test-tasks", "4"),
        *("--orders", "2", "--autoregressive-tasks", "4"),
    ],
    "predator-prey": [
        *("--model", "cnp", "--steps", "3", "--tasks", "2", "--test-tasks", "4", "--simulation-step", "1"),
        *("--orders", "2", "--autoregressive-tasks", "4"),
    ],
    "images": ["--model", "cnp", "--steps", "3", "--tasks", "2", "--test-tasks", "4", "--seen", "5"],
    "cartpole-np": [
        *("--steps", "3", "--width", "8", "--latent", "4", "--test-tasks", "4", "--episodes", "2", "--horizon", "10"),
        *("--model-free-episodes", "3", "--candidates", "5", "--plan", "6", "--ensemble-steps", "2"),
    ],
    **{
        f"navigation2d-{name}": [
            *("--steps", "3", "--tasks", "2", "--episodes", "2", "--width", "4", "--test-tasks", "6"),
            *("--test-episodes", "3"),
        ]
        for name in ("maml", "promp", "pretrained", "oracle")
    },
    "digits-norm": [
        *("--steps", "3", "--filters", "4", "--tasks", "2", "--test-tasks", "4", "--validation-tasks", "2"),
        *("--inner-steps", "2"),
    ],
    "table": ["--steps", "3", "--width", "8", "--folds", "2", "--task", "plant", "--x", "day", "--y", "height"],
}


def tiny(recipe: str, folder: Path) -> list[str]:
    """The arguments of a run that takes a second or less."""
    return [*TINY[recipe], *(["--data", str(plants(folder))] if recipe == "table" else [])]


def plants(folder: Path) -> Path:
    """Write a CSV file with the growth of seven plants, and return its path."""
    path = folder / "plants.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["plant", "day", "height"])
        for plant in range(7):
            for day in range(6 + plant % 2):
                writer.writerow([f"p{plant}", day, 20 + (3 + plant) * day + math.sin(day + plant)])
    return path

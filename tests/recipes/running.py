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
    "bandit-rl2": ["--steps", "3", "--tasks", "4", "--width", "4", "--pulls", "6", "--test-tasks", "4"],
    "locomotion-maml": [
        *("--steps", "3", "--tasks", "2", "--episodes", "2", "--width", "4", "--test-tasks", "4", "--horizon", "6"),
        *("--test-episodes", "2", "--test-steps", "1"),
    ],
    "gridnavi-rl2": ["--steps", "3", "--tasks", "4", "--width", "4", "--cells", "3", "--test-tasks", "4"],
    "gridnavi-varibad": [
        "--reread-steps",
        "2",
        "--steps",
        "3",
        "--tasks",
        "4",
        "--width",
        "4",
        "--cells",
        "3",
        "--test-tasks",
        "4",
    ],
    "navigation2d-pearl": [
        *("--steps", "3", "--tasks", "2", "--train-tasks", "4", "--width", "4", "--gradient-steps", "2"),
        *("--more", "2", "--test-tasks", "4"),
    ],
    "cartpole-dynamics": [
        *("--steps", "3", "--width", "8", "--test-tasks", "40", "--test-query", "16", "--tasks", "4"),
        *("--models", "np", "alpaca", "fixed", "--transitions", "0", "5", "20"),
    ],
    "page": ["--steps", "3", "--process-steps", "3", "--test-tasks", "4", "--shots", "0", "2"],
    "swing-up": [
        *("--steps", "3", "--width", "8", "--latent", "4", "--test-tasks", "4", "--episodes", "2", "--horizon", "8"),
        *("--candidates", "5", "--tasks", "4", "--query", "16"),
    ],
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
    "pharmacokinetics": ["--steps", "3", "--simulated", "0", "--task", "who", "--x", "hours", "--y", "level"],
}


def tiny(recipe: str, folder: Path) -> list[str]:
    """The arguments of a run that takes a second or less."""
    return [*TINY[recipe], *[str(word) for word in OWN_DATA.get(recipe, lambda _: [])(folder)]]


def samples(folder: Path) -> Path:
    """Write a CSV file with blood samples of five people who swallowed a drug, and return its path."""
    path = folder / "samples.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["who", "hours", "level", "dose"])
        for who in range(5):
            fast, slow = 1.5 + 0.2 * who, 0.1 + 0.01 * who
            for hour in (0, 0.5, 1, 2, 4, 8, 12):
                level = 0 if hour == 0 else 9 * (math.exp(-slow * hour) - math.exp(-fast * hour))
                writer.writerow([f"p{who}", hour, round(level * (1 + 0.1 * math.sin(hour + who)), 3), 4])
    return path


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


OWN_DATA = {
    "table": lambda folder: ["--data", plants(folder)],
    "pharmacokinetics": lambda folder: ["--data", samples(folder)],
}
"""Further arguments of recipes whose data are the user's own."""

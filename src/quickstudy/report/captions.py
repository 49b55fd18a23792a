"""What is said below the figures of a run."""

from pathlib import Path

from PIL import Image

from quickstudy.report.figures import CAPTION

COMMON = {
    "functions": "The same unseen tasks through every learner. Grey: the truth. Dots: the points seen.",
    "functions-few": "The same tasks again, from fewer points.",
    "adaptation": "Unseen tasks before and after gradient steps. Grey: the truth. Dots: the points seen.",
    "steps": "Error on unseen tasks by number of gradient steps, with 95% intervals over tasks.",
    "beliefs": "Unseen tasks: mean, band of two standard deviations and sampled functions. Grey: the truth.",
    "groups": "Held-out groups, predicted from their first rows (filled). Hollow: the rows to be predicted.",
    "told": "Unseen tasks, by a network that is told amplitude and phase. Grey: the truth.",
    "walks": "The way to unseen goals (stars) after every gradient step, three episodes each.",
    "walking": "One goal, before and after every gradient step.",
    "cart": "An unseen cart in its first episode and in its last.",
    "episodes": "Return by episode in unseen tasks, with 95% bands.",
    "seconds": "The same by seconds of acting and thinking, all carts together.",
    "returns": "Return of an episode in unseen tasks, with 95% intervals.",
    "profiles": "Share of seeds and tasks with a return above each, with 95% bands.",
    "accuracy": "Accuracy on unseen tasks by number of gradient steps, with 95% intervals.",
    "errors": "Error on unseen tasks, with 95% intervals; the least at the top. Hollow at the edge: beyond the frame.",
}
"""Captions by a figure's name, for files that hold none of their own."""


def caption(path: Path) -> str:
    """The caption within the file, or else the one that figures of this name have, or else the name itself."""
    return _within(path) or COMMON.get(path.stem) or path.stem.replace("-", " ")


def _within(path: Path) -> str:
    try:
        with Image.open(path) as picture:
            return str(picture.info.get(CAPTION, ""))
    except (OSError, ValueError):  # no picture, or a damaged one: it is shown as any other
        return ""

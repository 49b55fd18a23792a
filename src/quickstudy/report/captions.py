"""Captions of the figures of a run."""

from pathlib import Path

from PIL import Image

from quickstudy.report.figures import CAPTION

COMMON = {
    "functions": "The same unseen tasks, as each learner predicts them. Grey: the truth. Dots: the support points.",
    "functions-few": "The same tasks, predicted from fewer points.",
    "adaptation": "Unseen tasks before and after gradient steps. Grey: the truth. Dots: the support points.",
    "steps": "Error on unseen tasks by number of gradient steps, with 95% intervals over tasks.",
    "beliefs": "Unseen tasks: mean, band of two standard deviations and sampled functions. Grey: the truth.",
    "groups": "Held-out groups, predicted from their first rows (filled). Hollow: the rows to be predicted.",
    "told": "Unseen tasks, predicted by a network that is given amplitude and phase. Grey: the truth.",
    "walks": "Paths to unseen goals (stars) after every gradient step, three episodes each.",
    "walking": "Paths to one goal, before and after every gradient step.",
    "cart": "An unseen cart in its first and in its last episode.",
    "episodes": "Return of each episode in unseen tasks, with 95% bands.",
    "seconds": "Return of each episode by seconds of acting and computing, summed over all carts.",
    "returns": "Return of an episode in unseen tasks, with 95% intervals.",
    "profiles": "Share of seeds and tasks with a return above each value, with 95% bands.",
    "accuracy": "Accuracy on unseen tasks by number of gradient steps, with 95% intervals.",
    "errors": "Error on unseen tasks, with 95% intervals, the least at the top. Hollow: beyond the edge of the figure.",
}
"""Captions by the name of a figure, for files that contain none."""


def caption(path: Path) -> str:
    """Return the caption within the file, or else the one of figures of this name, or else the name itself."""
    return _within(path) or COMMON.get(path.stem) or path.stem.replace("-", " ")


def _within(path: Path) -> str:
    try:
        with Image.open(path) as picture:
            return str(picture.info.get(CAPTION, ""))
    except (OSError, ValueError):  # not a picture, or a damaged one
        return ""

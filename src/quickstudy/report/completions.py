"""Pictures of completed images: the pixels seen, the mean and the standard deviation of the prediction, the image."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib.style as mplstyle
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from quickstudy.report.figures import STYLE, Drawing

UNSEEN = (0.55, 0.7, 0.9)  # colour of the pixels that were not seen


class Completion(NamedTuple):
    """The prediction of an image from some of its pixels.

    Args:
        title: such as "10 pixels".
        seen: which pixels were seen, `[height, width]`, bool.
        mean, sd: of every pixel and channel, `[height, width, channels]`; the mean in the units of the image.
    """

    title: str
    seen: Any
    mean: Any
    sd: Any


class Completed(NamedTuple):
    """An image `[height, width, channels]`, from 0 to 1, and its completions."""

    image: Any
    completions: Sequence[Completion]


def completions(rows: Sequence[Completed], *, title: str = "") -> Figure:
    """Draw a row for each image: the image, and for each number of pixels those seen, the mean and the deviation.

    Standard deviations are white at 0 and black at the largest of the figure.

    Args:
        rows: the images, each with completions from the same numbers of pixels.
        title: title of the figure.
    """
    titles = [completion.title for completion in rows[0].completions]
    most = max(float(np.max(_array(c.sd))) for row in rows for c in row.completions) or 1.0
    with mplstyle.context(STYLE):
        figure = Drawing(figsize=(0.72 * (1 + 3.25 * len(titles)), 0.72 * len(rows) + 0.75))
        figure.suptitle(title, fontsize=9, fontweight="bold")
        widths = [1.0, *[3.25] * len(titles)]
        parts = list(figure.subfigures(1, len(widths), width_ratios=widths, wspace=0.02, squeeze=False).flat)
        grids = [part.subplots(len(rows), 3 if j else 1, squeeze=False) for j, part in enumerate(parts)]
        for i, row in enumerate(rows):
            _show(grids[0][i, 0], row.image)
            for grid, completion in zip(grids[1:], row.completions, strict=True):
                image, seen = _colours(row.image), np.asarray(_array(completion.seen), bool)
                _show(grid[i, 0], np.where(seen[..., None], image, UNSEEN))
                _show(grid[i, 1], completion.mean)
                _show(grid[i, 2], 1 - _array(completion.sd).mean(2, keepdims=True) / most)
        grids[0][0, 0].set_title("image", fontsize=7.5)
        for grid, name in zip(grids[1:], titles, strict=True):
            for axes, word in zip(grid[0], (name, "mean", "deviation"), strict=True):
                axes.set_title(word, fontsize=7.5)
    return figure


def _show(axes: Axes, image: Any) -> None:
    axes.imshow(_colours(image), interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color("#BBBBBB")
        spine.set_linewidth(0.5)


def _colours(image: Any) -> np.ndarray:
    """An image with three channels from 0 to 1."""
    found = np.clip(_array(image), 0, 1)
    return np.repeat(found, 3, 2) if found.shape[2] == 1 else found


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=float)

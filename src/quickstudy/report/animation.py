"""Animations: films side by side under captions, as a GIF that repeats.

A film is an array of pictures `[F, height, width, 3]`, uint8, as `quickstudy.rl.envs.filmed.Filmed` records them.
"""

import io
import math
from collections.abc import Mapping
from pathlib import Path

import matplotlib.style as mplstyle
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from quickstudy.report.figures import STYLE
from quickstudy.report.palette import INK
from quickstudy.runs import atomic

Film = NDArray[np.uint8]
LEVELS = 32  # different values of red, green and blue
COLOURS = 255  # in a GIF's palette; one more marks pixels that have not changed
GAP, CAPTION = 8, 24  # pixels between films, and height of the captions in pixels


def animate(path: str | Path, films: Mapping[str, Film], *, fps: float = 25, hold: float = 1.0) -> Path:
    """Write films side by side, each under its caption, as one GIF.

    Args:
        path: path of the GIF; its folder is created if needed.
        films: pictures `[F, height, width, 3]` by caption; the last picture of a shorter film stays, paler, to the end.
        fps: pictures per second, at most 50.
        hold: seconds for which the last picture stays longer.

    Raises:
        ValueError: if there is no film, or an array that is not a film; see `write_gif`.
        OSError: if the file cannot be written; a file of that name is then unchanged.

    >>> import torch, quickstudy as qs
    >>> from quickstudy.rl.envs.filmed import Filmed
    >>> cart = Filmed(qs.rl.CartPole(num_envs=1, horizon=20), every=2, shrink=2)
    >>> cart.set_tasks(cart.sample_tasks(1))
    >>> for rule in (lambda state: state[..., 2] > 9, lambda state: state[..., 2] > 0):
    ...     state, _ = cart.reset()
    ...     for _ in range(20):
    ...         state = cart.step(rule(state).long()).observation
    >>> animate("cart.gif", {"pushes left": cart.films[0], "pushes to where it leans": cart.films[1]}).name
    'cart.gif'
    """
    return write_gif(path, beside(films), fps=fps, hold=hold)


def beside(films: Mapping[str, Film]) -> Film:
    """Join films into one, `[F, height, width, 3]`, as long as the longest; arguments as of `animate`."""
    if not films:
        raise ValueError("there is no film to show; give {caption: pictures [F, height, width, 3]}")
    for caption, film in films.items():
        _check(f"the film {caption!r}", film)
    longest = max(map(len, films.values()))
    height = max(film.shape[1] for film in films.values())
    columns: list[Film] = []
    for caption, film in films.items():
        over = np.repeat(film[-1:] // 2 + 128, longest - len(film), 0)
        below = np.full((longest, height - film.shape[1], film.shape[2], 3), 255, np.uint8)
        above = np.repeat(_drawn_text(caption, film.shape[2])[None], longest, 0)
        columns += [np.concatenate([above, np.concatenate([film, over]), below], 1)]
        columns += [np.full((longest, CAPTION + height, GAP, 3), 255, np.uint8)]
    return np.concatenate(columns[:-1], 2)


def write_gif(path: str | Path, film: Film, *, fps: float = 25, hold: float = 0.0) -> Path:
    """Write a film as a GIF with one palette for all pictures, which stores only what changes between pictures.

    GIFs count time in hundredths of a second, so single pictures last a little longer or shorter; the total is right.

    Args:
        path, fps, hold: as of `animate`.
        film: pictures `[F, height, width, 3]`.

    Raises:
        ValueError: if `film` is not a film, or `fps` is not above 0 and at most 50 (viewers slow faster ones down).
        OSError: if the file cannot be written; a file of that name is then unchanged.

    >>> write_gif("grey.gif", np.full((3, 8, 8, 3), 128, np.uint8)).stat().st_size < 200
    True
    """
    _check("the film", film)
    if not 0 < fps <= 50:
        raise ValueError(
            f"fps={fps!r}; expected a number above 0 and at most 50, which is as fast as viewers show GIFs"
        )
    if not (math.isfinite(hold) and hold >= 0):
        raise ValueError(f"hold={hold!r}; expected a number of seconds, at least 0")
    ends = [round(100 * (i + 1) / fps) for i in range(len(film))]
    lasting = [10 * (end - start) for start, end in zip([0, *ends], ends, strict=False)]  # milliseconds
    lasting[-1] += 10 * round(100 * hold)
    first, *rest = _in_few_colours(film)
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=lasting, loop=0, optimize=True)
    path = Path(path)
    atomic.make_folder(path.parent)
    atomic.write_file(path, buffer.getvalue())
    return path


def _in_few_colours(film: Film) -> list[Image.Image]:
    """Convert pictures to one palette of the most frequent colours; others become the nearest, white stays white."""
    scale = (LEVELS - 1) / 255
    levels = np.round(np.arange(256) * scale).astype(np.uint16)
    codes = (levels[film[..., 0]] * LEVELS + levels[film[..., 1]]) * LEVELS + levels[film[..., 2]]
    counts = np.bincount(codes.ravel(), minlength=LEVELS**3)
    present = np.flatnonzero(counts)
    common = present[np.argsort(-counts[present], kind="stable")[:COLOURS]]
    every = np.stack(np.unravel_index(np.arange(LEVELS**3), (LEVELS,) * 3), 1)
    nearest = np.zeros(LEVELS**3, np.uint8)
    nearest[present] = [np.square(every[common] - colour).sum(1).argmin() for colour in every[present]]
    palette = np.round(every[common] / scale).astype(np.uint8).tobytes()
    pictures = [Image.fromarray(nearest[code]) for code in codes]
    for picture in pictures:
        picture.putpalette(palette)
    return pictures


def _drawn_text(caption: str, width: int) -> Film:
    """Draw a line of text, `[CAPTION, width, 3]`."""
    with mplstyle.context(STYLE):
        figure = Figure(figsize=((width + 0.5) / 100, (CAPTION + 0.5) / 100), dpi=100)  # matplotlib rounds down
        figure.text(0.5, 0.45, caption, ha="center", va="center", fontsize=9, color=INK)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _check(name: str, film: Film) -> None:
    if not isinstance(film, np.ndarray) or film.dtype != np.uint8 or film.ndim != 4 or film.shape[3] != 3:
        given = f"{film.dtype} {list(film.shape)}" if isinstance(film, np.ndarray) else type(film).__name__
        raise ValueError(f"{name} is {given}; expected pictures [F, height, width, 3], uint8")
    if not film.size:
        raise ValueError(f"{name} has shape {list(film.shape)}: there is nothing to show")

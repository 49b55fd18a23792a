"""Animations: films side by side under captions, as a GIF that plays again and again.

Films are pictures `[F, height, width, 3]` of 8 bits, as `quickstudy.rl.envs.filmed.Filmed` takes them.
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
LEVELS = 32  # of red, green and blue
COLOURS = 255  # in a GIF's palette; one more says what has not changed
GAP, CAPTION = 8, 24  # pixels between films, and of the line above them


def animate(path: str | Path, films: Mapping[str, Film], *, fps: float = 25, hold: float = 1.0) -> Path:
    """Write films side by side, each under its caption, as one GIF.

    Args:
        path: of the GIF; folders are made.
        films: caption -> pictures `[F, height, width, 3]`; one that is over stays, paler, until the last one is.
        fps: pictures a second, at most 50.
        hold: seconds more that the last picture stays.

    Raises:
        ValueError: if there is no film, or one that is no film; see `write_gif`.
        OSError: if it cannot be written, with what was there before intact.

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
    """The films as one, `[F, height, width, 3]`, with F of the longest; arguments as of `animate`."""
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
        above = np.repeat(_written(caption, film.shape[2])[None], longest, 0)
        columns += [np.concatenate([above, np.concatenate([film, over]), below], 1)]
        columns += [np.full((longest, CAPTION + height, GAP, 3), 255, np.uint8)]
    return np.concatenate(columns[:-1], 2)


def write_gif(path: str | Path, film: Film, *, fps: float = 25, hold: float = 0.0) -> Path:
    """Write a film as a GIF with one palette for all pictures; only what changes from one to the next takes room.

    GIFs count time in hundredths of a second: single pictures stay a little longer or shorter, the whole is right.

    Args:
        path, fps, hold: as of `animate`.
        film: pictures `[F, height, width, 3]`.

    Raises:
        ValueError: for what is no film, and unless `fps` is above 0 and at most 50, as viewers slow faster ones down.
        OSError: if it cannot be written, with what was there before intact.

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
    """The pictures with one palette: the commonest colours, the others as the nearest of those. White stays white."""
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


def _written(caption: str, width: int) -> Film:
    """A line of text, `[CAPTION, width, 3]`."""
    with mplstyle.context(STYLE):
        figure = Figure(figsize=((width + 0.5) / 100, (CAPTION + 0.5) / 100), dpi=100)  # halves: sizes are cut off
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

"""Pictures of environments, drawn with numpy.

The colour of a pixel depends on its distance to the shape, so edges are smooth.
"""

import copy
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]
Point = tuple[float, float]

WHITE, BLACK, GREY = (255, 255, 255), (30, 30, 30), (200, 200, 200)
BLUE, ORANGE, GREEN = (49, 130, 189), (230, 120, 30), (60, 160, 90)


class Canvas:
    """A picture of a rectangle of the plane, white at first; y points upwards.

    Args:
        low, high: the lower left and upper right corner of the rectangle, in the units of what is drawn.
        width: width in pixels; the height follows from the rectangle.
    """

    def __init__(self, low: Point, high: Point, width: int):
        self._scale = width / (high[0] - low[0])
        height = round((high[1] - low[1]) * self._scale)
        self._x = low[0] + (np.arange(width) + 0.5) / self._scale
        self._y = (high[1] - (np.arange(height) + 0.5) / self._scale)[:, None]
        self._pixels = np.full((height, width, 3), 255.0)

    def line(self, start: Point, end: Point, thickness: float, color: Color) -> None:
        """Draw a line with round ends; a line from a point to itself is a disc of diameter `thickness`."""
        along = np.subtract(end, start)
        rows, columns = self._near(start, end, thickness / 2)
        x, y = self._x[columns] - start[0], self._y[rows] - start[1]
        share = np.clip((x * along[0] + y * along[1]) / max(float(along @ along), 1e-12), 0, 1)
        distance = np.hypot(x - share * along[0], y - share * along[1]) - thickness / 2
        self._fill(rows, columns, distance, color)

    def box(self, center: Point, width: float, height: float, color: Color) -> None:
        """Draw a rectangle with sides parallel to the axes."""
        low = center[0] - width / 2, center[1] - height / 2
        rows, columns = self._near(low, (low[0] + width, low[1] + height), 0.0)
        x = np.abs(self._x[columns] - center[0]) - width / 2
        y = np.abs(self._y[rows] - center[1]) - height / 2
        self._fill(rows, columns, np.maximum(x, y), color)

    def pixels(self) -> NDArray[np.uint8]:
        """The picture, `[height, width, 3]`."""
        return np.round(self._pixels).astype(np.uint8)

    def copy(self) -> "Canvas":
        """An independent canvas with the same picture."""
        new = copy.copy(self)
        new._pixels = self._pixels.copy()
        return new

    def _near(self, one: Point, other: Point, reach: float) -> tuple[slice, slice]:
        """The rows and columns of pixels in the rectangle between two points, widened by `reach` and one pixel."""
        reach += 1 / self._scale

        def inside(places: NDArray[np.floating[Any]], a: float, b: float) -> slice:
            found = np.flatnonzero((places > min(a, b) - reach) & (places < max(a, b) + reach))
            return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)

        return inside(self._y[:, 0], one[1], other[1]), inside(self._x, one[0], other[0])

    def _fill(self, rows: slice, columns: slice, distance: NDArray[np.float64], color: Color) -> None:
        cover = np.clip(0.5 - distance * self._scale, 0, 1)[..., None]
        part = self._pixels[rows, columns]
        part += cover * (np.array(color, float) - part)


def navigation(position: Point, goal: Point, low: float, high: float) -> NDArray[np.uint8]:
    """A picture of the point (blue) and its goal (green) on the square [low, high]²."""
    size, canvas = high - low, _square(low, high).copy()
    canvas.line(goal, goal, 0.06 * size, GREEN)
    canvas.line(position, position, 0.04 * size, BLUE)
    return canvas.pixels()


@functools.lru_cache(maxsize=8)
def _square(low: float, high: float) -> Canvas:
    """A canvas with the square [low, high]² and a frame around it."""
    size, margin = high - low, 0.05 * (high - low)
    canvas = Canvas((low - margin, low - margin), (high + margin, high + margin), 300)
    canvas.box(((low + high) / 2, (low + high) / 2), 1.02 * size, 1.02 * size, GREY)
    canvas.box(((low + high) / 2, (low + high) / 2), size, size, WHITE)
    return canvas


def cartpole(
    x: float, angle: float, length: float, edge: float, *, tallest: float, hangs: bool = False
) -> NDArray[np.uint8]:
    """A picture of the cart at `x` on a track that ends at ±`edge`, with a pole that leans by `angle` to the right.

    Args:
        x: position of the cart, in metres.
        angle: angle between the pole and the vertical, in radians.
        length: half the length of the pole, in metres.
        edge: distance from the middle of the track to its ends, in metres.
        tallest: the largest `length` that must fit into the picture, in metres.
        hangs: whether the pole may hang below the track.
    """
    lowest = -2 * tallest if hangs else -0.4
    canvas = Canvas((-1.1 * edge, lowest), (1.1 * edge, 2 * max(tallest, 0.5) + 0.6), 600)
    canvas.line((-edge, 0.0), (edge, 0.0), 0.02, BLACK)
    canvas.box((x, 0.0), 0.5, 0.3, BLACK)
    canvas.line((x, 0.1), (x + 2 * length * np.sin(angle), 0.1 + 2 * length * np.cos(angle)), 0.1, ORANGE)
    canvas.line((x, 0.1), (x, 0.1), 0.08, BLUE)
    return canvas.pixels()


def pendulum(angle: float, length: float, *, longest: float) -> NDArray[np.uint8]:
    """A picture of a pendulum that is turned by `angle` to the left of its upright position, as in gymnasium.

    Args:
        angle: angle between the pendulum and the upright position, in radians.
        length: the length of the pendulum, in metres.
        longest: the largest `length` that must fit into the picture, in metres.
    """
    reach = 1.15 * longest
    canvas = Canvas((-reach, -reach), (reach, reach), 300)
    canvas.line((0.0, 0.0), (-length * np.sin(angle), length * np.cos(angle)), 0.1 * longest, ORANGE)
    canvas.line((0.0, 0.0), (0.0, 0.0), 0.06 * longest, BLUE)
    return canvas.pixels()


def bars(heights: Sequence[float], marked: int) -> NDArray[np.uint8]:
    """A picture with a bar for each of `heights` in [0, 1], and a dot below bar `marked`; -1 marks none."""
    canvas = Canvas((-0.7, -0.3), (len(heights) - 0.3, 1.1), 300)
    for i, height in enumerate(heights):
        canvas.box((float(i), 0.5), 0.7, 1.0, GREY)
        canvas.box((float(i), height / 2), 0.7, height, BLUE)
    if marked >= 0:
        canvas.line((float(marked), -0.15), (float(marked), -0.15), 0.2, ORANGE)
    return canvas.pixels()


def grid(position: Point, goal: Point, cells: int) -> NDArray[np.uint8]:
    """A picture of a walker (blue) and a goal (green) on a square grid; the cell (0, 0) is at the lower left."""
    canvas = Canvas((-0.6, -0.6), (cells - 0.4, cells - 0.4), 300)
    middle = (cells - 1) / 2
    canvas.box((middle, middle), cells + 0.1, cells + 0.1, GREY)
    for x in range(cells):
        for y in range(cells):
            canvas.box((float(x), float(y)), 0.9, 0.9, WHITE)
    canvas.box(goal, 0.9, 0.9, GREEN)
    canvas.line(position, position, 0.5, BLUE)
    return canvas.pixels()

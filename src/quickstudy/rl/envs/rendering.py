"""Pictures of environments, drawn with numpy: shapes by their distance to every pixel, so that edges are smooth."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]
Point = tuple[float, float]

WHITE, BLACK, GREY = (255, 255, 255), (30, 30, 30), (200, 200, 200)
BLUE, ORANGE, GREEN = (49, 130, 189), (230, 120, 30), (60, 160, 90)


class Canvas:
    """A white picture of a rectangle of the plane, y upwards.

    Args:
        low, high: the corners, in the units of what is drawn.
        width: pixels; the height follows.
    """

    def __init__(self, low: Point, high: Point, width: int):
        self._scale = width / (high[0] - low[0])
        height = round((high[1] - low[1]) * self._scale)
        self._x = low[0] + (np.arange(width) + 0.5) / self._scale
        self._y = (high[1] - (np.arange(height) + 0.5) / self._scale)[:, None]
        self._pixels = np.full((height, width, 3), 255.0)

    def line(self, start: Point, end: Point, thickness: float, color: Color) -> None:
        """A line with round ends; from a point to itself it is a disc of diameter `thickness`."""
        along = np.subtract(end, start)
        x, y = self._x - start[0], self._y - start[1]
        share = np.clip((x * along[0] + y * along[1]) / max(float(along @ along), 1e-12), 0, 1)
        self._fill(np.hypot(x - share * along[0], y - share * along[1]) - thickness / 2, color)

    def box(self, center: Point, width: float, height: float, color: Color) -> None:
        """An upright rectangle."""
        x, y = np.abs(self._x - center[0]) - width / 2, np.abs(self._y - center[1]) - height / 2
        self._fill(np.maximum(x, y), color)

    def pixels(self) -> NDArray[np.uint8]:
        """`[height, width, 3]`."""
        return np.round(self._pixels).astype(np.uint8)

    def _fill(self, distance: NDArray[np.float64], color: Color) -> None:
        cover = np.clip(0.5 - distance * self._scale, 0, 1)[..., None]
        self._pixels += cover * (np.array(color, float) - self._pixels)


def navigation(position: Point, goal: Point, low: float, high: float) -> NDArray[np.uint8]:
    """The point (blue) and its goal (green) on the square [low, high]²."""
    size, margin = high - low, 0.05 * (high - low)
    canvas = Canvas((low - margin, low - margin), (high + margin, high + margin), 300)
    canvas.box(((low + high) / 2, (low + high) / 2), 1.02 * size, 1.02 * size, GREY)
    canvas.box(((low + high) / 2, (low + high) / 2), size, size, WHITE)
    canvas.line(goal, goal, 0.06 * size, GREEN)
    canvas.line(position, position, 0.04 * size, BLUE)
    return canvas.pixels()


def cartpole(x: float, angle: float, length: float, edge: float, *, tallest: float) -> NDArray[np.uint8]:
    """The cart at `x`, and its pole of half length `length`, `angle` radians to the right; with room for `tallest`."""
    canvas = Canvas((-1.1 * edge, -0.4), (1.1 * edge, 2 * max(tallest, 0.5) + 0.6), 600)
    canvas.line((-edge, 0.0), (edge, 0.0), 0.02, BLACK)
    canvas.box((x, 0.0), 0.5, 0.3, BLACK)
    canvas.line((x, 0.1), (x + 2 * length * np.sin(angle), 0.1 + 2 * length * np.cos(angle)), 0.1, ORANGE)
    canvas.line((x, 0.1), (x, 0.1), 0.08, BLUE)
    return canvas.pixels()


def bars(heights: Sequence[float], marked: int) -> NDArray[np.uint8]:
    """A bar for each of `heights` in [0, 1]; below the one that is `marked`, if it is not -1, a dot."""
    canvas = Canvas((-0.7, -0.3), (len(heights) - 0.3, 1.1), 300)
    for i, height in enumerate(heights):
        canvas.box((float(i), 0.5), 0.7, 1.0, GREY)
        canvas.box((float(i), height / 2), 0.7, height, BLUE)
    if marked >= 0:
        canvas.line((float(marked), -0.15), (float(marked), -0.15), 0.2, ORANGE)
    return canvas.pixels()

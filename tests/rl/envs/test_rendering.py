"""Pictures show what is there."""

from typing import Any

import numpy as np

from quickstudy.rl.envs.rendering import BLUE, GREEN, ORANGE, bars, cartpole, grid, navigation, pendulum


def _middle(picture: Any, color: tuple[int, int, int]) -> list[float]:
    """Where a color is, on average: from the left and from the top, in shares of the picture."""
    rows, columns = np.nonzero((picture == color).all(-1))
    return [columns.mean() / picture.shape[1], rows.mean() / picture.shape[0]]


def test_the_point_and_its_goal_are_where_they_should() -> None:
    picture = navigation((0.5, -1.0), (-1.0, 1.0), -2.0, 2.0)
    assert picture.shape == (300, 300, 3) and picture.dtype == np.uint8
    np.testing.assert_allclose(_middle(picture, BLUE), [0.5 + 0.5 / 4.4, 0.5 + 1 / 4.4], atol=0.01)
    np.testing.assert_allclose(_middle(picture, GREEN), [0.5 - 1 / 4.4, 0.5 - 1 / 4.4], atol=0.01)


def test_the_pole_leans_to_the_right() -> None:
    upright, leaning = cartpole(0.0, 0.0, 0.5, 2.4, tallest=0.5), cartpole(0.0, 0.2, 0.5, 2.4, tallest=0.5)
    assert abs(_middle(upright, ORANGE)[0] - 0.5) < 0.005 < _middle(leaning, ORANGE)[0] - 0.5
    assert cartpole(0.0, 0.0, 0.3, 2.4, tallest=1.0).shape == cartpole(0.0, 0.0, 1.0, 2.4, tallest=1.0).shape


def test_the_pole_hangs() -> None:
    up, down = (cartpole(0.0, angle, 0.5, 2.4, tallest=0.5, hangs=True) for angle in (0.0, np.pi))
    assert _middle(up, ORANGE)[1] < 0.5 < _middle(down, ORANGE)[1] < 0.85


def test_the_pendulum_turns_to_the_left() -> None:
    upright, turned = pendulum(0.0, 1.0, longest=1.0), pendulum(np.pi / 2, 1.0, longest=1.0)
    assert abs(_middle(upright, ORANGE)[0] - 0.5) < 0.005 and _middle(upright, ORANGE)[1] < 0.35
    assert abs(_middle(turned, ORANGE)[1] - 0.5) < 0.005 and _middle(turned, ORANGE)[0] < 0.35


def test_bars_are_as_high_as_they_should_be() -> None:
    picture = bars([0.25, 1.0], marked=1)
    blue = (picture == BLUE).all(-1)
    left, right = np.split(blue, 2, 1)
    assert 0.2 < left.sum() / right.sum() < 0.3
    assert _middle(picture, ORANGE)[0] > 0.6
    assert not (bars([0.25], marked=-1) == ORANGE).all(-1).any()


def test_the_walker_and_its_goal_are_in_their_cells() -> None:
    picture = grid((1.0, 3.0), (4.0, 0.0), 5)
    assert picture.shape == (300, 300, 3) and picture.dtype == np.uint8
    np.testing.assert_allclose(_middle(picture, BLUE), [(1 + 0.6) / 5.2, 1 - (3 + 0.6) / 5.2], atol=0.01)
    np.testing.assert_allclose(_middle(picture, GREEN), [(4 + 0.6) / 5.2, 1 - 0.6 / 5.2], atol=0.01)

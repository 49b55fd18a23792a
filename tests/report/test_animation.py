"""Animations: what is seen, for how long, and how small the file is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import quickstudy as qs
from quickstudy.report.animation import CAPTION, GAP, animate, beside, write_gif
from quickstudy.rl.envs.filmed import Filmed


def film(pictures: int, value: int = 0, height: int = 12, width: int = 40) -> np.ndarray:
    """A square that moves over a grey ground."""
    made = np.full((pictures, height, width, 3), value, np.uint8)
    for i in range(pictures):
        made[i, 2:6, i % (width - 4) : i % (width - 4) + 4] = (230, 120, 30)
    return made


def shown(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """The pictures of a GIF, and milliseconds."""
    with Image.open(path) as image:
        assert image.info["loop"] == 0  # for ever
        pictures, lasting = [], []
        for i in range(image.n_frames):
            image.seek(i)
            pictures.append(np.asarray(image.convert("RGB")))
            lasting.append(image.info["duration"])
    return pictures, lasting


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    made = film(7, 255)
    pictures, _ = shown(write_gif(tmp_path / "deep" / "film.gif", made))
    assert np.abs(np.stack(pictures).astype(int) - made).max() <= 4
    assert (pictures[3][made[3] == 255] == 255).all()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["film.gif"]


@pytest.mark.parametrize("fps", [50, 30, 7.5])
def test_it_lasts_as_long_as_it_should(fps: float, tmp_path: Path) -> None:
    _, lasting = shown(write_gif(tmp_path / "film.gif", film(30), fps=fps, hold=0.5))
    assert sum(lasting) == pytest.approx(30_000 / fps + 500, abs=10)
    assert max(lasting[:-1]) - min(lasting[:-1]) <= 10 and lasting[-1] >= 500


def test_of_many_colours_the_nearest_are_taken(tmp_path: Path) -> None:
    made = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), np.uint8)
    pictures, _ = shown(write_gif(tmp_path / "film.gif", made))
    assert 0 < np.abs(np.stack(pictures).astype(int) - made).mean() < 25


def test_films_stand_side_by_side_and_wait_for_each_other() -> None:
    short, long = film(2, height=10), film(5, 255, width=30)
    both = beside({"before": short, "after": long})
    assert both.shape == (5, CAPTION + 12, 40 + GAP + 30, 3)
    np.testing.assert_array_equal(both[:2, CAPTION : CAPTION + 10, :40], short)
    np.testing.assert_array_equal(both[:, CAPTION:, 40 + GAP :], long)
    assert (both[2:, CAPTION : CAPTION + 10, :40] == short[1] // 2 + 128).all()
    assert (both[:, CAPTION + 10 :, :40] == 255).all() and (both[:, :, 40 : 40 + GAP] == 255).all()
    left, right = both[0, :CAPTION, :40], both[0, :CAPTION, 40 + GAP :]
    assert left.min() < 128 and right.min() < 128 and left.max() == 255  # something is written


def test_ten_seconds_of_a_cart_are_small(tmp_path: Path) -> None:
    """A scripted actor on two carts: one that knows which way it pushes, and one that has yet to find out."""
    environment = Filmed(qs.rl.CartPole(num_envs=1, horizon=500), every=2, shrink=2)
    environment.set_tasks(environment.sample_tasks(1, generator=torch.Generator().manual_seed(0)))
    for sign in (-1, 1):
        state, _ = environment.reset(generator=torch.Generator().manual_seed(1))
        done = torch.zeros(1, 1, dtype=torch.bool)
        while not done.any():
            lean = state @ torch.tensor([0.15, 0.25, 3.0, 0.6])
            state, _, terminated, truncated, _ = environment.step((sign * lean > 0).long())
            done = terminated | truncated
    before, after = environment.films.values()
    assert len(before) < 50 and len(after) == 251
    path = animate(tmp_path / "cart.gif", {"first episode": before, "fifth episode": after}, fps=25)
    assert path.stat().st_size < 500_000
    _, lasting = shown(path)
    assert sum(lasting) == pytest.approx(11_040, abs=10)


@pytest.mark.parametrize(
    ("films", "options", "message"),
    [
        ({}, {}, "there is no film"),
        ({"a": film(2).astype(float)}, {}, "the film 'a' is float64 .*; expected pictures"),
        ({"a": film(2)[..., 0]}, {}, "expected pictures"),
        ({"a": [film(2)]}, {}, "is list; expected pictures"),
        ({"a": film(2)[:0]}, {}, "nothing to show"),
        ({"a": film(2)}, {"fps": 60}, "fps=60; expected a number above 0 and at most 50"),
        ({"a": film(2)}, {"hold": -1.0}, "hold=-1.0; expected"),
    ],
)
def test_what_cannot_be_shown(films: dict, options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        animate(tmp_path / "film.gif", films, **options)
    assert not list(tmp_path.iterdir())

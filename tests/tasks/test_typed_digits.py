"""Typed digits: beside what matplotlib itself draws, and the same for a seed whatever their number."""

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from quickstudy.tasks import typed_digits as module
from quickstudy.tasks.typed_digits import DIGITS, FONTS, typed_digits


def test_pictures_are_grey_levels_of_all_digits() -> None:
    found = typed_digits(400, side=12, seed=1)
    assert found.images.shape == (400, 12, 12, 1) and found.images.dtype == torch.uint8
    assert (int(found.images.min()), int(found.images.max()), found.levels) == (0, 15, 16)
    assert found.classes == DIGITS and set(found.labels.tolist()) == set(range(10))
    edge = torch.cat([found.images[:, :, [0, -1]].flatten(), found.images[:, [0, -1]].flatten()])
    assert float((edge > 0).double().mean()) < 0.1  # digits lie in the middle
    assert 0.1 < float(found.images.double().mean()) / 15 < 0.3


def test_the_first_of_more_are_the_same_and_seeds_differ() -> None:
    few, many = typed_digits(20, seed=3), typed_digits(1_100, seed=3)
    assert torch.equal(few.images, many.images[:20]) and torch.equal(few.labels, many.labels[:20])
    assert not torch.equal(few.images, typed_digits(20, seed=4).images)


@pytest.mark.parametrize("font", [FONTS[0], FONTS[5]])
@pytest.mark.parametrize("digit", ["0", "4", "8"])
def test_a_glyph_is_what_matplotlib_draws(font: str, digit: str) -> None:
    """The sign of the field, which has the holes of 0, 4 and 8, beside matplotlib's own picture of the digit."""
    side = module.FINE
    figure = Figure(figsize=(side, side), dpi=1)
    canvas = FigureCanvasAgg(figure)
    file = f"{matplotlib.get_data_path()}/fonts/ttf/{font}.ttf"
    path = module._outline(font, digit)
    figure.text(0.5, 0.5, digit, fontproperties=FontProperties(fname=file, size=72 * side / 2 / 0.729), va="center")
    artist = figure.texts[0]
    artist.set_x(0.5), artist.set_ha("center")
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[..., 0] < 128
    ours = (module._field(path) > 0).numpy()
    rows, columns = np.nonzero(drawn)
    own_rows, own_columns = np.nonzero(ours)
    down, right = rows.min() - own_rows.min(), columns.min() - own_columns.min()
    assert abs(np.ptp(rows) - np.ptp(own_rows)) <= 1 and abs(np.ptp(columns) - np.ptp(own_columns)) <= 1
    assert float((np.roll(ours, (down, right), (0, 1)) == drawn).mean()) > 0.96


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="count"):
        typed_digits(0)
    with pytest.raises(ValueError, match="side"):
        typed_digits(2, side=7)

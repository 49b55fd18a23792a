"""Captions travel within the figures."""

from pathlib import Path

import pytest

from quickstudy.report import figures
from quickstudy.report.captions import COMMON, caption
from quickstudy.report.figures import Series


@pytest.mark.parametrize("text", ["Three unseen waves, 7 points seen of each.", "ü ± 漢 & <b>"])
def test_a_caption_is_kept_within_the_figure(text: str, tmp_path: Path) -> None:
    figure = figures.lines([Series("a", [0, 1], [1.0, 2.0])], xlabel="x", ylabel="y")
    assert caption(figures.save(figure, tmp_path, "steps", text)) == text


def test_older_figures_have_what_their_name_says(tmp_path: Path) -> None:
    figure = figures.lines([Series("a", [0, 1], [1.0, 2.0])], xlabel="x", ylabel="y")
    assert caption(figures.save(figure, tmp_path, "steps")) == COMMON["steps"]
    assert caption(figures.save(figure, tmp_path, "my-own")) == "my own"


def test_a_damaged_picture_has_one_too(tmp_path: Path) -> None:
    (tmp_path / "my-own.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    assert caption(tmp_path / "my-own.png") == "my own"

"""Formulas are drawn in the colour of the text, on no ground of their own, so that they can be read in the dark."""

import re

from offline_math import _svg


def test_a_formula_has_the_colour_of_the_text_alone() -> None:
    drawing = _svg(r"\frac{x}{2}", 14)
    assert "currentColor" in drawing
    assert set(re.findall(r"(?:fill|stroke): (#\w+)", drawing)) == set()

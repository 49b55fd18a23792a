"""Images on the page, in a browser: what a visitor brushes, and what is then shown."""

from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.data import Examples

START = "#images?set=typed&seed=7&seen=3c3d4a"


def seen(page: Any) -> list[int]:
    """The pixels that the visitor has seen."""
    found: list[int] = page.evaluate("window.quickstudy.state.value.seen")
    return found


def answered(page: Any, wanted: str) -> Any:
    """The answer that the page shows, once `wanted`, an expression of the message `m`, holds."""
    page.wait_for_function(f"(() => {{ const m = window.quickstudy?.answer?.message; return m && {wanted}; }})()")
    return page.evaluate("window.quickstudy.answer")


def at(page: Any, row: int, column: int) -> tuple[float, float]:
    """The middle of a pixel of the large picture."""
    page.locator("#brush").scroll_into_view_if_needed()
    box = page.locator("#brush").bounding_box()
    return box["x"] + (column + 0.5) / 16 * box["width"], box["y"] + (row + 0.5) / 16 * box["height"]


def shade(page: Any, canvas: str, row: int, column: int) -> list[int]:
    """The colour in the middle of a pixel of a canvas."""
    script = """([name, row, column]) => {
      const canvas = document.getElementById(name), at = (i) => Math.floor((i + 0.5) / 16 * canvas.width);
      return [...canvas.getContext("2d").getImageData(at(column), at(row), 1, 1).data].slice(0, 3);
    }"""
    found: list[int] = page.evaluate(script, [canvas, row, column])
    return found


def test_a_stroke_reveals_pixels_and_what_is_shown_is_what_python_says(visit: Any) -> None:
    page = visit(START)
    assert seen(page) == [120, 121, 154]
    page.mouse.move(*at(page, 2, 3))
    page.mouse.down()
    page.mouse.move(*at(page, 2, 6), steps=9)
    page.mouse.up()
    assert seen(page) == [120, 121, 154, 35, 36, 37, 38]
    shown = answered(page, "m.seen.length === 7")
    image = shown["answer"]["image"]
    x = torch.cartesian_prod(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16))
    places = shown["message"]["seen"]
    y = (torch.tensor([image[i] for i in places]) * 15 + 0.5) / 16 - 0.5
    support = Examples(x[None, places], y.reshape(1, -1, 1))
    for name, model in (("conv", "grid-conv-cnp/digits"), ("np", "np/digits")):
        belief = qs.load(model).adapt(support, generator=torch.Generator().manual_seed(7))(x.unsqueeze(0))
        own = shown["answer"]["players"][name]
        assert torch.allclose(torch.tensor(own["mean"]), belief.mean[0, :, 0].detach() + 0.5, atol=1e-6)
        assert torch.allclose(torch.tensor(own["sd"]), belief.variance[0, :, 0].sqrt().detach(), atol=1e-6)
        for row, column in ((0, 0), (8, 8)):
            grey = 255 * min(1.0, max(0.0, own["mean"][16 * row + column]))
            assert shade(page, f"mean-{name}", row, column) == pytest.approx([grey] * 3, abs=1)
    assert shade(page, "brush", 2, 4) == pytest.approx([255 * image[36]] * 3, abs=1)
    assert "in the 90% interval" in page.text_content("#facts-conv")

    page.mouse.click(*at(page, 2, 5))  # a stroke that begins on a pixel seen hides it
    assert seen(page) == [120, 121, 154, 35, 36, 38]
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert seen(page) == [120, 121, 154]


@pytest.mark.slow
def test_keyboard_dice_sample_slider_paint_and_reload(visit: Any) -> None:
    page = visit(START)
    page.focus("#brush")
    for key in ("ArrowUp", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    assert seen(page) == [120, 121, 154, 7 * 16 + 7]
    page.keyboard.press("Enter")
    answered(page, "m.seen.length === 3")
    page.keyboard.press("n")
    page.keyboard.press("Enter")
    marked = page.evaluate("window.quickstudy.answer.answer.players.conv.next")
    assert seen(page)[-1] == marked
    page.click("#dice")
    assert answered(page, "m.seen.length === 0")["message"]["seed"] != 7
    page.click("#sample")
    assert len(seen(page)) == len(set(seen(page))) == 5
    page.fill('input[data-name="seen"]', "40")
    assert len(set(seen(page))) == 40
    page.fill('input[data-name="seen"]', "2")
    assert len(answered(page, "m.seen.length === 2")["message"]["seen"]) == 2

    page.select_option("#mode", "paint")
    assert seen(page) == []
    page.mouse.click(*at(page, 4, 4))
    page.select_option("#ink", "0")
    page.mouse.click(*at(page, 4, 6))
    shown = answered(page, "m.painted?.length === 2")
    assert shown["message"]["painted"] == [1, 0] and shown["answer"]["image"] is None
    assert shade(page, "brush", 4, 4) == [255] * 3 and shade(page, "brush", 4, 6) == [0] * 3
    address, state = page.url, page.evaluate("window.quickstudy.state.value")
    page.goto("about:blank")
    page.goto(address)
    answered(page, "m.painted?.length === 2")
    assert page.evaluate("window.quickstudy.state.value") == state


@pytest.mark.slow
def test_a_finger_brushes_and_the_page_fits_a_phone(visit: Any) -> None:
    page = visit(START, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.touchscreen.tap(*at(page, 5, 5))
    answered(page, "m.seen.length === 4")
    assert seen(page)[-1] == 85
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

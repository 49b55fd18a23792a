"""Functions on the page, in a browser: what a visitor does, and what is then shown."""

import re
from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.data import Examples

START = "#functions?scene=sine&amplitude=2&phase=1&points=0,-1.5;1,0.2&seed=1&steps=3"


def points(page: Any) -> list[list[float]]:
    """The points of the visitor."""
    found: list[list[float]] = page.evaluate("window.quickstudy.state.value.points")
    return found


def answered(page: Any, wanted: str) -> Any:
    """The answer that the page shows, once `wanted`, an expression of the message `m`, holds."""
    page.wait_for_function(f"(() => {{ const m = window.quickstudy?.answer?.message; return m && {wanted}; }})()")
    return page.evaluate("window.quickstudy.answer")


def at(page: Any, plot: str, x: float, y: float) -> tuple[float, float]:
    """Pixels of a place of a plot."""
    canvas = page.locator(f"#plot-{plot}")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    scene = page.evaluate("window.quickstudy.setup.functions.scenes[window.quickstudy.state.value.scene]")
    (left, right), (low, high) = scene["x"], scene["y"]
    across = 34 + (x - left) / (right - left) * (box["width"] - 42)
    down = 8 + (high - y) / (high - low) * (box["height"] - 38)
    return box["x"] + across, box["y"] + down


def test_a_click_adds_a_drag_moves_and_a_click_removes(visit: Any) -> None:
    page = visit(START)
    page.mouse.click(*at(page, "maml", 3.0, 2.0))
    assert points(page)[2] == pytest.approx([3.0, 2.0], abs=0.1)
    answer = answered(page, "m.points.length === 3")
    assert set(answer["answer"]["players"]) == {"maml", "np", "tnp", "alpaca", "pretrained", "exact"}
    assert re.search(r"error \S+ · \d+% in the band · log-likelihood", page.text_content("#facts-np"))

    page.mouse.move(*at(page, "np", 3.0, 2.0))
    page.mouse.down()
    page.mouse.move(*at(page, "np", 2.0, 1.0), steps=4)
    page.mouse.up()
    assert points(page)[2] == pytest.approx([2.0, 1.0], abs=0.1)

    page.mouse.click(*at(page, "exact", 2.0, 1.0))
    assert len(points(page)) == 2
    answered(page, "m.points.length === 2")


def test_what_is_shown_is_what_python_says(visit: Any) -> None:
    page = visit(START)
    shown = answered(page, "m.points.length === 2")
    pairs = torch.tensor(shown["message"]["points"]).unsqueeze(0)
    support, x = Examples(pairs[..., :1], pairs[..., 1:]), torch.tensor(shown["answer"]["x"]).reshape(1, -1, 1)
    for name, own in shown["answer"]["players"].items():
        if name == "exact":
            continue
        generator = torch.Generator().manual_seed(1)
        steps = 3 if name in ("maml", "pretrained") else None
        belief = qs.load(f"{name}/sine").adapt(support, steps=steps, generator=generator)(x)
        interval = belief.interval(0.9)
        for key, found in (("mean", belief.mean), ("low", interval.lower), ("high", interval.upper)):
            assert torch.allclose(torch.tensor(own[key]), found[0, :, 0].detach(), atol=1e-6), (name, key)


@pytest.mark.slow
def test_dice_sample_undo_redo_and_reload(visit: Any) -> None:
    page = visit(START)
    before = page.evaluate("window.quickstudy.state.value.truth")
    page.click("#dice")
    answered(page, "m.points.length === 0")
    assert page.evaluate("window.quickstudy.state.value.truth") != before
    for count in (1, 2):
        page.click("#sample")
        answered(page, f"m.points.length === {count}")
    page.keyboard.press("Control+z")
    assert len(points(page)) == 1
    page.keyboard.press("Control+Shift+z")
    assert len(points(page)) == 2
    address, state = page.url, page.evaluate("window.quickstudy.state.value")
    page.goto("about:blank")
    page.goto(address)
    answered(page, "m.points.length === 2")
    again = page.evaluate("window.quickstudy.state.value")
    assert again["points"] == [pytest.approx(p, rel=1e-4) for p in state["points"]]
    assert again["truth"] == pytest.approx(state["truth"], rel=1e-4)


@pytest.mark.slow
def test_scrubbing_gradient_steps(visit: Any) -> None:
    page = visit(START)
    first = answered(page, "m.steps === 3")["answer"]["players"]
    page.fill('input[data-name="steps"]', "9")
    later = answered(page, "m.steps === 9")["answer"]["players"]
    assert later["maml"]["mean"] != first["maml"]["mean"] and later["np"]["mean"] == first["np"]["mean"]


@pytest.mark.slow
def test_the_keyboard_alone(visit: Any) -> None:
    page = visit(START)
    page.focus("#plot-alpaca")
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    assert points(page)[2] == pytest.approx([0.5, 0.3], abs=1e-6)
    page.keyboard.press("m")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("m")
    assert points(page)[2] == pytest.approx([1.5, 0.3], abs=1e-6)
    page.keyboard.press("Enter")
    assert len(points(page)) == 2
    page.keyboard.press("c")
    assert points(page) == []


@pytest.mark.slow
def test_a_finger_taps_and_swipes(visit: Any) -> None:
    page = visit(START, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.touchscreen.tap(*at(page, "maml", 3.0, 2.0))
    assert points(page)[2] == pytest.approx([3.0, 2.0], abs=0.15)
    page.touchscreen.tap(*at(page, "maml", 3.0, 2.0))
    assert len(points(page)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("scene", ["sine", "rbf", "sawtooth", "drug"])
def test_every_scene_opens_from_the_list(visit: Any, scene: str) -> None:
    page = visit()
    page.select_option("#scene", scene)
    answered(page, f"m.scene === '{scene}'")
    assert page.locator("canvas").count() == 6
    page.keyboard.press("d")
    page.keyboard.press("s")
    answered(page, "m.points.length === 1")


@pytest.mark.slow
def test_two_visitors_do_not_see_each_other(visit: Any) -> None:
    one, other = visit(START), visit(START)
    one.mouse.click(*at(one, "maml", 3.0, 2.0))
    answered(one, "m.points.length === 3")
    other.mouse.click(*at(other, "maml", -3.0, 2.0))
    answered(other, "m.points.length === 3")
    assert points(one)[2][0] > 0 > points(other)[2][0]
    one.context.close()
    other.mouse.click(*at(other, "maml", -1.0, 2.0))
    answered(other, "m.points.length === 4")


def test_the_page_obeys_its_own_content_policy(browser: Any, page_address: str) -> None:
    context = browser.new_context()
    page, complaints = context.new_page(), []
    page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
    page.goto(page_address)
    page.wait_for_selector("#plot-maml")
    page.wait_for_selector("#facts-maml:not(:empty)")
    context.close()
    assert not complaints

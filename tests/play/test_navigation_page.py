"""Navigation on the page, in a browser: goals that are set, and the paths that are then shown."""

from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.play.navigation import WALKERS

START = "#navigation?goal=0.3,-0.4&seed=2&steps=3&episodes=10"


def goal(page: Any) -> list[float]:
    found: list[float] = page.evaluate("window.quickstudy.state.value.goal")
    return found


def answered(page: Any) -> Any:
    """The answer that the page shows, once it is that to the present goal."""
    same = "JSON.stringify(q.answer.message.goal) === JSON.stringify(q.state.value.goal)"
    page.wait_for_function(f"(() => {{ const q = window.quickstudy; return q?.state && q.answer && {same}; }})()")
    return page.evaluate("window.quickstudy.answer")


def at(page: Any, name: str, x: float, y: float) -> tuple[float, float]:
    """Pixels of a place of a board, whose units are equally long on both axes."""
    canvas = page.locator(f"#plot-{name}")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    unit = (box["height"] - 38) / 1.5
    return box["x"] + 34 + (box["width"] - 42) / 2 + x * unit, box["y"] + 8 + (0.75 - y) * unit


def test_a_click_sets_the_goal_and_paths_are_what_python_says(visit: Any) -> None:
    page = visit(START)
    page.mouse.click(*at(page, "maml", -0.3, 0.2))
    assert goal(page) == pytest.approx([-0.3, 0.2], abs=0.02)
    shown = answered(page)
    for name, walker in WALKERS.items():
        board, chance = qs.rl.Navigation2D(num_envs=10), torch.Generator().manual_seed(2)
        board.set_tasks({"goal": torch.tensor([goal(page)])})
        actor = qs.load(walker.name).actor(lr=list(walker.rates))
        for k, stage in enumerate(shown["answer"][name]["stages"]):
            episodes = actor.rollout(board, generator=chance)
            actor = actor.adapt(episodes)
            assert stage["return"] == pytest.approx(float(episodes.returns().mean()), abs=1e-6)
            row = page.text_content(f"#facts-{name}-{k}")
            assert f"return {stage['return']:.1f}, {stage['arrived']} of 10 arrive" in row
    assert "Best possible: -0.3" in page.text_content("#facts-best")


@pytest.mark.slow
def test_drag_keyboard_undo_dice_and_reload(visit: Any) -> None:
    page = visit(START)
    answered(page)
    page.mouse.move(*at(page, "pretrained", 0.3, -0.4))
    page.mouse.down()
    page.mouse.move(*at(page, "pretrained", 0.1, 0.4), steps=5)
    page.mouse.up()
    answered(page)
    assert goal(page) == pytest.approx([0.1, 0.4], abs=0.02)
    page.keyboard.press("u")
    assert goal(page) == [0.3, -0.4]
    page.keyboard.press("r")
    page.focus("#plot-maml")
    for key in ("ArrowLeft", "ArrowLeft", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    assert goal(page) == pytest.approx([0.0, 0.35], abs=0.02)
    answered(page)
    page.keyboard.press("d")
    assert max(map(abs, goal(page))) <= 0.5
    before = answered(page)
    page.keyboard.press("s")
    page.wait_for_function(f"window.quickstudy.answer.message.seed !== {before['message']['seed']}")
    page.locator("[data-name=steps]").fill("1")
    page.locator("[data-name=episodes]").fill("20")
    page.wait_for_function("window.quickstudy.answer.message.episodes === 20")
    shown, state = answered(page), page.evaluate("window.quickstudy.state.value")
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_function("window.quickstudy?.answer")
    assert page.evaluate("window.quickstudy.state.value") == state
    assert answered(page)["answer"] == shown["answer"]
    page.click("#tab-functions")
    page.wait_for_selector("#plot-np")


@pytest.mark.slow
def test_a_tap_sets_the_goal_on_a_phone(visit: Any) -> None:
    page = visit(START, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.touchscreen.tap(*at(page, "maml", -0.2, 0.3))
    assert goal(page) == pytest.approx([-0.2, 0.3], abs=0.03)
    answered(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

"""Carts on the page, in a browser: pushes by hand, and drivers that take over."""

from typing import Any

import pytest

from quickstudy.play.message import Message

START = "#carts?reversed=1&masscart=1&masspole=0.1&length=0.5&force_mag=10&seed=1&driver=np"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def pushes(page: Any) -> list[list[int]]:
    """The pushes of all episodes."""
    found: list[list[int]] = page.evaluate("window.quickstudy.state.value.episodes")
    return found


def hold(page: Any, key: str, milliseconds: int = 120) -> None:
    """Hold a key while the picture has the focus."""
    page.focus("#plot-cart")
    page.keyboard.down(key)
    page.wait_for_timeout(milliseconds)
    page.keyboard.up(key)


def drive(page: Any, steps: int) -> Any:
    """Let the driver take over until this episode has `steps` pushes or has ended; gives the last plan."""
    page.click("#take")
    done = f"Number(/: (\\d+) of/.exec(score.textContent)[1]) >= {steps} || /fell|end/.test(score.textContent)"
    page.wait_for_function(f"(() => {{ const score = document.getElementById('score'); return {done}; }})()")
    if page.get_attribute("#take", "aria-pressed") == "true":
        page.click("#take")
    return page.evaluate("window.quickstudy.answer.drive")


def test_a_process_takes_over_what_was_pushed_by_hand(visit: Any, answers_and_setup: Any) -> None:
    answers, _ = answers_and_setup
    page = visit(START)
    hold(page, "ArrowLeft")
    [by_hand] = pushes(page)
    assert by_hand and not any(by_hand)
    page.wait_for_function(f"window.quickstudy.answer.believe.message.seen.length === {len(by_hand)}")
    shown = page.evaluate("window.quickstudy.answer.believe")
    assert answers["carts/believe"](Message(shown["message"])) == shown["answer"]
    assert f"After {len(by_hand)}: left" in page.text_content("#facts-spin")

    plan = drive(page, len(by_hand) + 10)
    assert answers["carts/drive"](Message(plan["message"])) == plan["answer"]
    for own, servers in zip(plan["states"], plan["answer"]["states"], strict=True):
        assert own == pytest.approx(servers, abs=1e-9)  # the page's equations are those of the package
    [all_] = pushes(page)
    assert all_[: len(by_hand)] == by_hand and len(all_) >= len(by_hand) + 10


@pytest.mark.slow
def test_reload_undo_episodes_drivers_and_other_carts(visit: Any) -> None:
    page = visit(START)
    hold(page, "l")
    hold(page, "a")
    first = pushes(page)
    assert first[0][0] == 1 and first[0][-1] == 0
    drive(page, len(first[0]) + 30)
    later, score = pushes(page), page.text_content("#score")
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_function("window.quickstudy?.answer")
    assert pushes(page) == later and page.text_content("#score") == score

    page.select_option("#driver", "prior")
    drive(page, 500)
    assert "it fell" in page.text_content("#score")
    page.keyboard.press("u")
    assert pushes(page) == later
    page.keyboard.press("r")
    page.click("#take")  # an episode that has ended is followed by the next
    page.wait_for_function("window.quickstudy.state.value.episodes.length === 2")
    page.wait_for_function("document.getElementById('take').textContent === 'Take over'")
    assert "Episode 2: " in page.text_content("#score") and "before: " in page.text_content("#score")

    page.keyboard.press("c")
    assert pushes(page) == [[]]
    page.check("#shown")
    page.locator("[data-name=masscart]").fill("100")
    assert page.evaluate("window.quickstudy.state.value.cart.masscart") == pytest.approx(1.55)
    page.keyboard.press("Escape")
    page.click("#dice")
    assert page.evaluate("window.quickstudy.state.value.cart.masscart") != 1.55
    page.click("#tab-functions")
    page.wait_for_selector("#plot-np")


@pytest.mark.slow
def test_buttons_push_under_a_finger_and_by_the_keyboard(visit: Any) -> None:
    page = visit(START, **PHONE)
    page.focus("#push-1")
    page.keyboard.press("Enter")
    assert pushes(page) == [[1] * 5]
    button = page.locator("#push-0")
    button.dispatch_event("pointerdown", {"pointerId": 1, "pointerType": "mouse", "button": 0})
    page.wait_for_timeout(200)
    button.dispatch_event("pointerup", {"pointerId": 1, "pointerType": "mouse", "button": 0})
    held = pushes(page)[0]
    assert held[:5] == [1] * 5 and len(held) > 5 and not any(held[5:])
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_addresses_that_make_no_sense_are_read_as_far_as_they_do(visit: Any) -> None:
    page = visit("#carts?pushes=12~!!,.7~zz&masscart=99&driver=nobody&seed=-3&first=x")
    value = page.evaluate("window.quickstudy.state.value")
    assert value["driver"] == "np" and value["cart"]["masscart"] == 1.0 and value["seed"] == 1
    assert all(set(episode) <= {0, 1} for episode in value["episodes"])

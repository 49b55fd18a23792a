"""What a person sees while waiting: a bar on a terminal, a line every ten seconds elsewhere."""

import io

from rich.console import Console

from quickstudy.report.progress import Display


def test_plain_lines_now_and_then() -> None:
    now = 0.0
    out = io.StringIO()
    display = Display(Console(file=out, width=200), clock=lambda: now)
    with display.training("maml") as update:
        update(0, 1000, None, None)
        for step in range(1, 1001):
            now = 0.05 * step
            update(step, 1000, 2.0 / step, 20.0)
    lines = out.getvalue().splitlines()
    assert len(lines) == 5  # 50 seconds: four lines on the way, and the last step
    assert lines[0] == "maml: step 200 of 1,000  20 steps/s  loss 0.01  0:00:40 left"
    assert lines[-1] == "maml: step 1,000 of 1,000  20 steps/s  loss 0.002"


def test_a_finished_run_shows_nothing() -> None:
    out = io.StringIO()
    with Display(Console(file=out)).training("maml") as update:
        update(1000, 1000, None, None)
    assert out.getvalue() == ""


def test_a_bar_on_a_terminal() -> None:
    out = io.StringIO()
    display = Display(Console(file=out, force_terminal=True, width=120))
    with display.training("maml") as update:
        update(0, 1000, None, None)
        update(500, 1000, 0.25, 2.5)
    assert "maml" in out.getvalue() and "500/1000" in out.getvalue()
    assert "2.5 steps/s  loss 0.25  0:03:20 left" in out.getvalue()


def test_brackets_in_a_line_are_not_markup() -> None:
    out = io.StringIO()
    Display(Console(file=out, width=200)).say("runs/[bold]x")
    assert out.getvalue() == "runs/[bold]x\n"

"""What a person sees while waiting: a bar in a notebook or on a terminal, a line every ten seconds elsewhere."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from training.workload import Waves, make

import quickstudy as qs
from quickstudy.training.display import Display, in_notebook


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


def train(out: Path | None, **options: Any) -> Any:
    sizes: dict[str, Any] = {"tasks": 2, "validation_tasks": 2, "support": 2, "query": 2, "compile": False}
    return qs.fit(make("gradient"), Waves(), steps=8, out=out, **sizes, **options)


def act(out: Path, **options: Any) -> Any:
    learner = qs.rl.MAMLTRPO(qs.rl.GaussianPolicy(qs.nets.MLP(2, [4], 2), 2))
    return qs.rl.fit(learner, qs.rl.Navigation2D(num_envs=2, horizon=3), steps=2, tasks=2, out=out, **options)


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function that gives what stderr, a terminal 100 columns wide, has shown since it was last asked."""
    keyboard, screen = os.openpty()
    stream = os.fdopen(screen, "w")
    with monkeypatch.context() as patched:  # in the test itself: pytest puts its own streams back in between
        patched.setattr(sys, "stderr", stream)
        patched.setenv("COLUMNS", "100")
        patched.setenv("TERM", "xterm")

        def read() -> str:
            stream.flush()
            os.set_blocking(keyboard, False)
            found = b""
            try:
                while part := os.read(keyboard, 65536):
                    found += part
            except BlockingIOError:
                pass
            return found.decode()

        yield read
    stream.close()
    os.close(keyboard)


class Kernel(ModuleType):
    """IPython as it is in a notebook, with what its cell has shown."""

    def __init__(self) -> None:
        super().__init__("IPython")
        self.shown: list[dict[str, str]] = []
        self.display = ModuleType("IPython.display")
        self.display.display = self._display  # type: ignore[attr-defined]

    def get_ipython(self) -> Any:
        return SimpleNamespace(kernel=object())

    def _display(self, content: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        assert raw and display_id
        self.shown.append(content)
        return SimpleNamespace(update=lambda content, raw: self.shown.append(content))


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    monkeypatch.setitem(sys.modules, "IPython.display", kernel.display)
    return kernel


@pytest.mark.parametrize("fit", [train, act])
def test_a_person_at_a_terminal_sees_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: Any) -> None:
    with terminal(monkeypatch) as read:
        run = fit(tmp_path / "run")
        seen = read()
        fit(tmp_path / "silent", progress=False)
        assert read() == ""
    assert type(run.learner).__name__ in seen and f"{run.steps}/{run.steps}" in seen and "steps/s" in seen


def test_where_nobody_watches_nothing_is_shown_unless_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "run")
    assert capsys.readouterr() == ("", "")
    train(tmp_path / "told", progress=True)
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("MAML: step 8 of 8  ") and err.count("\n") == 1


def test_a_bar_in_a_notebook(tmp_path: Path, notebook: Kernel, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path / "run")
    assert capsys.readouterr() == ("", "")
    first, last = notebook.shown[0], notebook.shown[-1]
    assert first["text/plain"] == "MAML: 0 of 8" and '<progress value="0" max="8"' in first["text/html"]
    assert last["text/plain"].startswith("MAML: 8 of 8  ") and '<progress value="8" max="8"' in last["text/html"]
    assert "loss" in last["text/html"]
    notebook.shown.clear()
    train(tmp_path / "silent", progress=False)
    assert notebook.shown == []


def test_a_cell_of_a_notebook_is_not_flooded(notebook: Kernel) -> None:
    now = 0.0
    with Display(clock=lambda: now).training("<b>") as update:
        for step in range(1001):
            now = 0.001 * step
            update(step, 1000, 1.0, 1000.0)
    assert 5 <= len(notebook.shown) <= 7
    assert notebook.shown[-1]["text/plain"].startswith("<b>: 1,000 of 1,000")
    assert "&lt;b&gt;" in notebook.shown[-1]["text/html"]


def test_ipython_in_a_terminal_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = ModuleType("IPython")
    shell.get_ipython = lambda: SimpleNamespace()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", shell)
    assert not in_notebook()


def test_the_bar_ends_with_a_training_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        if (tmp_path / "run/metrics.jsonl").exists():
            raise ZeroDivisionError

    with terminal(monkeypatch) as read:
        with pytest.raises(ZeroDivisionError):
            qs.fit(make("gradient"), Waves(fail), steps=8, out=tmp_path / "run", tasks=2, support=2, compile=False)
        assert "0/8" in (seen := read()) and seen.endswith("\x1b[?25h")  # the cursor is shown again

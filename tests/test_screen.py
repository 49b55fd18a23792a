"""Messages degrade, and end no work: full disks, closed pipes, terminals that are gone, encodings without letters."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from recipes import running
from rich.console import Console

from quickstudy.cli import main
from quickstudy.screen import Screen
from quickstudy.training.display import Display


def full() -> Any:
    return open("/dev/full", "w")


def closed_pipe() -> Any:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def terminal_that_is_gone() -> Any:
    keyboard, screen = os.openpty()
    os.close(keyboard)
    return os.fdopen(screen, "w")


def closed() -> Any:
    stream = io.StringIO()
    stream.close()
    return stream


def absent() -> None:
    return None


def ascii_only() -> Any:
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii")


BROKEN = [full, closed_pipe, terminal_that_is_gone, closed, absent]
Broken = Callable[[], Any]


@pytest.fixture(params=BROKEN)
def broken(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A stream that cannot be written."""
    stream = request.param()
    yield stream
    if stream is not None:
        with open(os.devnull) as nowhere, pytest.MonkeyPatch.context() as patch:
            if not isinstance(stream, io.StringIO):
                os.dup2(nowhere.fileno(), stream.fileno())
            patch.setattr(sys, "unraisablehook", lambda _: None)
            try:
                stream.close()
            except OSError:
                pass


@pytest.mark.parametrize("terminal", [False, True])
def test_a_display_goes_on_without_its_stream(broken: Any, terminal: bool) -> None:
    display = Display(Console(file=Screen(broken), force_terminal=terminal), every=0)  # type: ignore[arg-type]
    display.say("measuring")
    with display.training("maml") as update:
        for step in range(5):
            update(step, 5, 0.5, 10.0)
    display.say("drawing ± everything")


@pytest.mark.parametrize("name", ["stderr", "stdout"])
def test_a_run_goes_on_without_it(
    name: str, broken: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, name, broken)
    command = ["run", "sinusoid-oracle", *running.TINY["sinusoid-oracle"], "--out", str(tmp_path / "run")]
    assert main(command) == 0
    assert (tmp_path / "run" / "result.json").exists()
    assert getattr(sys, name) is broken
    said = capsys.readouterr()
    if name == "stderr":
        assert f"run:     {tmp_path / 'run'}" in said.out
    else:
        assert "measuring on 4 unseen waves" in said.err


@pytest.mark.parametrize(("status", "arguments"), [(2, ["rum"]), (1, ["resume", "nowhere"]), (2, ["cite", "--rum"])])
def test_a_complaint_that_nobody_can_read_keeps_its_status(
    status: int, arguments: list[str], broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", broken)
    assert main(arguments) == status


def test_ascii_is_spelt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = ascii_only(), ascii_only()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    folder = tmp_path / "größe-猫"
    assert main(["run", "sinusoid-maml", *running.TINY["sinusoid-maml"], "--out", str(folder)]) == 0
    assert main(["resume", str(folder / "nowhere")]) == 1
    assert main(["run", "sinusoid-maml", "--help"]) == 0
    said = out.buffer.getvalue().decode("ascii")
    assert " +- " in said and r"groe-\u732b" not in said and r"gro\xdfe-\u732b" in said
    assert r"gro\xdfe-\u732b/nowhere" in err.buffer.getvalue().decode("ascii")


@pytest.mark.parametrize(
    ("text", "spelt"), [("±", b"+-"), ("─│┼╭", b"-|++"), ("é", b"e"), ("猫🙂", b"\\u732b\\U0001f642")]
)
def test_spelling(text: str, spelt: bytes) -> None:
    assert text.encode("ascii", "quickstudy.spell") == spelt
    assert text.encode("utf-8", "quickstudy.spell") == text.encode()
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("utf-8", "quickstudy.spell")


@pytest.mark.parametrize(
    ("redirected", "status", "told"),
    [
        ("list >/dev/full", 1, "the output cannot be written (No space left on device); free some space"),
        ("--help >/dev/full", 1, "free some space"),
        ("list 2>/dev/full", 0, ""),
        ("rum 2>/dev/full", 2, ""),
        ("rum 2>&-", 2, ""),
        ("list >&-", 0, ""),
        ("list >&- 2>&-", 0, ""),
        ("list | true", 0, ""),
        ("rum 2>&1 >&- | true", 2, ""),
    ],
)
def test_the_exit_status_of_the_process(redirected: str, status: int, told: str) -> None:
    script = f"set -o pipefail; {sys.executable} -m quickstudy.cli {redirected}"
    answer = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert answer.returncode == status, answer.stderr
    assert told in answer.stderr and "Traceback" not in answer.stderr and "Exception ignored" not in answer.stderr

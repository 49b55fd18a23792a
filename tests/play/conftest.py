"""The page of `quickstudy play`, served in a thread, and a browser that opens it."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from quickstudy.play.command import content
from quickstudy.play.server import create_app

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an application at a free port of this machine; gives its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def answers_and_setup() -> tuple[dict[str, Any], dict[str, Any]]:
    """The answers of the page by their addresses, and what it knows at the beginning."""
    return content()


@pytest.fixture(scope="session")
def page_address(answers_and_setup: tuple[dict[str, Any], dict[str, Any]]) -> Iterator[str]:
    """The address of the page."""
    with serving(create_app(*answers_and_setup)) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium is installed, in which the page would be opened")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Any, page_address: str) -> Iterator[Callable[..., Any]]:
    """A function `visit(address after the page's, **options of the browser's context) -> page`.

    What the page complains of fails the test.
    """
    complaints: list[str] = []
    contexts = []

    def visit(where: str = "", **options: Any) -> Any:
        context = browser.new_context(bypass_csp=True, **options)  # the driver's own scripts need eval
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.goto(page_address + where)
        page.wait_for_function("window.quickstudy.answer !== null")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not complaints

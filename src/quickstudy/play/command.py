"""The command `quickstudy play`: loads the learners, serves the page, opens a browser."""

import socket
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from quickstudy.play.server import LOOPBACK, Answer, create_app

PORT = 8350
TRIED = 20  # ports from this one on, if it is taken and the user named none


@dataclass(frozen=True, kw_only=True)
class Playing:
    """Options of `quickstudy play`."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Folders of runs, of parts of runs, or of models of tables, to show beside the learners of the package."""
    port: int | None = None
    """Port of the page; 0 for any that is free; by default 8350, or the next that is free."""
    host: str = "127.0.0.1"
    """Address to listen at. With another one than this machine's own, everybody who reaches it can use the page."""
    browser: bool = True
    """Open the page in a browser."""


def content(runs: tuple[Path, ...] = ()) -> tuple[dict[str, Answer], dict[str, Any]]:
    """The answers of the page, and what it needs to know at the beginning."""
    from quickstudy.play import carts, navigation
    from quickstudy.play.functions import answers as functions
    from quickstudy.play.functions.built_in import built_in
    from quickstudy.play.functions.own import own_scene
    from quickstudy.play.images import answers as images
    from quickstudy.play.images.built_in import built_in as completing

    scenes = {f"own-{i + 1}": own_scene(run) for i, run in enumerate(runs)} | built_in()
    limits = {"points": functions.MOST_POINTS, "steps": functions.MOST_STEPS}
    players = completing()
    setup: dict[str, Any] = {
        "functions": {"scenes": {name: scene.described() for name, scene in scenes.items()}, "limits": limits},
        "images": images.described(players),
        "navigation": navigation.setup(),
        "carts": carts.setup(),
    }
    acting = navigation.answers() | carts.answers()
    return functions.answers(scenes) | images.answers(players) | acting, setup


def play(given: Playing) -> None:
    """Serve the page until the user stops it."""
    import torch
    import uvicorn

    torch.set_num_threads(1)  # small networks: a second thread only waits
    answers, setup = content(given.runs)
    listening = _listen(given.host, given.port)
    port = listening.getsockname()[1]
    shown = f"[{given.host}]" if ":" in given.host else given.host
    address = f"http://{shown}:{port}/"
    print(f"play: {address} (Ctrl+C stops it)", flush=True)
    if given.browser:
        webbrowser.open(address)
    config = uvicorn.Config(
        create_app(answers, setup, _hosts(given.host)), log_level="error", timeout_graceful_shutdown=2, lifespan="off"
    )
    uvicorn.Server(config).run(sockets=[listening])


def _hosts(host: str) -> tuple[str, ...]:
    """Names under which the page may be reached: any, if it listens at all addresses."""
    if host in ("0.0.0.0", "::"):
        return ("*",)
    return (*LOOPBACK, host)


def _listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens at the port, or at one of the next if the user named none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for tried in range(PORT, PORT + TRIED) if port is None else [port]:
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, tried))
            listening.listen(128)
        except OSError as error:
            listening.close()
            last: Any = error
        else:
            return listening
    raise OSError(f"the page cannot listen at {host}:{tried} ({last.strerror}); choose another --port, or --port 0")

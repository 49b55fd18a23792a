"""The page's server: it sends the page's files, and answers messages about what a visitor has clicked.

A message holds everything that its answer depends on, and nothing of a visitor is kept: visitors cannot see each other,
and one who leaves leaves nothing behind.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, final

import anyio
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from quickstudy.play.message import Message, MessageError

PAGE = Path(__file__).parent / "page"
LARGEST = 1 << 18  # bytes of a message
MOST_WAITING = 32  # messages that wait for their turn
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}

Answer = Callable[[Message], Mapping[str, Any]]
"""A function from a message to the fields of its answer. It raises MessageError for a message that is wrong."""

_log = logging.getLogger(__name__)


def create_app(answers: Mapping[str, Answer], setup: Mapping[str, Any], hosts: tuple[str, ...] = LOOPBACK) -> Starlette:
    """The application that serves the page.

    Args:
        answers: functions that answer the messages sent to /NAME, by NAME.
        setup: what the page needs to know at the beginning, sent as /setup.
        hosts: names under which the page may be reached; others are refused, so that no foreign web site can reach it
            through a name of its own (DNS rebinding).
    """
    turn = Turn()
    content = json.dumps(setup)

    async def send_setup(_: Request) -> Response:
        return Response(content, media_type="application/json")

    routes = [
        Route("/setup", send_setup),
        *(Route(f"/{name}", _endpoint(answer, turn), methods=["POST"]) for name, answer in answers.items()),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)), Middleware(SafeHeaders)]
    return Starlette(routes=routes, middleware=middleware)


@final
class Turn:
    """Answers are computed one at a time, in a thread; those whose visitor has left are skipped."""

    def __init__(self) -> None:
        self.waiting = 0
        self.lock: anyio.Lock | None = None

    async def compute(self, answer: Answer, message: Message, request: Request) -> Mapping[str, Any] | None:
        """The answer; None if the visitor has left.

        Raises:
            anyio.WouldBlock: if too many messages wait.
        """
        if self.waiting >= MOST_WAITING:
            raise anyio.WouldBlock
        self.lock = self.lock or anyio.Lock()
        self.waiting += 1
        try:
            async with self.lock:
                return None if await request.is_disconnected() else await run_sync(answer, message)
        finally:
            self.waiting -= 1


def _endpoint(answer: Answer, turn: Turn) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint that answers messages by `answer`. Whatever a message holds, the server goes on."""

    async def endpoint(request: Request) -> Response:
        try:
            message = Message.of(await _read(request))
            found = await turn.compute(answer, message, request)
            return Response(status_code=204) if found is None else JSONResponse(found)
        except MessageError as error:
            return _refuse(400, str(error))
        except RecursionError:
            return _refuse(400, "the message is nested too deeply")
        except ClientDisconnect:
            return Response(status_code=204)
        except anyio.WouldBlock:
            return _refuse(503, "too many messages are waiting; try again in a moment")
        except Exception as error:  # any error: one wrong answer must not end the page for all
            _log.exception("a message was not answered")
            return _refuse(500, f"the server failed to answer ({type(error).__name__}: {error})")

    return endpoint


async def _read(request: Request) -> Any:
    """The JSON of a message. Raises MessageError if it is too long, or no JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise MessageError("the message has another content type; expected application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            raise MessageError(f"the message is too long; expected at most {LARGEST} bytes")
    try:
        return json.loads(bytes(body))
    except ValueError:
        raise MessageError("the message is no JSON") from None


def _refuse(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status_code=status)


@final
class SafeHeaders:
    """Adds headers to every response by which the browser runs nothing but the page's own files."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_safely(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            await send(message)

        await self.app(scope, receive, send_safely)

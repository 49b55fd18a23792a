"""The server of the page: messages of all kinds, visitors who leave, what is refused."""

import gc
import http.client
import json
import random
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from play.conftest import serving

from quickstudy.play.message import Message, MessageError
from quickstudy.play.server import LARGEST, MOST_WAITING, create_app

GOOD = {"scene": "sine", "points": [[0, 1], [1, 2]], "truth": {"amplitude": 2, "phase": 1}, "seed": 1, "steps": 2}


class Answer(NamedTuple):
    """What the server sent."""

    status: int
    headers: dict[str, str]
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


class Client:
    """Sends requests to the page at an address."""

    def __init__(self, address: str):
        self.place = urlsplit(address).netloc

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, None, headers)

    def post(
        self, path: str, message: Any = None, *, body: bytes | None = None, kind: str = "application/json"
    ) -> Answer:
        return self.request(
            "POST", path, json.dumps(message).encode() if body is None else body, {"content-type": kind}
        )

    def request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection(self.place, timeout=30)
        try:
            connection.request(method, path, body, headers)
            found = connection.getresponse()
            return Answer(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read().decode())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def client(page_address: str) -> Client:
    return Client(page_address)


@contextmanager
def client_of(*app: Any, **options: Any) -> Iterator[Client]:
    with serving(create_app(*app, **options)) as address:
        yield Client(address)


def test_the_page_and_its_files(client: Client) -> None:
    page = client.get("/")
    assert page.status == 200 and "main.js" in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for name in ("main.js", "style.css", "icon.svg", "setup"):
        assert client.get(f"/{name}").status == 200, name
    for name in ("../server.py", "..%2fserver.py", "nothing.js", "functions/"):
        assert client.get(f"/{name}").status in (404, 405), name


def test_a_good_message_is_answered(client: Client) -> None:
    answer = client.post("/functions/predict", GOOD).json()
    assert len(answer["x"]) == len(answer["truth"]) == len(answer["players"]["maml"]["mean"]) == 121
    for player in ("np", "tnp", "alpaca", "exact"):
        drawn = client.post("/functions/draw", GOOD | {"player": player, "count": 2}).json()
        assert [len(function) for function in drawn["functions"]] == [121, 121], player
    refused = client.post("/functions/draw", GOOD | {"player": "maml"})
    assert refused.json()["error"] == "player is 'maml'; expected one of np, tnp, alpaca, exact"
    seen = client.post("/functions/observe", GOOD | {"at": [0.5, 7.0], "noise": 0.0}).json()
    assert seen["points"][0] == pytest.approx([0.5, 2 * -0.479425539], abs=1e-5)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"scene": "cosine"}, "scene is 'cosine'; expected one of sine"),
        ({"scene": ["sine"]}, "expected one of"),
        ({"points": 3}, "points is 3; expected a list of at most 60 points"),
        ({"points": [[0, 0]] * 61}, "at most 60 points"),
        ({"points": [[0, 1, 2]]}, r"expected a point \[x, y\]"),
        ({"points": [[0, "1"]]}, "y in points is '1'; expected a number"),
        ({"points": [[1e9, 0]]}, "x in points is 1000000000.0; expected a number from -15 to 15"),
        ({"points": [[True, 0]]}, "expected a number"),
        ({"truth": {"amplitude": 2}}, "lacks 'phase'"),
        ({"truth": [1, 2]}, "expected a JSON object"),
        ({"truth": {"amplitude": 10**400, "phase": 1}}, "expected a number from 0.1 to 5"),
        ({"steps": 31}, "steps is 31; expected a whole number from 0 to 30"),
        ({"steps": 2.5}, "whole number"),
        ({"seed": -1}, "seed is -1"),
        ({"noise": -1}, "noise is -1"),
    ],
)
def test_wrong_messages_say_what_is_wrong(client: Client, changed: dict[str, Any], why: str) -> None:
    answer = client.post("/functions/predict", GOOD | changed)
    assert answer.status == 400
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(answer.json()["error"])


def test_what_is_no_message_is_refused(client: Client) -> None:
    for body in (
        b"",
        b"{",
        b"[]",
        b"3",
        b"\xff\xfe",
        b'{"points": NaN}',
        b"[" * 100_000,
        b'{"a":' * 900 + b"1" + b"}" * 900,
    ):
        answer = client.post("/functions/predict", body=body)
        assert answer.status == 400 and answer.json()["error"], body[:20]
    assert "too long" in client.post("/functions/predict", body=b" " * (LARGEST + 1)).json()["error"]
    plain = client.post("/functions/predict", GOOD, kind="text/plain")
    assert plain.status == 400 and "content type" in plain.json()["error"]  # what foreign pages can send
    assert client.get("/functions/predict").status in (404, 405)
    assert client.post("/functions/nothing", GOOD).status in (404, 405)


def test_the_page_answers_under_its_own_names_only(client: Client) -> None:
    for name, status in (
        ("127.0.0.1:8350", 200),
        ("localhost", 200),
        ("evil.example", 400),
        ("127.0.0.1.evil.example", 400),
    ):
        assert client.get("/setup", host=name).status == status, name
    with client_of({}, {}, hosts=("*",)) as opened:
        assert opened.get("/setup", host="my-machine").status == 200


def test_an_error_of_an_answer_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(message: Message) -> dict[str, Any]:
        if message.fields.get("wrong"):
            raise MessageError("wrong")
        raise RuntimeError("out of luck")

    with client_of({"broken": broken}, {}) as client:
        answer = client.post("/broken", {}).json()
        assert answer == {"error": "the server failed to answer (RuntimeError: out of luck)"}
        assert client.post("/broken", {"wrong": 1}).status == 400
        assert client.get("/setup").status == 200
    assert "out of luck" in caplog.text


def test_who_leaves_is_skipped_and_a_crowd_is_asked_to_come_again() -> None:
    entered, may_go, computed = threading.Event(), threading.Event(), []

    def slow(message: Message) -> dict[str, Any]:
        computed.append(message.fields["who"])
        entered.set()
        may_go.wait(20)
        return {}

    with serving(create_app({"slow": slow}, {})) as address, ExitStack() as visitors:

        def send(who: str) -> socket.socket:
            return visitors.enter_context(_send(address, "slow", {"who": who}))

        first = send("first")
        assert entered.wait(20)
        crowd = [send("crowd") for _ in range(MOST_WAITING - 1)]
        time.sleep(0.3)
        late = send("late")
        assert b"503" in late.recv(200)
        for visitor in crowd:
            visitor.close()
        time.sleep(0.3)
        may_go.set()
        assert b"200" in first.recv(200)
        last = send("last")
        assert b"200" in last.recv(200)
    assert computed == ["first", "last"]


def _send(address: str, name: str, message: dict[str, Any]) -> socket.socket:
    """A visitor who has sent a message, and not yet read the answer."""
    place = urlsplit(address)
    visitor = socket.create_connection((place.hostname, place.port), timeout=20)
    body = json.dumps(message).encode()
    head = f"POST /{name} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n"
    visitor.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return visitor


@pytest.mark.slow
def test_a_thousand_wrong_messages_and_memory_stays(client: Client) -> None:
    chance = random.Random(0)

    def wrong() -> bytes:
        text = json.dumps(
            GOOD | {chance.choice(list(GOOD)): chance.choice([None, {}, [[]], "x" * 1000, 1e308, -5, True, [[1]] * 99])}
        )
        at = chance.randrange(len(text))
        return (text if chance.random() < 0.5 else text[:at] + chance.choice('{}[]",:0') + text[at + 1 :]).encode()

    def storm(messages: int) -> None:
        for _ in range(messages):
            answer = client.post("/functions/predict", body=wrong())
            assert answer.status in (200, 400), answer.text

    storm(100)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    storm(1000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KiB
    assert client.post("/functions/predict", GOOD).status == 200

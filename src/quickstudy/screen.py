"""Text for people: what their terminal cannot show is spelt otherwise, and one that is gone ends no work."""

import codecs
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_SPELT = {
    "±": "+-",
    "×": "x",
    "…": "...",
    "−": "-",
    "–": "-",
    "—": "-",
    "’": "'",
    "“": '"',
    "”": '"',
    "•": "*",
    "·": ".",
}
_SPELT |= dict.fromkeys("─━═╌╍┄┅╴╶╸╺", "-") | dict.fromkeys("│┃║╎╏┆┇╵╷╹╻", "|")
_SPELT |= {chr(code): "+" for code in range(0x2500, 0x2580) if chr(code) not in _SPELT}  # corners and crossings


def spell(error: UnicodeError) -> tuple[str, int]:
    """Stand in for what an encoding lacks: ASCII that looks alike, an accent left out, or the character's number.

    A handler of encoding errors, by the name "quickstudy.spell".

    >>> "5.9 ± 0.3, Zoë, 猫".encode("ascii", "quickstudy.spell")
    b'5.9 +- 0.3, Zoe, \\\\u732b'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_spelt, error.object[error.start : error.end])), error.end


def _spelt(character: str) -> str:
    plain = _SPELT.get(character) or unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return plain or character.encode("ascii", "backslashreplace").decode()


codecs.register_error("quickstudy.spell", spell)


class Screen:
    """A text stream for messages: what it cannot show is spelt otherwise, and nothing that happens to it raises.

    Args:
        stream: where to; None shows nothing.

    Attributes:
        lost: why writing failed (a full disk, a closed pipe, a terminal that is gone); from then on nothing is written.
    """

    def __init__(self, stream: Any):
        self._stream = stream
        self.lost: OSError | ValueError | None = None if stream is not None else ValueError("there is no stream")
        self.encoding: str = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write `text`, if that is possible."""
        self._try(lambda: self._stream.write(text.encode(self.encoding, "quickstudy.spell").decode(self.encoding)))
        return len(text)

    def flush(self) -> None:
        """Flush, if that is possible."""
        self._try(lambda: self._stream.flush())

    def isatty(self) -> bool:
        """Whether somebody may be watching."""
        return bool(self._try(lambda: self._stream.isatty()))

    def _try(self, do: Callable[[], Any]) -> Any:
        if self.lost is None:
            try:
                return do()
            except (OSError, ValueError) as error:  # ValueError: the stream was closed
                self.lost = error
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def screens() -> Iterator[tuple[Screen, Screen]]:
    """While entered, stdout and stderr are screens.

    What they could not take is dropped at the end: Python would write it again as it exits, and change the exit status.
    """
    streams = sys.stdout, sys.stderr
    out, err = Screen(sys.stdout), Screen(sys.stderr)
    sys.stdout, sys.stderr = out, err
    try:
        yield out, err
    finally:
        sys.stdout, sys.stderr = streams
        for screen, stream in zip((out, err), streams, strict=True):
            screen.flush()
            if isinstance(screen.lost, OSError):
                _drop(stream)


def _drop(stream: Any) -> None:
    """Send what `stream` still holds, and all that follows, nowhere."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
    stream.flush()

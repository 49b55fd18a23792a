"""Output streams that replace characters which the terminal cannot show, and that never raise if writing fails."""

import codecs
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_REPLACEMENTS = {
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
_REPLACEMENTS |= dict.fromkeys("─━═╌╍┄┅╴╶╸╺", "-") | dict.fromkeys("│┃║╎╏┆┇╵╷╹╻", "|")
_REPLACEMENTS |= {
    chr(code): "+" for code in range(0x2500, 0x2580) if chr(code) not in _REPLACEMENTS
}  # corners and crossings


def spell(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that an encoding lacks by similar ASCII, by the letter without accents, or by their number.

    This is the handler of encoding errors that is registered as "quickstudy.spell".

    >>> "5.9 ± 0.3, Zoë, 猫".encode("ascii", "quickstudy.spell")
    b'5.9 +- 0.3, Zoe, \\\\u732b'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_replacement, error.object[error.start : error.end])), error.end


def _replacement(character: str) -> str:
    plain = _REPLACEMENTS.get(character) or unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return plain or character.encode("ascii", "backslashreplace").decode()


codecs.register_error("quickstudy.spell", spell)


class Screen:
    """A text stream for messages that replaces characters which `stream` cannot show, and does not raise exceptions.

    Args:
        stream: the stream to write to; None discards the text.

    Attributes:
        lost: the error that ended writing (a full disk, a closed pipe or terminal); all later text is discarded.
    """

    def __init__(self, stream: Any):
        self._stream = stream
        self.lost: OSError | ValueError | None = None if stream is not None else ValueError("there is no stream")
        self.encoding: str = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write `text`, unless writing has failed."""
        self._try(lambda: self._stream.write(text.encode(self.encoding, "quickstudy.spell").decode(self.encoding)))
        return len(text)

    def flush(self) -> None:
        """Flush the stream, unless writing has failed."""
        self._try(lambda: self._stream.flush())

    def isatty(self) -> bool:
        """Whether the stream is a terminal that can be written."""
        return bool(self._try(lambda: self._stream.isatty()))

    def _try(self, operation: Callable[[], Any]) -> Any:
        if self.lost is None:
            try:
                return operation()
            except (OSError, ValueError) as error:  # ValueError: the stream was closed
                self.lost = error
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def screens() -> Iterator[tuple[Screen, Screen]]:
    """Within this context, stdout and stderr are `Screen`s.

    Text that could not be written is discarded at the end; otherwise Python would try again at exit, fail, and change
    the exit status.
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
                _discard(stream)


def _discard(stream: Any) -> None:
    """Redirect `stream` to the null device, and flush its buffer there."""
    with open(os.devnull, "w", encoding="utf-8") as null:
        os.dup2(null.fileno(), stream.fileno())
    stream.flush()

"""Handles SIGINT, SIGTERM and SIGHUP: the signal is noted, so that training can save before the process exits."""

import signal
import threading
from types import FrameType
from typing import Any

POLITE = (signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))
"""Signals that ask a process to exit; SIGHUP is sent when a terminal or a connection closes, and not on Windows."""


class Signals:
    """A context that catches SIGINT, SIGTERM and SIGHUP. `received` is the last one that arrived, or None.

    A second SIGINT raises KeyboardInterrupt at once. Signals that the process ignores (SIGHUP under `nohup`) stay
    ignored. Outside the main thread, where Python cannot catch signals, the context has no effect.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, *POLITE):
                # None: the handler was installed from C and could not be restored
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def leave(self) -> None:
        """Raise KeyboardInterrupt after SIGINT, SystemExit 143 after SIGTERM, and SystemExit 129 after SIGHUP."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(128 + self.received)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number

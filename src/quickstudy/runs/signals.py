"""Leaving politely: the first SIGINT, SIGTERM or SIGHUP is remembered until the step is done."""

import signal
import threading
from types import FrameType
from typing import Any

POLITE = (signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))
"""Signals that ask a process to leave; SIGHUP comes when a terminal or a connection closes, and Windows has none."""


class Signals:
    """While entered, `received` is the SIGINT, SIGTERM or SIGHUP that asked the process to leave, or None.

    A second SIGINT raises KeyboardInterrupt at once. Signals that the process ignores stay ignored, and outside the
    main thread, where Python cannot catch signals, nothing changes.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, *POLITE):
                # None: installed from C, and could not be put back
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def leave(self) -> None:
        """Raise what the received signal means: KeyboardInterrupt, or SystemExit: 143 for SIGTERM, 129 for SIGHUP."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(128 + self.received)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number

"""The command line: `quickstudy demo | list | run RECIPE | resume RUN | evaluate RUN | report RUN... | cite RUN`.

Nothing heavy is imported before a command is chosen: `quickstudy --help` needs neither torch nor matplotlib.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from quickstudy import commands
from quickstudy._version import __version__
from quickstudy.runs.signals import POLITE
from quickstudy.screen import screens

HELP = """quickstudy {version}: learn from a few examples, because many were learned before

usage: quickstudy COMMAND ...

  demo             train MAML, a Neural Process and their rivals on sine waves; figures and a report in two minutes
  list             the recipes
  run RECIPE       run one: train, measure, draw          (run RECIPE --help shows its options)
  resume RUN       go on with a run that was stopped
  evaluate RUN     measure a run again
  report RUN...    one HTML page about a run, or comparing several
  cite RUN         BibTeX for what a run used

  --help           this text; after a command, that command's options
  --version        the version
  --debug          show where an error came from (so does QUICKSTUDY_DEBUG=1)"""

OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    0 is done, 1 failed, 2 misused, 129 hung up (SIGHUP), 130 interrupted (SIGINT), 143 terminated (SIGTERM).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get("QUICKSTUDY_DEBUG", "") not in ("", "0")
    arguments = [word for word in arguments if word != "--debug"]
    with screens() as (out, _):
        status = _run(arguments, debug)
        out.flush()
        if isinstance(out.lost, OSError) and not isinstance(out.lost, BrokenPipeError):  # a reader may leave, as `head`
            status = _unprinted(out.lost, arguments[0] if arguments else "", status)
    return status


def _run(arguments: list[str], debug: bool) -> int:
    try:
        with _signals_exit():
            return _dispatch(arguments)
    except SystemExit as leaving:  # tyro after --help (0) or a misspelt option (2); SIGHUP (129), SIGTERM (143)
        return leaving.code if isinstance(leaving.code, int) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except commands.UsageError as error:
        _complain(error)
        return MISUSED
    except Exception as error:  # the last resort of a command line: one line, unless more is asked for
        if debug:
            raise
        _complain(error)
        return FAILED


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        print(HELP.format(version=__version__))
        return MISUSED
    command, rest = arguments[0], arguments[1:]
    if command in ("--help", "-h", "help"):
        print(HELP.format(version=__version__))
        return OK
    if command in ("--version", "-V"):
        print(f"quickstudy {__version__}")
        return OK
    if command not in commands.COMMANDS:
        near = commands.nearest(command, commands.COMMANDS, "quickstudy --help")
        raise commands.UsageError(f"there is no command {command!r}; {near}")
    if command not in ("run", "resume") and os.environ.get("WORLD_SIZE", "1") != "1":
        raise commands.UsageError(f"{command} works in one process; start it without torchrun")
    commands.COMMANDS[command](rest)
    return OK


def _unprinted(error: OSError, command: str, status: int) -> int:
    """Say that stdout could not be written; the exit status: a failure, unless the command's work is on disk."""
    kept = command in commands.KEPT
    where = "what this command made is on disk" if kept else "free some space, or send the output elsewhere"
    print(f"quickstudy: the output cannot be written ({error.strerror}); {where}", file=sys.stderr)
    return status if kept else status or FAILED


@contextmanager
def _signals_exit() -> Iterator[None]:
    """While entered, SIGTERM and SIGHUP leave through SystemExit (143, 129), so that nothing is left half-written.

    A signal that the process ignores, as after `nohup`, stays ignored.
    """

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        del frame
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught = [number for number in POLITE if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    previous = {number: signal.signal(number, leave) for number in caught}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _complain(error: BaseException) -> None:
    known = isinstance(error, OSError | ValueError | TypeError | commands.UsageError | NotImplementedError)
    known = known or type(error).__module__.startswith("quickstudy.")
    name = "" if known else f"{type(error).__name__}: "
    hint = "" if known else " (--debug shows where)"
    print(f"quickstudy: error: {name}{' '.join(_words(error).split())}{hint}", file=sys.stderr)


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:  # without the number that str() puts in front
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())

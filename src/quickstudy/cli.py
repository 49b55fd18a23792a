"""The command line: `quickstudy demo | play | list | run | resume | evaluate | report | cite | table | predict`.

`quickstudy --help` imports neither torch nor matplotlib; the commands import what they need.
"""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from quickstudy import commands
from quickstudy._version import __version__
from quickstudy.runs.signals import POLITE
from quickstudy.screen import screens

HELP = """quickstudy {version}: meta-learning in PyTorch, with MAML, Neural Processes and their families

usage: quickstudy COMMAND ...

  demo             train MAML, a Neural Process and baselines on sine waves, in two minutes, and write a report
  play             open a page where you click points and watch learners change their minds
  list             list the recipes
  run RECIPE       run a recipe: train, measure and draw figures (run RECIPE --help shows its options)
  resume RUN       continue a run that was stopped; RUN is its folder
  evaluate RUN     measure a run again, on unseen tasks
  report RUN...    write one HTML page about a run, or one that compares several runs
  cite RUN         print BibTeX for the methods that a run used
  table FILE       choose among learners for your table of groups, and fit the best mixture
  predict MODEL    predict new groups of such a table from their first rows

  --help           show this text; after a command, show the options of that command
  --version        show the version
  --debug          show the traceback of an error (as QUICKSTUDY_DEBUG=1 does)"""

OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    0: success; 1: an error; 2: a wrong command line; 129: SIGHUP; 130: SIGINT; 143: SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get("QUICKSTUDY_DEBUG", "") not in ("", "0")
    arguments = [word for word in arguments if word != "--debug"]
    with screens() as (out, _):
        status = _run(arguments, debug)
        out.flush()
        if isinstance(out.lost, OSError) and not isinstance(out.lost, BrokenPipeError):  # a reader may leave, as `head`
            status = _report_unwritable(out.lost, arguments[0] if arguments else "", status)
    return status


def _run(arguments: list[str], debug: bool) -> int:
    try:
        with _signals_exit(), _plain_warnings(debug=debug):
            return _dispatch(arguments)
    except SystemExit as leaving:  # tyro after --help (0) or a misspelt option (2); SIGHUP (129), SIGTERM (143)
        return leaving.code if isinstance(leaving.code, int) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except commands.UsageError as error:
        _report_error(error)
        return MISUSED
    except Exception as error:  # any error is reported in one line, unless --debug is given
        if debug:
            raise
        _report_error(error)
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
        near = commands.nearest(command, commands.COMMANDS, "`quickstudy --help` shows the commands")
        raise commands.UsageError(f"there is no command {command!r}; {near}")
    if command not in ("run", "resume") and os.environ.get("WORLD_SIZE", "1") != "1":
        raise commands.UsageError(f"{command} runs in one process; start it without torchrun")
    commands.COMMANDS[command](rest)
    return OK


def _report_unwritable(error: OSError, command: str, status: int) -> int:
    """Report that stdout cannot be written; return the exit status, a failure unless the command wrote files."""
    kept = command in commands.KEPT
    advice = "the files that the command wrote are on disk" if kept else "free some space, or redirect the output"
    print(f"quickstudy: the output cannot be written ({error.strerror}); {advice}", file=sys.stderr)
    return status if kept else status or FAILED


@contextmanager
def _plain_warnings(*, debug: bool) -> Iterator[None]:
    """Within this context, a warning is shown as one line without the code that it comes from, unless `debug`."""

    def plain(message: Warning | str, category: type[Warning], *place: object, **line: object) -> str:
        return f"quickstudy: warning: {' '.join(str(message).split())}\n"

    before = warnings.formatwarning
    warnings.formatwarning = before if debug else plain
    try:
        yield
    finally:
        warnings.formatwarning = before


@contextmanager
def _signals_exit() -> Iterator[None]:
    """Within this context, SIGTERM and SIGHUP raise SystemExit (143, 129), so that files are written to their end.

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


def _report_error(error: BaseException) -> None:
    """Print one line about `error` to stderr; if its kind is unexpected, with its name and a hint at --debug."""
    known = isinstance(
        error, OSError | ValueError | TypeError | ImportError | commands.UsageError | NotImplementedError
    )
    known = known or type(error).__module__.startswith("quickstudy.")
    name = "" if known else f"{type(error).__name__}: "
    hint = "" if known else " (--debug shows the traceback)"
    print(f"quickstudy: error: {name}{' '.join(_message(error).split())}{hint}", file=sys.stderr)


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:  # without the number that str() puts in front
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())

"""The same command once more: what to do about each option that differs from the run that is there."""

import shlex
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from quickstudy.experiments.options import UNKEPT, Options
from quickstudy.experiments.remeasure import WORDS

MEASURED = {**WORDS, "which": "--which"}
"""Options of measuring, as `quickstudy evaluate` calls them."""


def differences(options: Options, before: Options, out: Path) -> list[str]:
    """One sentence for each kind of option that differs; nothing if the run at `out` is the one that is asked for.

    Args:
        options: of this command.
        before: of the run.
        out: its folder.

    >>> from quickstudy.recipes.sinusoid.maml import Options
    >>> differences(Options(steps=10, test_tasks=50), Options(), Path("runs/sine"))[0]
    '--steps is 70000 there and 10 here: give --steps 70000 to go on with that run, or choose another --out.'
    """
    names = [f.name for f in fields(options) if f.name not in UNKEPT]
    changed = [name for name in names if _plain(getattr(options, name)) != _plain(getattr(before, name))]
    measured = {name: MEASURED[name] for name in changed if name in MEASURED}
    trained = {name: f"--{name.replace('_', '-')}" for name in changed if name not in MEASURED}
    told = []
    if trained:
        same = _arguments(trained, before)
        told.append(
            f"{_listed(trained, options, before)}: give {same} to go on with that run, or choose another --out."
        )
    if measured:
        command = f"quickstudy evaluate {shlex.quote(str(out))} {_arguments(measured, options)}"
        told.append(f"{_listed(measured, options, before)}: `{command}` measures it so.")
    return told


def _arguments(words: Mapping[str, str], options: Options) -> str:
    """As one would type them."""
    return " ".join(f"{word} {_shown(getattr(options, name))}".rstrip() for name, word in words.items())


def _listed(words: Mapping[str, str], options: Options, before: Options) -> str:
    told = []
    for name in words:
        there, here = (_shown(getattr(each, name)) or "not given" for each in (before, options))
        told.append(f"--{name.replace('_', '-')} is {there} there and {here} here")
    return ", ".join(told)


def _plain(value: Any) -> Any:
    return value.absolute() if isinstance(value, Path) else value


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)

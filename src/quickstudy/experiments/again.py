"""Compare the options of a command with those of the run in its folder, and say what to do about each difference."""

import shlex
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from quickstudy.experiments.options import UNKEPT, Options
from quickstudy.experiments.remeasure import NAMES_IN_EVALUATE

MEASURED = {**NAMES_IN_EVALUATE, "which": "--which"}
"""Options that change the measurement alone, and their names in `quickstudy evaluate`."""


def differences(options: Options, before: Options, out: Path) -> list[str]:
    """Sentences about the options that differ: one about those of training, one about those of measuring.

    Args:
        options: the options of this command.
        before: the options of the run.
        out: folder of the run.

    Returns:
        No sentence if all options are equal, except for `UNKEPT`.

    >>> from quickstudy.recipes.sinusoid.maml import Options
    >>> differences(Options(steps=10, test_tasks=50), Options(), Path("runs/sine"))[0]
    '--steps was 70000 and is now 10: give --steps 70000 to continue that run, or choose another --out.'
    """
    names = [f.name for f in fields(options) if f.name not in UNKEPT]
    changed = [name for name in names if _comparable(getattr(options, name)) != _comparable(getattr(before, name))]
    measured = {name: MEASURED[name] for name in changed if name in MEASURED}
    trained = {name: f"--{name.replace('_', '-')}" for name in changed if name not in MEASURED}
    sentences = []
    if trained:
        same = _arguments(trained, before)
        sentences.append(
            f"{_listed(trained, options, before)}: give {same} to continue that run, or choose another --out."
        )
    if measured:
        command = f"quickstudy evaluate {shlex.quote(str(out))} {_arguments(measured, options)}"
        sentences.append(f"{_listed(measured, options, before)}: `{command}` measures that run this way.")
    return sentences


def _arguments(words: Mapping[str, str], options: Options) -> str:
    """The options and their values as they are typed in a shell."""
    return " ".join(_argument(word, getattr(options, name)) for name, word in words.items())


def _argument(word: str, value: Any) -> str:
    if isinstance(value, bool):
        return word if value else word.replace("--", "--no-", 1)
    return f"{word} {_shown(value)}".rstrip()


def _listed(words: Mapping[str, str], options: Options, before: Options) -> str:
    changes = []
    for name in words:
        old, new = (_shown(getattr(each, name)) or "not given" for each in (before, options))
        changes.append(f"--{name.replace('_', '-')} was {old} and is now {new}")
    return ", ".join(changes)


def _comparable(value: Any) -> Any:
    return value.absolute() if isinstance(value, Path) else value


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)

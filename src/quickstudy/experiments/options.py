"""Options of every recipe, and how `config.json` stores them. This module does not import torch."""

import dataclasses
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union

from quickstudy.runs.reading import short


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of every recipe."""

    steps: int
    """Meta-training steps."""
    seed: int = 0
    """Seed of the initial weights, of the batches and of all noise in training."""
    seeds: tuple[int, ...] = ()
    """Seeds of several runs, each in OUT/seed-N; OUT/result.json then holds means over seeds."""
    parallel: int = 0
    """Number of seeds that run at the same time, each with its share of the cores; 0 means the number of cores."""
    device: str = "auto"
    """Device to train on: auto (a GPU if there is one), cpu, cuda, cuda:1 ..."""
    out: Path | None = None
    """Folder of the run; by default runs/RECIPE-seedN, or runs/RECIPE-seeds with --seeds."""
    which: Literal["best", "last"] = "best"
    """Weights to measure: the best on the validation tasks, or the last."""


@dataclass(frozen=True, kw_only=True)
class Sampled(Options):
    """Options of every recipe whose unseen tasks are drawn from a family."""

    test_tasks: int = 600
    """Unseen tasks to measure on."""
    test_seed: int = 0
    """Seed of the unseen tasks. Runs with the same --test-seed and --test-tasks are measured on the same tasks."""


@dataclass(frozen=True, kw_only=True)
class Stepped(Sampled):
    """Options of every recipe whose learners adapt by gradient steps."""

    test_steps: tuple[int, ...] = ()
    """Numbers of gradient steps after which to measure; by default the number in training, and some others."""

    def counts(self, usual: Iterable[int], trained: int) -> list[int]:
        """The numbers of gradient steps after which to measure a learner.

        Args:
            usual: the recipe's own numbers.
            trained: the number of steps in training. The result is `test_steps` if given, else `usual` and this one.
        """
        return sorted(set(self.test_steps or (*usual, trained)))


UNKEPT = ("out", "parallel")  # options that do not change a run, and are not stored in it
Some = TypeVar("Some", bound=Options)
LEAST = {
    "steps": 1,
    "seed": 0,
    "test_tasks": 2,
    "test_episodes": 1,
    "test_steps": 0,
    "test_seed": 0,
    "parallel": 0,
    "seen": 1,
    "shots": 0,
    "width": 1,
}


def check_options(options: Options, words: Mapping[str, str] | None = None) -> None:
    """Raise ValueError if a shared option has an invalid value; `words` maps options to their names in messages."""
    for name, least in LEAST.items():
        value = getattr(options, name, least)
        if (min(value, default=least) if isinstance(value, tuple) else value) < least:
            word = (words or {}).get(name, f"--{name.replace('_', '-')}")
            shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
            raise ValueError(f"{word} {shown}: expected at least {least}")
    if len(set(options.seeds)) < len(options.seeds) or any(seed < 0 for seed in options.seeds):
        raise ValueError(
            f"--seeds {' '.join(map(str, options.seeds))}: expected different seeds, none of them negative"
        )


def to_json(options: Options) -> dict[str, Any]:
    """The options as `config.json` stores them: all of them except `UNKEPT`, and absolute paths."""
    values = {f.name: getattr(options, f.name) for f in dataclasses.fields(options) if f.name not in UNKEPT}
    return {
        k: list(v) if isinstance(v, tuple) else str(v.absolute()) if isinstance(v, Path) else v
        for k, v in values.items()
    }


def from_json(kind: type[Some], values: Mapping[str, Any], out: Path) -> Some:
    """The options in a `config.json`, each checked against its type.

    Raises:
        ValueError: if an option is unknown, missing or of the wrong type; the message names it.
    """
    types = typing.get_type_hints(kind)
    for name, value in values.items():
        if name not in types:
            near = get_close_matches(name, types, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "was it written by another version?"
            raise ValueError(f"{out / 'config.json'} names an unknown option {name!r}; {hint}")
        if not _fits(value, types[name]):
            raise ValueError(f"{out / 'config.json'} has {name}={short(value)}; expected {_words(types[name])}")
    arguments = {name: _read(value, types[name]) for name, value in values.items() if name not in UNKEPT}
    try:
        return kind(**arguments, out=out)
    except TypeError as error:
        raise ValueError(
            f"{out / 'config.json'} lacks options of its recipe ({error}); restore the file from a copy"
        ) from None


def _fits(value: Any, kind: Any) -> bool:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is Literal:
        return value in inner
    if origin is tuple:
        return isinstance(value, list) and all(_fits(v, inner[0]) for v in value)
    if kind is type(None):
        return value is None
    if kind is Path:
        return isinstance(value, str)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind


def _read(value: Any, kind: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str) and (kind is Path or Path in typing.get_args(kind)):
        return Path(value)
    return value


def _words(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")

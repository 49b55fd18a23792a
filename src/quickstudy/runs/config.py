"""`config.json`: the description of a run, and the comparison of two descriptions when a run is resumed."""

import json
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from quickstudy._version import __version__
from quickstudy.runs.atomic import write_file
from quickstudy.runs.metrics_file import TIME_FIELDS
from quickstudy.runs.rebuild import families
from quickstudy.runs.rebuild.spec import to_spec
from quickstudy.runs.run import CONFIG

# A resume may differ in these: they record versions, how the run was started and shared among processes, and what was
# decided at its start.
_FREE = {"quickstudy", "torch", "python", "recipe", "options", "command", "compile", "threads", "device"}
_FREE |= {"processes", "accumulate", "job", "verify", "extended", "family_spec", "time_fields"}
# Earlier versions did not write these; where they are missing, a resume does not compare them.
_LATER = {"environment", "task_distribution"}


def describe_run(learner: nn.Module, family: object, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a run: learner, family or environment, the arguments of `fit`, and the versions of the software."""
    return {
        "quickstudy": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "learner": to_spec(learner),
        "family": without_addresses(repr(family)),
        "family_spec": families.to_spec(family),
        "dtype": str(torch.get_default_dtype())[6:],
        **{name: _value(value) for name, value in arguments.items()},
        "time_fields": list(TIME_FIELDS),
    }


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write `config.json`. Raises OSError if it cannot be written."""
    write_file(folder / CONFIG, json.dumps(config, indent=1).encode() + b"\n")


def check_json(name: str, value: Any) -> Any:
    """`value` after a round trip through JSON. Raises TypeError if JSON cannot hold it."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} cannot be written to config.json ({error}); give numbers, words, lists and dicts"
        ) from None


def check_same(config: Mapping[str, Any], before: Mapping[str, Any], folder: Path) -> None:
    """Raise ValueError, naming the first difference, unless `config` describes the same run as `before`."""
    for name in (name for name in config if name not in _FREE and not (name in _LATER and name not in before)):
        difference = _difference(name, config[name], before.get(name))
        if difference is None:
            continue
        cure = "give the same arguments, or another out"
        if name == "steps":
            longer = type(before.get(name)) is int and config[name] > before[name]
            cure = "a run's length is part of it (its schedule and its evaluations depend on it): give another out" + (
                ", or lengthen it by exist='extend' when it is finished" if longer else ""
            )
        raise ValueError(f"the run in {folder} is another one: {difference}; {cure}")


def check_alike(config: Mapping[str, Any], first: Mapping[str, Any], rank: int) -> None:
    """Raise ValueError unless process `rank` has the config of process 0; the number of threads may differ."""
    for name in (name for name in config if name != "threads"):
        difference = _difference(name, config[name], first.get(name))
        if difference is not None:
            raise ValueError(
                f"process {rank} and process 0 have different arguments: {difference}; start all with the same ones"
            )


def without_addresses(text: str) -> str:
    """`text` without memory addresses, which differ between processes.

    >>> without_addresses("<Waves object at 0x7f3a>")
    '<Waves object>'
    """
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _value(value: Any) -> Any:
    """`value` as JSON can hold it: callables by name, tuples as lists."""
    if callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    return list(value) if isinstance(value, tuple) else value


def _difference(name: str, now: Any, then: Any) -> str | None:
    if isinstance(now, dict) and isinstance(then, dict):
        for key in (*now, *then):
            found = _difference(f"{name}.{key}", now.get(key), then.get(key))
            if found is not None:
                return found
        return None
    return None if now == then else f"{name} was {_short(then)} and is now {_short(now)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."

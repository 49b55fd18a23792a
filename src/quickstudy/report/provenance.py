"""How a run was made, as text: its learners, tasks, options, command, hardware and duration."""

import shlex
from collections.abc import Mapping
from typing import Any

from quickstudy.report.runs import RunRecord
from quickstudy.report.tables import named

TRAINING = (
    *("tasks", "support", "query", "points", "lr", "optimizer", "schedule", "clip", "accumulate", "patience"),
    *("evaluate_every", "validation_tasks", "dtype", "engine", "compile"),
)
"""Arguments of `fit` that are shown."""
APART = ("seed", "seeds", "steps")  # options that have a line of their own
LONG = 60  # of a mapping that is longer as text, only the number of entries is shown


def facts(run: RunRecord) -> dict[str, str]:
    """Return what a reader needs to repeat the run, by name, without what is not known."""
    config, result = run.config, run.result
    options = {k: v for k, v in (config.get("options") or {}).items() if k not in APART}
    found: dict[str, Any] = {"recipe": run.recipe}
    found |= _of_parts(run)
    found |= {
        "options": _arguments(options),
        "command": command(run),
        "seed": _seeds(result.get("seed", config.get("seed"))),
        "meta-training steps": result.get("steps", config.get("steps")),
        _seconds(result.get("seed")): _rounded(result.get("seconds")),
        "hardware": result.get("hardware"),
        "commit": result.get("commit"),
        "versions": _versions([config, *run.parts.values()]),
    }
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def command(run: RunRecord) -> str:
    """Return the command that made the run; empty if it was made from Python."""
    typed = run.result.get("command") or run.config.get("command") or ""
    return typed if isinstance(typed, str) else shlex.join(map(str, typed))


def described(value: Any) -> str:
    """Return a learner, or any other value of a `config.json`, as Python code, without options that are None.

    >>> described({"class": "MAML", "network": {"class": "MLP", "hidden": [40, 40]}, "lr": 0.01, "loss": None})
    'MAML(network=MLP(hidden=[40, 40]), lr=0.01)'
    """
    if isinstance(value, Mapping) and "class" in value:
        return f"{value['class']}({_arguments({k: v for k, v in value.items() if k != 'class'})})"
    if isinstance(value, Mapping):
        text = "{" + ", ".join(f"{k!r}: {described(v)}" for k, v in value.items()) + "}"
        return text if len(text) <= LONG else f"{{{len(value)} entries}}"
    if isinstance(value, list):
        return "[" + ", ".join(map(described, value)) + "]"
    return repr(value)


def _of_parts(run: RunRecord) -> dict[str, str]:
    """Return learner, task family and training arguments; parts that have the same ones share a line.

    Only the first of several seeds is described, as the others differ in nothing else.
    """
    first = next((part.partition(", ")[0] for part in run.parts if part.startswith("seed-")), "")
    shown = {
        named(part.removeprefix(first).removeprefix(", ")): config
        for part, config in [("", run.config), *run.parts.items()]
        if config.get("learner") and (part == "" or part.startswith(first))
    }
    found: dict[str, str] = {}
    for name, text in (
        ("learner", lambda config: described(config["learner"])),
        ("task family", lambda config: str(config.get("family") or "")),
        ("training", lambda config: _arguments({key: config.get(key) for key in TRAINING})),
    ):
        parts: dict[str, list[str]] = {}
        for part, config in shown.items():
            parts.setdefault(text(config), []).append(part)
        for value, those in parts.items():
            where = f" of {', '.join(filter(None, those))}" if len(parts) > 1 and any(those) else ""
            found[name + where] = value
    return found


def _arguments(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={described(value)}" for name, value in values.items() if value not in (None, []))


def _seeds(seed: Any) -> str | None:
    return " ".join(map(str, seed)) if isinstance(seed, list) else None if seed is None else str(seed)


def _seconds(seed: Any) -> str:
    """Return what the seconds of a result are; seeds that trained at the same time are added up, too."""
    several = isinstance(seed, list) and len(seed) > 1
    return f"seconds of training, sum over {len(seed)} seeds" if several else "seconds of training"


def _rounded(seconds: Any) -> str | None:
    return f"{seconds:.1f}" if isinstance(seconds, int | float) else None


def _versions(configs: list[dict[str, Any]]) -> str:
    config = next((config for config in configs if config.get("torch")), {})
    return ", ".join(f"{name} {config[name]}" for name in ("quickstudy", "torch", "python") if config.get(name))

"""Every public name stands in the list of api.md, and its docstring is rendered there; otherwise the build fails."""

import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

import quickstudy

PAGE = Path(__file__).with_name("api.md")
ROW = re.compile(r"^\| \[`([\w.]+)`\]\(([^)]+)\) \| .+ \|$", re.MULTILINE)


def rows() -> list[tuple[str, str]]:
    """Names in the list of the page, and the files that they link to."""
    return ROW.findall(PAGE.read_text())


def thing(name: str) -> Any:
    """What a name such as `qs.tasks.Table` or `quickstudy.data.pad` stands for."""
    if name.startswith("qs."):
        return attrgetter(name.removeprefix("qs."))(quickstudy)
    module, _, attribute = name.rpartition(".")
    found = getattr(importlib.import_module(module), attribute, None)
    return importlib.import_module(name) if found is None else found


def public_names() -> dict[str, Any]:
    """Classes and functions that users reach by `qs.NAME` or `qs.ROOM.NAME`: of a room, those in its `__all__`, or all
    whose names have no underscore in front."""
    found: dict[str, Any] = {}
    for name in quickstudy.__all__:
        value = getattr(quickstudy, name)
        if isinstance(value, ModuleType):
            inside = getattr(value, "__all__", None) or [key for key in vars(value) if not key.startswith("_")]
            found |= {f"qs.{name}.{key}": getattr(value, key) for key in inside}
        else:
            found[f"qs.{name}"] = value
    return {name: value for name, value in found.items() if inspect.isclass(value) or inspect.isfunction(value)}


def unlisted() -> list[str]:
    """Public names that the list of the page lacks."""
    listed = {id(thing(name)) for name, _ in rows()}
    return [name for name, value in public_names().items() if id(value) not in listed]


def unrendered(objects: Iterable[str]) -> list[str]:
    """Public names whose docstring is not among the rendered `objects`, given by their full names."""
    rendered = {id(value) for value in _resolved(objects)}
    return [name for name, value in public_names().items() if id(value) not in rendered]


def _resolved(objects: Iterable[str]) -> Iterator[Any]:
    """Classes and functions of these names; methods and attributes, which have longer ones, are left out."""
    for name in objects:
        module, _, attribute = name.rpartition(".")
        try:
            yield getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError):
            continue


def check(app: Sphinx, env: Any) -> None:
    """Warn of public names that are not documented; with `-W`, as `make docs` builds, that is an error."""
    warn = logging.getLogger(__name__).warning
    for name in unlisted():
        warn("%s is public, and has no row in the list of api.md", name)
    for name in unrendered(env.get_domain("py").objects):
        warn("%s is public, and its docstring is not rendered in api.md", name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True}

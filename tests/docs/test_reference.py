"""The list of public names in docs/api.md: complete, and every link leads to the file that defines the name."""

import importlib
import inspect
import re
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import quickstudy

PAGE = Path(__file__).parents[2] / "docs/api.md"
ROWS = re.findall(r"^\| \[`([\w.]+)`\]\(([^)]+)\) \| .+ \|$", PAGE.read_text(), re.MULTILINE)
ROOMS = ("tasks", "rl", "decide", "nets")


def thing(name: str) -> Any:
    """What a name such as `qs.tasks.Table` or `quickstudy.data.pad` stands for."""
    if name.startswith("qs."):
        return attrgetter(name.removeprefix("qs."))(quickstudy)
    module, _, attribute = name.rpartition(".")
    found = getattr(importlib.import_module(module), attribute, None)
    return importlib.import_module(name) if found is None else found


@pytest.mark.parametrize(("name", "link"), ROWS)
def test_link_leads_to_the_definition(name: str, link: str):
    assert (PAGE.parent / link).resolve() == Path(inspect.getsourcefile(inspect.unwrap(thing(name)))).resolve()


def test_every_public_name_is_listed():
    listed = {id(thing(name)) for name, _ in ROWS}
    public = {name: getattr(quickstudy, name) for name in quickstudy.__all__}
    for room in ROOMS:
        for name, value in vars(public[room]).items():
            if not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
                public[f"{room}.{name}"] = value
    public |= {f"report.{name}": getattr(quickstudy.report, name) for name in quickstudy.report.__all__}
    assert len(public) > 80
    missing = [k for k, v in public.items() if not isinstance(v, ModuleType) and id(v) not in listed]
    assert not missing

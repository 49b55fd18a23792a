"""The list of public names in docs/api.md: complete, and every link leads to the file that defines the name."""

import inspect
from pathlib import Path

import documented
import pytest

import quickstudy
from quickstudy import nets


@pytest.mark.parametrize(("name", "link"), documented.rows())
def test_link_leads_to_the_definition(name: str, link: str):
    found = documented.thing(name)
    assert (documented.PAGE.parent / link).resolve() == Path(inspect.getsourcefile(inspect.unwrap(found))).resolve()


def test_every_public_name_is_listed():
    assert len(documented.public_names()) > 200
    assert documented.unlisted() == []


def test_a_new_name_is_missed_in_the_list_and_in_the_rendered_docstrings(monkeypatch):
    class Layer:
        """A layer."""

    rendered = [f"{value.__module__}.{value.__qualname__}" for value in documented.public_names().values()]
    assert documented.unrendered(rendered) == []
    assert documented.unrendered(rendered[1:]) == [next(iter(documented.public_names()))]
    monkeypatch.setattr(nets, "Layer", Layer, raising=False)
    assert documented.unlisted() == documented.unrendered(rendered) == ["qs.nets.Layer"]
    monkeypatch.setattr(quickstudy, "__all__", [])
    assert documented.unlisted() == []

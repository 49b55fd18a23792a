"""Figures that no recipe of ours has measured, from results/published.json: each with its source and how it was got."""

import json
from functools import cache
from typing import Any, Literal, NamedTuple

from results_pages.record import RESULTS, Value

How = Literal["read", "recalled", "computed"]
SAID: dict[How, str] = {
    "read": "; read there",
    "recalled": "; **recalled, not checked** against the paper",
    "computed": "",
}


class Published(NamedTuple):
    """Figures of one source.

    Args:
        source: the paper, and where in it.
        how: read in the source, recalled from it without a look, or computed for this project outside the package.
        protocol: how they were measured, where that differs from ours.
        values: by the name of the metric of ours that they stand beside.
    """

    source: str
    how: How
    protocol: str
    values: dict[str, Value]

    @property
    def label(self) -> str:
        """What a row of these figures is called."""
        return {"read": "published", "recalled": "published (recalled)", "computed": "computed"}[self.how]

    def sentence(self) -> str:
        """Where the figures come from."""
        return f"{self.source}{SAID[self.how]}. {self.protocol}"


@cache
def published(name: str) -> Published:
    """Those stored under `name`."""
    found: dict[str, Any] = json.loads((RESULTS / "published.json").read_text())[name]
    values = {key: Value.read(value) for key, value in found["values"].items()}
    return Published(found["source"], found["how"], found["protocol"], values)

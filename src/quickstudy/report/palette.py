"""Colour, line style and marker of each learner, the same in every figure.

There are more learners than colours that everybody can tell apart. The pairs of line style and marker differ for sixty
learners, so that figures can be read in greyscale and by colour-blind readers.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from quickstudy.report.tables import PARTS

BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#E69F00", "#56B4E9"
GREY, WINE, OLIVE, INDIGO, BROWN, INK = "#555555", "#882255", "#999933", "#332288", "#7A4A21", "#222222"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY, WINE, OLIVE, INDIGO, BROWN, GREY, INK)
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*", "h", "d", "8", "H")

COLOURS = {
    "maml": BLUE,
    "pretrained": ORANGE,
    "np": GREEN,
    "cnp": PURPLE,
    "oracle": GREY,
    "meta_sgd": AMBER,
    "exact": INK,
    "simulator": INK,
    "promp": INDIGO,
    "random": BROWN,
    "fixed": SKY,
    "reinforce": OLIVE,
    "dqn": AMBER,
    "pets": WINE,
    "ppo": INDIGO,
    "alpaca": AMBER,
    "tuned": WINE,
    "actor-critic": BROWN,
}
"""Colours of the learners that are drawn most often."""


class Look(NamedTuple):
    """How one learner is drawn: a colour, and matplotlib's names of a line style and of a marker."""

    colour: str
    style: str
    marker: str


_PLACES = {key: place for place, key in enumerate(dict.fromkeys([*COLOURS, *PARTS]))}
KEYS = {title: key for key, title in PARTS.items()}
"""The key of a learner by its name in tables and legends."""


def looks(names: Iterable[str], learners: Mapping[str, str] | None = None) -> dict[str, Look]:
    """Return a different look for each of `names`.

    A learner that quickstudy knows has the same colour, line style and marker in every figure. The same learner in
    several runs has one colour, and a line style and marker for each run. Others get looks that are free; a colour is
    used twice only if all twelve are in use.

    Args:
        names: names in the legend, or keys of learners, such as "maml".
        learners: the key of the learner that a name stands for, if the name is not one that quickstudy knows.

    >>> found = looks(["MAML", "mine", "MAML, other seed"], {"MAML, other seed": "maml"})
    >>> [found["MAML"].colour == found[name].colour for name in ("mine", "MAML, other seed")]
    [False, True]
    """
    keys = {name: KEYS.get(key, key) for name in names for key in [(learners or {}).get(name, name)]}
    known_first = sorted(keys, key=lambda name: _PLACES.get(keys[name], len(_PLACES)))
    colours: dict[str, str] = {}
    drawn: dict[str, tuple[str, str]] = {}
    for name in known_first:
        if keys[name] not in colours:
            colours[keys[name]] = _colour(keys[name], list(colours.values()))
        drawn[name] = _style(_PLACES.get(keys[name], 0), list(drawn.values()))
    return {name: Look(colours[keys[name]], *drawn[name]) for name in keys}


def look(key: str) -> Look:
    """Return the look of a single learner, such as `look("maml")`."""
    return looks([key])[key]


def _colour(key: str, taken: Sequence[str]) -> str:
    """Return the learner's own colour, or else the next free one; if none is free, colours are used again in order."""
    free = [colour for colour in PALETTE if colour not in taken] or [PALETTE[len(taken) % len(PALETTE)]]
    return COLOURS[key] if COLOURS.get(key) in free else free[0]


def _style(place: int, taken: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Return the line style and marker of a place, or of the next place that is free."""
    several = len(STYLES) * len(MARKERS)
    pairs = [(STYLES[i % len(STYLES)], MARKERS[i % len(MARKERS)]) for i in range(place, place + several)]
    return next((pair for pair in pairs if pair not in taken), pairs[len(taken) % several])

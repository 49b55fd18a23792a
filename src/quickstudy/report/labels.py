"""Names in figures: short enough for their place, as they are written, and in a font that has their letters."""

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

USUAL = "DejaVu Sans"  # the font of style.mplstyle
_WIDE = "MW@%"


class Labels(NamedTuple):
    """Names as a figure shows them.

    Args:
        shown: the text of each.
        families: font families to draw them with, the usual one first.
        note: a sentence about names that no font of this computer can draw, which are shown by number; or empty.
    """

    shown: list[str]
    families: list[str]
    note: str


def labels(names: Iterable[str], width: int) -> Labels:
    """The names on one line each, cut in the middle to `width` letters, and told from each other.

    A name with letters that the usual font lacks is drawn with another installed font, if there is one.

    >>> labels(["the first of many long names", "p1"], 16).shown
    ['the first… names', 'p1']
    """
    plain = [" ".join(str(name).split()) for name in names]
    families = [USUAL]
    while other := _family(set("".join(plain)) - _letters(tuple(families))):
        families.append(other)
    lost = {place for place, name in enumerate(plain) if set(name) - _letters(tuple(families)) - {" "}}
    numbers = {place: f"no. {number}" for number, place in enumerate(sorted(lost), 1)}
    shown = _distinct([numbers.get(place, _cut(name, width)) for place, name in enumerate(plain)])
    listed = ", ".join(f"{numbers[place]} is {plain[place]}" for place in sorted(lost))
    note = f"No installed font has the letters of some names: {listed}." if lost else ""
    return Labels(shown, families, note)


def _cut(name: str, width: int) -> str:
    """The name without its middle, if it is wider than `width` Latin letters."""
    if _width(name) <= width:
        return name
    tail = ""
    for letter in reversed(name):
        if _width(tail) + _width(letter) > width * 2 // 5:
            break
        tail = letter + tail
    head = ""
    for letter in name:
        if _width(head) + _width(letter) > width - 1 - _width(tail):
            break
        head += letter
    return f"{head.rstrip()}…{tail}"


def _width(text: str) -> int:
    """The width in letters of usual size."""
    return sum(2 if letter in _WIDE or unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, with a number behind those that were cut to the same text."""
    counts: dict[str, int] = {}
    found = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        found.append(name if counts[name] == 1 else f"{name} ({counts[name]})")
    return found


def _family(letters: set[str]) -> str | None:
    """An installed font family with the most of these letters; None if no font has any of them."""
    letters = letters - {" "}
    if not letters:
        return None
    best = max(sorted(_installed()), key=lambda name: len(letters & _letters((name,))), default=None)
    return best if best is not None and letters & _letters((best,)) else None


@cache
def _installed() -> dict[str, str]:
    """The file of each font family in its upright, regular form. Fonts of coloured pictures cannot be drawn."""
    return {
        font.name: font.fname
        for font in font_manager.fontManager.ttflist
        if font.style == "normal" and "emoji" not in font.name.lower() and "last resort" not in font.name.lower()
    }


@cache
def _letters(families: tuple[str, ...]) -> frozenset[str]:
    """The letters that any of these families has."""
    found: set[str] = set()
    for name in families:
        try:
            found |= {chr(code) for code in FT2Font(_installed()[name]).get_charmap()}
        except (KeyError, OSError, RuntimeError):  # a font that matplotlib cannot read
            continue
    return frozenset(found)

"""What the page shows together: a family of functions, a hidden one of them, and the learners that predict it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.data import Examples

Truth = Callable[[Tensor], Tensor]
"""A hidden function: x `[M]` -> y `[M]` without noise."""
Functions = Callable[[Examples, int, Tensor, torch.Generator], Tensor]
"""Functions drawn after a support set: (support, n, x `[M]`, generator) -> `[n, M]`."""


class Slider(NamedTuple):
    """A parameter of the hidden function: its name, its ends, and what it is in words."""

    name: str
    low: float
    high: float
    title: str
    log: bool = False


class Player(NamedTuple):
    """A learner on the page.

    Args:
        title: its name in words.
        kind: "gradient" if it adapts by gradient steps, "exact" for an exact posterior, else "closed".
        adapt: function `(support, steps, generator) -> predictor`; the steps are None where there are none.
        steps: gradient steps in training; 0 where there are none.
        note: how to read its panel, one sentence.
        functions: function `(support, n, x, generator) -> [n, M]`, functions drawn from its belief; None if it has
            none.
    """

    title: str
    kind: str
    adapt: Callable[[Examples, int | None, torch.Generator], Any]
    steps: int
    note: str
    functions: Functions | None


class Scene(NamedTuple):
    """A family of functions with its learners.

    Args:
        title: the family in words.
        about: one sentence about it.
        x: the ends of the inputs shown.
        y: the ends of the outcomes shown.
        axes: what the axes are.
        noise: standard deviation of the observation noise with which the learners were trained.
        sliders: parameters of the hidden function.
        hidden: function `(values of the sliders, seed) -> the hidden function`; None if none can be drawn.
        players: the learners by name.
        scale: what the page multiplies x by before it shows it.
    """

    title: str
    about: str
    x: tuple[float, float]
    y: tuple[float, float]
    axes: tuple[str, str]
    noise: float
    sliders: tuple[Slider, ...]
    hidden: Callable[[Mapping[str, float], int], Truth] | None
    players: Mapping[str, Player]
    scale: float = 1.0

    def described(self) -> dict[str, Any]:
        """What the page needs to know of the scene, for JSON."""
        players = {
            name: {"title": p.title, "kind": p.kind, "steps": p.steps, "note": p.note, "draws": p.functions is not None}
            for name, p in self.players.items()
        }
        return {
            "title": self.title,
            "about": self.about,
            "x": self.x,
            "y": self.y,
            "axes": self.axes,
            "noise": self.noise,
            "sliders": [slider._asdict() for slider in self.sliders],
            "hidden": self.hidden is not None,
            "players": players,
            "scale": self.scale,
        }

"""Answers to messages about functions: predictions, functions drawn from beliefs, hidden functions."""

import math
import time
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.data import Examples
from quickstudy.play.functions.scene import Player, Scene, Truth
from quickstudy.play.message import Message, MessageError
from quickstudy.play.server import Answer
from quickstudy.predictive import NoDensityError

POINTS = 121  # of every curve
LEVEL = 0.9  # of the intervals
MOST_POINTS = 60  # that a visitor may add
MOST_STEPS = 30  # gradient steps
MOST_DRAWS = 12  # functions drawn from a belief
LARGEST_SEED = 1_000_000_000
WIDER = 1.0  # how far beyond the axes points may lie, in parts of their length
DIGITS = 9


class Judged(NamedTuple):
    """The hidden function's values `[M]`, and noisy ones `[1, M, 1]`; None if no function is hidden."""

    truth: Any
    outcomes: Tensor | None


def answers(scenes: Mapping[str, Scene]) -> dict[str, Answer]:
    """The functions that answer messages about these scenes, by the names under which they are asked."""
    return {
        "functions/predict": partial(predict, scenes),
        "functions/draw": partial(draw, scenes),
        "functions/observe": partial(observe, scenes),
    }


def predict(scenes: Mapping[str, Scene], message: Message) -> dict[str, Any]:
    """What every learner believes after the points of the message.

    The message has `scene`, `points`, and optionally `steps` (gradient steps; by default as in training), `truth`
    (values of the sliders), `seed` (of the hidden function and of random numbers) and `noise` (of outcomes).
    """
    scene, support, x = _given(scenes, message)
    steps = message.whole("steps", 0, MOST_STEPS) if message.fields.get("steps") is not None else None
    hidden = _truth(scene, message)
    judged = Judged(None, None) if hidden is None else Judged(hidden(x), _outcomes(scene, hidden, message, x))
    found = {
        name: _belief(player, support, x, steps, _generator(message), judged) for name, player in scene.players.items()
    }
    return {"x": _numbers(x), "truth": None if hidden is None else _numbers(judged.truth), "players": found}


def draw(scenes: Mapping[str, Scene], message: Message) -> dict[str, Any]:
    """Functions drawn from the belief of one learner, `player`; `count` is their number.

    The message is otherwise that of `predict`. One learner at a time, so that a click does not wait for all of them.
    """
    scene, support, x = _given(scenes, message)
    able = {name: player.functions for name, player in scene.players.items() if player.functions is not None}
    draws = able[message.choice("player", able)]
    count = message.whole("count", 1, MOST_DRAWS, 6)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `predict` has shown them
        drawn = draws(support, count, x, _generator(message))
    return {"x": _numbers(x), "functions": [_numbers(one) for one in drawn]}


def observe(scenes: Mapping[str, Scene], message: Message) -> dict[str, Any]:
    """Noisy values of the hidden function at `at`, inputs of the message: `points`, a list of [x, y].

    `turn` tells apart the noise of several messages.
    """
    scene = _scene(scenes, message)
    truth = _truth(scene, message)
    if truth is None:
        raise MessageError(f"no hidden function can be drawn of {scene.title}")
    at = message.fields.get("at")
    if not isinstance(at, list) or not 1 <= len(at) <= MOST_POINTS:
        raise MessageError(f"expected at, a list of 1 to {MOST_POINTS} inputs")
    x = torch.tensor(message.numbers("at", len(at), *_wider(scene.x)))
    chance = torch.Generator().manual_seed(message.whole("turn", 0, LARGEST_SEED, 0))
    y = truth(x) + _noise(scene, message) * torch.randn(len(x), generator=chance)
    y = y.clamp(*_wider(scene.y))
    return {"points": [list(point) for point in zip(_numbers(x), _numbers(y), strict=True)]}


def _given(scenes: Mapping[str, Scene], message: Message) -> tuple[Scene, Examples, Tensor]:
    """The scene, the points that were seen, and the inputs at which to predict."""
    scene = _scene(scenes, message)
    points = message.points("points", MOST_POINTS, _wider(scene.x), _wider(scene.y))
    pairs = torch.tensor(points, dtype=torch.get_default_dtype()).reshape(1, len(points), 2)
    return scene, Examples(pairs[:, :, :1], pairs[:, :, 1:]), torch.linspace(*scene.x, POINTS)


def _scene(scenes: Mapping[str, Scene], message: Message) -> Scene:
    return scenes[message.choice("scene", scenes)]


def _wider(ends: tuple[float, float]) -> tuple[float, float]:
    beyond = WIDER * (ends[1] - ends[0])
    return ends[0] - beyond, ends[1] + beyond


def _truth(scene: Scene, message: Message) -> Truth | None:
    """The hidden function; None if the message has none."""
    if scene.hidden is None or message.fields.get("truth") is None:
        return None
    told = message.part("truth")
    values = {slider.name: told.number(slider.name, slider.low, slider.high) for slider in scene.sliders}
    return scene.hidden(values, _seed(message))


def _noise(scene: Scene, message: Message) -> float:
    return message.number("noise", 0.0, 10 * max(scene.noise, 0.1), scene.noise)


def _outcomes(scene: Scene, truth: Truth, message: Message, x: Tensor) -> Tensor:
    """Noisy values `[1, M, 1]` of the hidden function, by which beliefs are judged."""
    noise = torch.randn(len(x), generator=torch.Generator().manual_seed(_seed(message) + 1))
    return (truth(x) + _noise(scene, message) * noise).reshape(1, -1, 1)


def _belief(
    player: Player, support: Examples, x: Tensor, steps: int | None, generator: torch.Generator, judged: Judged
) -> dict[str, Any]:
    """A learner's belief at the inputs: mean, ends of its interval, the widest place, and how it judges outcomes."""
    truth, outcomes = judged
    begun = time.perf_counter()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        predictor = _adapted(player, support, steps, generator)
        with torch.no_grad():
            belief = predictor(x.reshape(1, -1, 1))
            found: dict[str, Any] = {"mean": _numbers(belief.mean[0, :, 0])}
            found |= _spread(belief, x, outcomes)
    if truth is not None:
        found["error"] = float((belief.mean[0, :, 0] - truth).square().mean().sqrt())
    found["warning"] = " ".join(str(warned[0].message).split()) if warned else None
    return found | {"seconds": time.perf_counter() - begun}


def _spread(belief: Any, x: Tensor, outcomes: Tensor | None) -> dict[str, Any]:
    """What a belief says beyond its mean; nothing for a learner without a density."""
    try:
        interval, variance = belief.interval(LEVEL), belief.variance[0, :, 0]
    except NoDensityError:
        return {"low": None, "high": None, "next": None}
    found: dict[str, Any] = {
        "low": _numbers(interval.lower[0, :, 0]),
        "high": _numbers(interval.upper[0, :, 0]),
        "next": _widest(x, variance),
    }
    if outcomes is not None:
        y = outcomes.to(interval.lower)
        score = float(belief.log_prob(y).mean())
        found["inside"] = float(((y >= interval.lower) & (y <= interval.upper)).double().mean())
        found["log_likelihood"] = score if math.isfinite(score) else None
    return found


def _widest(x: Tensor, variance: Tensor) -> float | None:
    """The input with the largest variance; None if all have the same."""
    spread = float(variance.max() - variance.min())
    return round(float(x[int(variance.argmax())]), DIGITS) if spread > 1e-6 * float(variance.max()) else None


def _adapted(player: Player, support: Examples, steps: int | None, generator: torch.Generator) -> Any:
    return player.adapt(support, steps if player.kind == "gradient" else None, generator)


def _seed(message: Message) -> int:
    return message.whole("seed", 0, LARGEST_SEED, 0)


def _generator(message: Message) -> torch.Generator:
    return torch.Generator().manual_seed(_seed(message))


def _numbers(values: Tensor) -> list[float | None]:
    """Numbers for JSON, which has no NaN."""
    return [round(v, DIGITS) if math.isfinite(v) else None for v in values.detach().double().tolist()]

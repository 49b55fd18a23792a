"""Answers to messages about images: completions from the pixels seen, and images drawn from beliefs."""

import math
import time
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from quickstudy.data import Examples
from quickstudy.play.images.built_in import Player
from quickstudy.play.images.gallery import PIXELS, SETS, SIDE, intensities
from quickstudy.play.message import Message, MessageError
from quickstudy.play.server import Answer
from quickstudy.tasks.typed_digits import LEVELS

LEVEL = 0.9  # of the intervals
MOST_DRAWS = 6  # images drawn from a belief
LARGEST_SEED = 1_000_000_000
ROUND = 9  # digits


def answers(players: Mapping[str, Player]) -> dict[str, Answer]:
    """The functions that answer messages about images, by the names under which they are asked."""
    return {"images/complete": partial(complete, players), "images/draw": partial(draw, players)}


def described(players: Mapping[str, Player]) -> dict[str, Any]:
    """What the page needs to know at the beginning, for JSON."""
    return {
        "side": SIDE,
        "sets": {name: {"title": own.title, "about": own.about} for name, own in SETS.items()},
        "players": {name: {"title": own.title, "note": " ".join(own.note.split())} for name, own in players.items()},
    }


def complete(players: Mapping[str, Player], message: Message) -> dict[str, Any]:
    """What every learner believes of an image of which some pixels were seen.

    The message has `set` and `seed`, which name the hidden image, and `seen`, the places of the pixels that were seen,
    row by row; or `painted` in place of a hidden image: the grey of each pixel in `seen`, from 0 to 1. `next` of an
    answer is the unseen pixel of the largest standard deviation.
    """
    levels, seen = _given(message)
    support, x = _support(levels, seen), _places().unsqueeze(0)
    left = _unseen(seen)
    found = {name: _belief(player, support, x, levels, left, message) for name, player in players.items()}
    hidden = None if _painted(message) else _numbers(levels.double() / (LEVELS - 1))
    return {"image": hidden, "players": found}


def draw(players: Mapping[str, Player], message: Message) -> dict[str, Any]:
    """Images drawn from every belief; the message is that of `complete`, and has `count`, their number."""
    levels, seen = _given(message)
    support, x = _support(levels, seen), _places().unsqueeze(0)
    left = _unseen(seen)
    count = message.whole("count", 1, MOST_DRAWS, 3)
    found = {}
    for name, player in players.items():
        generator = _generator(message)
        drawn = intensities(levels).repeat(count, 1)
        if len(left):
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # `complete` has shown them
                drawn[:, left] = player.draw(player.learner(), support, count, x[:, left], generator)
        found[name] = [_numbers(one + 0.5) for one in drawn]
    return {"players": found}


def _given(message: Message) -> tuple[Tensor, Tensor]:
    """Grey levels `[PIXELS]`, and the places that were seen. Painted images have level 0 where nothing was painted."""
    seen = torch.tensor(message.wholes("seen", PIXELS, 0, PIXELS - 1), dtype=torch.long)
    if len(seen.unique()) < len(seen):
        raise MessageError("seen has a place twice")
    kind, seed = message.choice("set", SETS), message.whole("seed", 0, LARGEST_SEED)
    if not _painted(message):
        return SETS[kind].image(seed), seen
    levels = torch.zeros(PIXELS, dtype=torch.long)
    grey = torch.tensor(message.numbers("painted", len(seen), 0.0, 1.0))
    levels[seen] = (grey * (LEVELS - 1)).round().long()
    return levels, seen


def _painted(message: Message) -> bool:
    return message.fields.get("painted") is not None


def _support(levels: Tensor, seen: Tensor) -> Examples:
    return Examples(_places()[seen].unsqueeze(0), intensities(levels)[seen].reshape(1, -1, 1))


def _places() -> Tensor:
    """x of all pixels, row by row, `[PIXELS, 2]`, as in `quickstudy.tasks.Images`."""
    line = torch.linspace(-1, 1, SIDE)
    return torch.cartesian_prod(line, line)


def _unseen(seen: Tensor) -> Tensor:
    left = torch.ones(PIXELS, dtype=torch.bool)
    left[seen] = False
    return left.nonzero().view(-1)


def _belief(
    player: Player, support: Examples, x: Tensor, levels: Tensor, left: Tensor, message: Message
) -> dict[str, Any]:
    """A learner's belief about all pixels, and how it judges those that are hidden."""
    begun = time.perf_counter()
    with torch.no_grad(), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        belief = player.learner().adapt(support, generator=_generator(message))(x)
        mean, sd = belief.mean[0, :, 0], belief.variance[0, :, 0].sqrt()
        found: dict[str, Any] = {
            "mean": _numbers(mean + 0.5),
            "sd": _numbers(sd),
            "next": int(left[sd[left].argmax()]) if len(left) else None,
            "warning": " ".join(str(warned[0].message).split()) if warned else None,
        }
        if len(left) and not _painted(message):
            found |= _judged(belief, intensities(levels).reshape(1, -1, 1), left)
    return found | {"seconds": time.perf_counter() - begun}


def _judged(belief: Any, y: Tensor, left: Tensor) -> dict[str, Any]:
    """Scores at the hidden pixels: error, log-likelihood, and the share that lies in the central interval."""
    error = (belief.mean - y)[0, left].square().mean().sqrt()
    score = float(belief.log_prob(y)[0, left].mean())
    inside = (2 * (belief.cdf(y) - 0.5).abs() <= LEVEL)[0, left].double().mean()
    return {"rmse": float(error), "log_likelihood": score if math.isfinite(score) else None, "inside": float(inside)}


def _generator(message: Message) -> torch.Generator:
    return torch.Generator().manual_seed(message.whole("seed", 0, LARGEST_SEED))


def _numbers(values: Tensor) -> list[float | None]:
    """Numbers for JSON, which has no NaN."""
    return [round(v, ROUND) if math.isfinite(v) else None for v in values.detach().double().tolist()]

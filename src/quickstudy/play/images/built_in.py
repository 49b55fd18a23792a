"""The learners that complete images on the page."""

import itertools
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.data import Examples
from quickstudy.recipes.images.remembered import Remembered
from quickstudy.tasks.typed_digits import typed_digits

ROUNDS = (2, 4, 8, 16, 32)  # pixels that are drawn together, given those of the rounds before
REMEMBERED = 14_000  # images
CONV = """Slides the same small network over all places, and adds what the pixels seen nearby say. Its drawings come in
rounds: a few pixels at a time, given those drawn before."""
LATENT = """Reads the pixels into one latent variable, and decodes whole images from it: its drawings are coherent, but
blurred. It underfits, as is known of such processes, and is too sure of what a few pixels say."""
MEMORY = """The plain rival: it learns nothing, and weighs 14,000 remembered digits by how well they fit (Bayes' rule).
Its drawings are some of these."""


class Player(NamedTuple):
    """A learner that completes images.

    Args:
        title: its name in words.
        note: how to read its panel.
        learner: gives the learner, always the same one.
        draw: function `(learner, support, n, x [1, M, 2], generator) -> [n, M]`, images drawn from its belief.
    """

    title: str
    note: str
    learner: Callable[[], Any]
    draw: Callable[[Any, Examples, int, Tensor, torch.Generator], Tensor]


def built_in() -> dict[str, Player]:
    """All learners. Each is made when it is first asked, so that the page opens without waiting for them."""
    return {
        "conv": Player("Convolutional process", CONV, cache(partial(qs.load, "grid-conv-cnp/digits")), in_rounds),
        "np": Player("Neural Process", LATENT, cache(partial(qs.load, "np/digits")), functions),
        "remembered": Player("Memory", MEMORY, cache(_memory), functions),
    }


def _memory() -> Remembered:
    known = typed_digits(REMEMBERED)
    return Remembered((known.images.to(torch.get_default_dtype()) + 0.5) / known.levels - 0.5, 0.5, 0.05)


def in_rounds(learner: Any, support: Examples, n: int, x: Tensor, generator: torch.Generator) -> Tensor:
    """Images `[n, M]` drawn in rounds, and at the places that are left the mean given what was drawn.

    With one place in each round this is the chain rule (Bruinsma et al. 2023, arXiv 2303.14468, section 2); the places
    of a round are drawn as if they were independent given those before, which is almost so if they are far apart.
    """
    order, x = torch.randperm(x.shape[1], generator=generator), x.expand(n, -1, -1)
    predictor = learner.adapt(Examples(*(part.expand(n, -1, -1) for part in support[:2])))
    for begin, end in itertools.pairwise(itertools.accumulate(ROUNDS, initial=0)):
        places = x[:, order[begin:end]]
        predictor = predictor.append(Examples(places, predictor(places).sample(1, generator)[0]))
    found: Tensor = predictor(x).mean[..., 0]
    return found


def functions(learner: Any, support: Examples, n: int, x: Tensor, generator: torch.Generator) -> Tensor:
    """Images `[n, M]`, each of which is one function that the learner's predictor draws."""
    drawn: Tensor = learner.adapt(support, generator=generator).functions(n, generator)(x)
    return drawn[:, 0, :, 0]

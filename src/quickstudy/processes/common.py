"""What all processes do alike: check their sizes, encode a support set, and append to it."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from quickstudy.checks import check_number, check_whole
from quickstudy.data import Examples
from quickstudy.learner import check_generator, check_steps
from quickstudy.processes.blocks import Decoder, PointEncoder, State
from quickstudy.processes.checks import check_more, check_support

TRAINING_DEFAULTS: Mapping[str, Any] = MappingProxyType({"lr": 1e-3, "schedule": "cosine", "clip": 1.0})
"""What `fit` uses for processes if the caller gives none of these."""


class Sizes(NamedTuple):
    """The constructor arguments that all processes share; see `CNP`."""

    dx: int
    dy: int
    width: int
    encoder_depth: int
    decoder_depth: int
    sigma_floor: float

    def encoder(self) -> PointEncoder:
        """An encoder of points `(x, y)` to `width` features."""
        return PointEncoder(self.dx + self.dy, self.width, self.encoder_depth, self.width)

    def decoder(self, features: int) -> Decoder:
        """A decoder from a representation with `features`, and an input x, to the mean and raw scale of y."""
        return Decoder(features, self.dx, self.width, self.decoder_depth, 2 * self.dy)


def check_sizes(dx: int, dy: int, *, width: int, encoder_depth: int, decoder_depth: int, sigma_floor: float) -> Sizes:
    """The sizes as a record; ValueError unless they are whole numbers, and the floor a number of at least 0."""
    return Sizes(
        check_whole("dx", dx),
        check_whole("dy", dy),
        check_whole("width", width),
        check_whole("encoder_depth", encoder_depth, 2),
        check_whole("decoder_depth", decoder_depth, 2),
        check_number("sigma_floor", sigma_floor),
    )


def state_of(process: Any, support: Examples) -> State:
    """The state of a process after a support set; see `CNP.encode`."""
    check_support(process, support)
    return process.encoder.encode(support.clean())


def union(process: Any, state: State, examples: Examples) -> State:
    """The state of a process after more points; see `CNP.append`."""
    check_more(process, examples, len(state.seen))
    return state.plus(process.encoder.encode(examples.clean()))


def encode(
    process: Any, support: Examples, steps: int | None, *, create_graph: bool, generator: torch.Generator | None
) -> State:
    """The state of a process after `adapt(support, steps=steps, ...)`: that of all points, or of none for `steps=0`.

    Raises:
        ValueError, TypeError: for a support set, a number of steps or a generator of the wrong kind.
    """
    check_support(process, support)
    check_generator(generator)
    prior = steps is not None and check_steps(steps) == 0
    points = support.first(0)._replace(mask=None) if prior else support.clean()
    with torch.set_grad_enabled(create_graph and torch.is_grad_enabled()):
        return process.encoder.encode(points)


def append(predictor: Any, examples: Examples) -> Any:
    """The predictor of a process for the union with `examples`; a predictor made with `steps=0` stays the prior."""
    with torch.set_grad_enabled(predictor.graph and torch.is_grad_enabled()):
        state = union(predictor.process, predictor.state, examples)
    return predictor if predictor.prior else replace(predictor, state=state)

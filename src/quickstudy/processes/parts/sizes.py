"""The sizes of deep-set processes, and the default options of `fit` for all processes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from quickstudy.checks import check_number, check_whole
from quickstudy.processes.parts.blocks import Decoder, PointEncoder

TRAINING_DEFAULTS: Mapping[str, Any] = MappingProxyType({"lr": 1e-3, "schedule": "cosine", "clip": 1.0})
"""Options of `fit` for processes; each is used if the caller does not give it."""


class Sizes(NamedTuple):
    """The constructor arguments that all processes share; see `CNP`."""

    dx: int
    dy: int
    width: int
    encoder_depth: int
    decoder_depth: int
    sigma_floor: float

    def encoder(self, outcome: int | None = None) -> PointEncoder:
        """An encoder of points `(x, y)`, with `outcome` features of y (`dy` by default), to `width` features."""
        inputs = self.dx + (self.dy if outcome is None else outcome)
        return PointEncoder(inputs, self.width, self.encoder_depth, self.width)

    def decoder(self, features: int, outputs: int) -> Decoder:
        """A decoder from a representation with `features`, and an input x, to the parameters of a belief."""
        return Decoder(features, self.dx, self.width, self.decoder_depth, outputs)


def check_sizes(dx: int, dy: int, *, width: int, encoder_depth: int, decoder_depth: int, sigma_floor: float) -> Sizes:
    """Return the sizes as a record; raise ValueError unless they are whole numbers and the floor is at least 0."""
    return Sizes(
        check_whole("dx", dx),
        check_whole("dy", dy),
        check_whole("width", width),
        check_whole("encoder_depth", encoder_depth, 2),
        check_whole("decoder_depth", decoder_depth, 2),
        check_number("sigma_floor", sigma_floor),
    )

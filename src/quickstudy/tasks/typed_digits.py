"""Typed digits: small pictures of the digits 0 to 9 in matplotlib's own fonts, for `quickstudy.tasks.Images`."""

import math
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from quickstudy.checks import check_whole
from quickstudy.tasks.datasets.pictures import Pictures

FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
)
DIGITS = tuple("0123456789")
LEVELS = 16
TYPE = torch.float32  # whatever the default type: the pictures depend on the seed alone
FINE = 48  # cells along each axis of a field of distances
# Ranges of what is drawn for each picture; lengths are parts of half the picture's side.
HEIGHT = (1.1, 1.7)
PLACE = (-0.2, 0.2)
SLANT = (-0.3, 0.3)
TURN = (-math.pi / 15, math.pi / 15)
STROKE = (-0.04, 0.08)  # added to both edges of every stroke


def typed_digits(count: int = 10_000, *, side: int = 16, seed: int = 0) -> Pictures:
    """Digits of random size, place, slant, turn and stroke, white on black, in eight fonts that come with matplotlib.

    Nothing is downloaded: the pictures are drawn from the outlines of DejaVu's sans, mono and serif fonts, which
    matplotlib distributes, and whose licence allows it. The grey level of a pixel is the share of it that a straight
    edge, as far away as the digit's own, would leave white.

    Args:
        count: number of pictures; the first of more are the same.
        side: height and width in pixels.
        seed: seed of what is drawn.

    Raises:
        ValueError: for a count below 1, or a side below 8 pixels.

    >>> from quickstudy.tasks import Images
    >>> found = typed_digits(50)
    >>> Images(found.images, found.labels, levels=found.levels).sample(2, support=10, query=246).query.y.shape
    torch.Size([2, 246, 1])
    """
    count, side = check_whole("count", count), check_whole("side", side, 8)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(count, 7, dtype=TYPE, generator=generator)
    which, rest = (drawn[:, 0] * len(FONTS) * len(DIGITS)).long(), drawn[:, 1:]
    pixels = torch.cat([_grey(*part, side) for part in zip(which.split(1000), rest.split(1000), strict=True)])
    levels = (pixels * (LEVELS - 1)).round().to(torch.uint8)
    return Pictures(levels.unsqueeze(3), which % len(DIGITS), LEVELS, DIGITS)


def _grey(which: Tensor, drawn: Tensor, side: int) -> Tensor:
    """Grey levels `[N, side, side]` from 0 to 1 of the glyphs `which [N]`, with the shares `drawn [N, 6]`."""
    height, right, down, slant, turn, stroke = (
        low + (high - low) * share
        for (low, high), share in zip((HEIGHT, PLACE, PLACE, SLANT, TURN, STROKE), drawn.T, strict=True)
    )
    line = (torch.arange(side, dtype=TYPE) + 0.5) * 2 / side - 1
    y, x = (part.flatten() for part in torch.meshgrid(line, line, indexing="ij"))
    x, y = x - right.unsqueeze(1), y - down.unsqueeze(1)
    cos, sin = turn.cos().unsqueeze(1), turn.sin().unsqueeze(1)
    x, y = cos * x + sin * y, cos * y - sin * x
    places = torch.stack([x + slant.unsqueeze(1) * y, y], 2) / height.view(-1, 1, 1)  # in heights of the digit
    fields = _fields()[which].unsqueeze(1)
    found = F.grid_sample(fields, places.unsqueeze(1), padding_mode="border", align_corners=True).flatten(1)
    return (0.5 + (found * height.unsqueeze(1) + stroke.unsqueeze(1)) * side / 2).clamp(0, 1).view(-1, side, side)


@lru_cache(1)
def _fields() -> Tensor:
    """For each font and digit the distance to its edge, positive within it, `[glyphs, FINE, FINE]`.

    Unit is the height of the digit; the grid reaches from -1 to 1 around its middle.
    """
    return torch.stack([_field(_outline(font, digit)) for font in FONTS for digit in DIGITS])


def _outline(font: str, digit: str) -> Tensor:
    """The edges of a glyph, `[edges, 2 ends, 2]`, x to the right and y downwards, around its middle, of height 1."""
    import matplotlib
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    file = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")
    polygons = TextPath((0, 0), digit, size=100, prop=FontProperties(fname=str(file))).to_polygons()
    corners = [torch.tensor(polygon, dtype=TYPE) for polygon in polygons]
    edges = torch.cat([torch.stack([polygon, polygon.roll(-1, 0)], 1) for polygon in corners])
    low, high = edges.flatten(0, 1).aminmax(dim=0)
    return (edges - (low + high) / 2) / (high - low)[1] * torch.tensor([1.0, -1.0], dtype=TYPE)


def _field(edges: Tensor) -> Tensor:
    """Signed distances `[FINE, FINE]` to the edges: positive where a ray crosses an odd number of them."""
    line = torch.linspace(-1, 1, FINE, dtype=TYPE)
    y, x = (part.reshape(-1, 1) for part in torch.meshgrid(line, line, indexing="ij"))
    (x0, y0), (x1, y1) = edges[:, 0].T, edges[:, 1].T
    across, down = x1 - x0, y1 - y0
    share = ((x - x0) * across + (y - y0) * down) / (across.square() + down.square()).clamp_min(1e-12)
    share = share.clamp(0, 1)
    square = ((x - x0 - share * across).square() + (y - y0 - share * down).square()).amin(1)
    crossed = (y0 <= y) != (y1 <= y)
    beyond = x < x0 + (y - y0) * across / torch.where(down == 0, 1.0, down)
    inside = (crossed & beyond).sum(1) % 2 == 1
    return torch.where(inside, square.sqrt(), -square.sqrt()).view(FINE, FINE)

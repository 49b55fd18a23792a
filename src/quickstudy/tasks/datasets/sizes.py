"""Points in standard units, and a warning about points that are far from unit size."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from quickstudy.data import Examples, zero_padding
from quickstudy.tasks.datasets.scaling import Scaling

_LARGE = 50.0  # largest root mean square that networks learn from without trouble
_SMALL = 0.005  # smallest standard deviation


def standard(points: Examples, training: Sequence[int]) -> tuple[Examples, Scaling]:
    """The points with mean 0 and standard deviation 1 over the training tasks, and the change of units.

    Args:
        points: vectors x `[T, N, dx]`, and real y `[T, N, dy]` or labels, which stay as they are.
        training: the tasks whose points count.

    Raises:
        ValueError: for inputs or outputs that are not vectors.
    """
    real = points.y.is_floating_point()
    if points.x.dim() != 3 or (real and points.y.dim() != 3):
        raise ValueError(
            f"scale=True needs vectors x [n, dx] and y [n, dy]; the tasks have x {list(points.x.shape[1:])} and y "
            f"{list(points.y.shape[1:])}: bring images to unit size yourself, as x / 255"
        )
    parts = [points.x.double(), *([points.y.double()] if real else [])]
    x, y = (tuple(f"{kind}[{i}]" for i in range(size)) for kind, size in zip("xy", _widths(points), strict=True))
    values = torch.cat(parts, 2)
    scaling = Scaling.of(_training(values, points, training), x=x, y=y)
    center, spread = (part.to(values.device) for part in (scaling.center, scaling.spread))
    sizes = [scaling.dx, *([scaling.dy] if real else [])]
    scaled = ((values - center) / spread).split(sizes, 2)
    if points.mask is not None:
        scaled = tuple(zero_padding(part, points.mask) for part in scaled)
    return points._replace(x=scaled[0], y=scaled[1] if real else points.y), scaling


def warn_of_units(points: Examples, training: Sequence[int]) -> None:
    """Warn if inputs or real outputs of the training tasks are far from unit size."""
    for kind, part in (("x", points.x), ("y", points.y)):
        if not part.is_floating_point():
            continue
        values = _training(part, points, training).double()
        known = values[~values.isnan()]
        if not known.numel():
            continue
        size, spread = float(known.square().mean().sqrt()), float(known.std(correction=0))
        if size > _LARGE or 0 < spread < _SMALL:
            vectors = points.x.dim() == 3 and (not points.y.is_floating_point() or points.y.dim() == 3)
            how = (
                "convert them by from_dataset(..., scale=True), whose family.scaling converts predictions back"
                if vectors
                else "divide them by a number, as images by 255"
            )
            warnings.warn(
                f"the {kind} of the training tasks have mean {float(known.mean()):.4g} and standard deviation "
                f"{spread:.3g}, and networks learn well near mean 0 and standard deviation 1; {how}",
                RuntimeWarning,
                stacklevel=3,
            )


def _training(part: Tensor, points: Examples, training: Sequence[int]) -> Tensor:
    """The rows of the real points of the training tasks."""
    index = torch.tensor(training, device=part.device)
    return part[index][points.real()[index]]


def _widths(points: Examples) -> tuple[int, int]:
    return points.x.shape[2], points.y.shape[2] if points.y.is_floating_point() else 0

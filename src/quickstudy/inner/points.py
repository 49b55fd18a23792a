"""Point sets as the inner loop needs them: losses over real points, harmless padding, minibatches."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.checks import values_are_readable
from quickstudy.data import Examples
from quickstudy.substitute import substituted


def mean_loss(losses: Tensor, num_points: int, mask: Tensor | None) -> Tensor:
    """The mean of one task's losses `[N]` over its real points; 0 where it has none."""
    check_losses(losses, num_points, masked=mask is not None)
    if mask is None:
        return losses.mean()
    return torch.where(mask, losses, torch.zeros_like(losses)).sum() / mask.sum().clamp_min(1)


def check_losses(losses: Tensor, num_points: int, *, masked: bool) -> None:
    """Raise ValueError unless a loss gave one value per point (or, without masks, a single number)."""
    if losses.dim() == 0 and masked:
        raise ValueError(
            "the loss returned a single number for a task with masked points; return one value per point, [N] "
            "(for torch losses: reduction='none')"
        )
    if losses.dim() and losses.shape != (num_points,):
        raise ValueError(f"the loss returned shape {list(losses.shape)}; expected [{num_points}], one value per point")


def mixes_points(network: nn.Module, examples: Examples, inputs: dict[str, Tensor] | None = None) -> bool | None:
    """Whether a point's output depends on other points, as through batch statistics or attention over points.

    Found by trying: when the first point is replaced by another, do the outputs of the others change, and when the
    last one is? The weights are shaken first, since a layer that starts at zero hides what lies before it. In doubt
    the answer is None: to be treated as yes, which costs time and is always right.

    Args:
        inputs: further inputs of the network.
    """
    points = examples.x[examples.real()]
    points = points[torch.linspace(0, len(points) - 1, 4, device=points.device).long()] if len(points) else points
    different = (points != points[:1]).flatten(1).any(1) if len(points) else points
    if not bool(different.any()):
        return None
    one, other = points[0], points[int(different.int().argmax())]
    middle = points[1:3]
    lines = [torch.stack([first, *middle, last]) for first, last in ((one, other), (other, other), (one, one))]
    chance = torch.Generator().manual_seed(0)
    state = {
        k: p.detach() + 0.1 * torch.randn(p.shape, generator=chance).to(p) if p.is_floating_point() else p
        for k, p in network.named_parameters()
    }
    outputs = []
    with torch.no_grad(), torch.random.fork_rng(devices=[] if points.device.type == "cpu" else None):
        for line in lines:
            torch.manual_seed(0)  # the same dropout each time
            buffers = {k: b.clone() for k, b in network.named_buffers()}
            with substituted(network, {**state, **buffers}):
                outputs.append(network(line, **(inputs or {})))
    base, new_first, new_last = outputs
    same = torch.allclose(base[1:], new_first[1:], rtol=1e-4, atol=1e-6)
    return not (same and torch.allclose(base[:-1], new_last[:-1], rtol=1e-4, atol=1e-6))


def without_trivial_mask(examples: Examples) -> Examples:
    """The same examples without a mask that hides nothing."""
    if examples.mask is None or not values_are_readable(examples.x) or not bool(examples.mask.all()):
        return examples
    return Examples(examples.x, examples.y)


def minibatches(
    support: Examples, size: int, generator: torch.Generator | None = None
) -> Callable[[int, Any], Examples]:
    """A `batch(step, adapted)` that goes through every task's points `size` at a time, over and over.

    Args:
        support: the points to go through.
        size: of a minibatch. A task with fewer points sees some of them twice in it.
        generator: shuffles the order, once and for each task; without one the order is the given one.
    """
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ValueError(f"minibatch={size!r}; expected a whole number of points, at least 1")
    real = support.real()
    chance = (
        torch.rand(real.shape, generator=generator, device=generator.device) if generator else torch.zeros(real.shape)
    )
    order = (chance.to(real.device) + 2.0 * ~real).argsort(dim=1, stable=True)
    sizes = real.sum(1, keepdim=True).clamp_min(1)
    tasks = torch.arange(support.num_tasks, device=real.device)[:, None]

    def batch(step: int, adapted: Any) -> Examples:
        del adapted
        places = (step * size + torch.arange(size, device=real.device)) % sizes
        picked = order[tasks, places]
        mask = None if support.mask is None else support.mask[tasks, picked]
        return Examples(support.x[tasks, picked], support.y[tasks, picked], mask)

    return batch

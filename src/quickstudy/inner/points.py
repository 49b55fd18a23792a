"""Point sets for the inner loop: losses over real points, removal of padding, minibatches."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from quickstudy.checks import check_losses, check_whole, values_are_readable
from quickstudy.data import Examples


def mean_loss(losses: Tensor, num_points: int, mask: Tensor | None) -> Tensor:
    """The mean of one task's losses `[N]` over its real points; 0 where it has none."""
    check_losses(losses, num_points, masked=mask is not None)
    if mask is None:
        return losses.mean()
    short = losses.dtype in (torch.float16, torch.bfloat16)  # whose sums overflow, or stop growing
    total = torch.where(mask, losses, torch.zeros_like(losses)).sum(dtype=torch.float32 if short else None)
    return (total / mask.sum().clamp_min(1)).to(losses.dtype)


def without_trivial_mask(examples: Examples) -> Examples:
    """The examples without their mask if all points are real."""
    if examples.mask is None or not values_are_readable(examples.x) or not bool(examples.mask.all()):
        return examples
    return Examples(examples.x, examples.y)


def usable(tree: Any) -> Any:
    """`tree` with clones of the tensors that were created in inference mode, since autograd does not accept those."""
    if isinstance(tree, Examples) and not (tree.x.is_inference() or tree.y.is_inference()):
        return tree
    return tree_map(lambda t: t.clone() if isinstance(t, Tensor) and t.is_inference() else t, tree)


def real_points(data: Any) -> Any:
    """The points of one task without padding; other data unchanged."""
    if not isinstance(data, Examples) or data.mask is None or len(data.mask) != 1 or not values_are_readable(data.x):
        return data
    return Examples(data.x[data.mask][None], data.y[data.mask][None])


def minibatches(
    support: Examples, size: int, generator: torch.Generator | None = None
) -> Callable[[int, Any], Examples]:
    """A function `batch(step, adapted)` that cycles through every task's points, `size` at a time.

    Args:
        support: the points.
        size: number of points in a minibatch. A task with fewer points has some of them twice in it.
        generator: shuffles the points of each task once; without it they keep their order.
    """
    check_whole("minibatch", size)
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


def check_batch(data: Any, num_tasks: int, name: str = "batch=") -> None:
    """Raise TypeError or ValueError unless `data` is a tree of tensors `[T, ...]` and plain values."""
    for leaf in tree_leaves(data):
        if isinstance(leaf, Tensor):
            if not leaf.dim() or len(leaf) != num_tasks:
                raise ValueError(
                    f"{name} has a tensor of shape {list(leaf.shape)}, and there are {num_tasks} tasks; the tasks are "
                    "the first axis of every tensor, [T, ...]: expand what is the same for all of them, or pass it as "
                    "outer="
                )
        elif leaf is not None and not isinstance(leaf, bool | int | float | str):
            raise TypeError(
                f"{name} has a {type(leaf).__name__}, which torch cannot look into, so that every task would get all "
                "of it; give tensors in tuples, lists, dicts or NamedTuples, or register the class with "
                "torch.utils._pytree.register_dataclass or register_pytree_node"
            )

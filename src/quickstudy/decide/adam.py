"""Adam for the parameters of many tasks, separately for each task."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from quickstudy.checks import check_number


@final
class Adam:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1), separately for each task:

    g <- g min(1, clip / |g|),  m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g²,
    w <- w - lr m / (1 - b1^k) / (sqrt(v / (1 - b2^k)) + 1e-8)

    with |g| the norm over all parameters of the task, and k the number of the task's steps so far. A task that is
    masked in a step does not change, bit for bit, nor does its momentum; torch's Adam would move it, and would clip all
    tasks by one common norm.

    Args:
        parameters: tensors `[T, ...]`.
        lr: learning rate.
        clip: the largest norm of a task's gradient; infinity for no clipping.
        betas: b1 and b2.

    Raises:
        ValueError: unless all parameters have the same number of tasks, and for rates below 0.

    >>> weight = torch.zeros(3, 2, requires_grad=True)
    >>> Adam([weight], lr=0.1).step((weight - 1).square().sum(1), torch.tensor([True, False, True]))
    >>> weight.detach()[:, 0]
    tensor([0.1000, 0.0000, 0.1000])
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        *,
        lr: float,
        clip: float = float("inf"),
        betas: tuple[float, float] = (0.9, 0.999),
    ):
        self.parameters, self.lr, self.clip, self.betas = list(parameters), check_number("lr", lr), clip, betas
        tasks = {len(p) for p in self.parameters}
        if len(tasks) != 1 or not clip > 0:
            raise ValueError(
                f"the parameters have {sorted(tasks)} tasks, and clip={clip!r}; "
                "expected parameters [T, ...] with one common T, and clip above 0"
            )
        flat = torch.cat([p.detach().flatten(1) for p in self.parameters], 1)
        self._first, self._second = torch.zeros_like(flat), torch.zeros_like(flat)
        self._steps = flat.new_zeros(len(flat), 1)

    def step(self, loss: Tensor, mask: Tensor | None = None) -> None:
        """One step on the loss `[T]` of each task for which `mask [T]` is True; None means all tasks."""
        gradients = torch.autograd.grad(loss.sum(), self.parameters)
        with torch.no_grad():
            gradient = torch.cat([g.flatten(1) for g in gradients], 1)
            if self.clip < float("inf"):
                norm = gradient.norm(dim=1, keepdim=True)
                gradient *= (self.clip / norm.clamp_min(1e-12)).clamp(max=1)
            takes = torch.ones_like(self._steps) if mask is None else mask.to(gradient).unsqueeze(1)
            (b1, b2), all_tasks = self.betas, mask is None or bool(mask.all())
            self._steps += takes
            self._first.lerp_(gradient, 1 - b1) if all_tasks else self._first.lerp_(gradient, (1 - b1) * takes)
            square = gradient.square_()
            self._second.lerp_(square, 1 - b2) if all_tasks else self._second.lerp_(square, (1 - b2) * takes)
            taken = self._steps.clamp_min(1)
            rate = self.lr * takes / (1 - b1**taken)
            spread = (self._second / (1 - b2**taken)).sqrt_().add_(1e-8)
            change = (self._first / spread).mul_(rate).split([p[0].numel() for p in self.parameters], 1)
            torch._foreach_sub_(self.parameters, [c.view_as(p) for c, p in zip(change, self.parameters, strict=True)])

"""What an inner loop is: which network, judged by which loss, moved how far, how often. One definition, all engines."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from quickstudy.checks import values_are_readable
from quickstudy.data import Examples
from quickstudy.gradient.engines import ENGINES, Engine, map_tasks


class Fast(NamedTuple):
    """The adapted state of `T` tasks: every tensor has `T` in front."""

    params: dict[str, Tensor]
    buffers: dict[str, Tensor]


@dataclass(frozen=True)
class InnerLoop:
    """Gradient descent on the support set, for all tasks at once (Finn et al. 2017, arXiv 1703.03400, eq. 1).

    theta_t' = theta - lr * grad L(theta; support_t), `steps` times over.

    Args:
        network: maps `[N, *dx] -> [N, dy]`. Parameters with `requires_grad=False` are not adapted (freeze them before
            the learner is built: under `torch.func.functional_call` only that is known).
        loss: `(output [N, do], y) -> [N]`.
        lr: inner learning rate.
        first_order: treat the inner gradients as constants.
        engine: see `quickstudy.gradient.engines`.
    """

    network: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    lr: float
    first_order: bool = False
    engine: Engine = "auto"
    _adaptable: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.network, nn.Module):
            raise TypeError(f"network must be a torch.nn.Module, not {type(self.network).__name__}")
        if not (isinstance(self.lr, int | float) and 0 <= self.lr < float("inf")):
            raise ValueError(f"lr={self.lr!r}; expected a finite rate of at least 0")
        if self.engine not in ENGINES:
            raise ValueError(f"engine={self.engine!r}; choose one of {', '.join(ENGINES)}")
        names = frozenset(k for k, p in self.network.named_parameters() if p.requires_grad)
        object.__setattr__(self, "_adaptable", names)

    def start(self, num_tasks: int) -> Fast:
        """The meta-parameters, seen once per task; buffers are copied, so that no task writes into another's."""
        params = {k: p.expand(num_tasks, *p.shape) for k, p in self.network.named_parameters()}
        if not self.network.training:  # nothing writes into buffers
            return Fast(params, {k: b.expand(num_tasks, *b.shape) for k, b in self.network.named_buffers()})
        return Fast(params, {k: b.repeat(num_tasks, *[1] * b.dim()) for k, b in self.network.named_buffers()})

    def adapt(self, support: Examples, steps: int, *, create_graph: bool) -> Fast:
        """The state of every task after `steps` steps on its support set (unpadded, or padded with zeros)."""
        params, buffers = self.start(support.num_tasks)
        if not create_graph:
            params = {k: p.detach() for k, p in params.items()}
        if support.num_points == 0:
            return Fast(params, buffers)
        names = self._adapted_names()
        for _ in range(steps):
            grads = self._gradient(params, names, buffers, support, create_graph and not self.first_order)
            params = {k: p - self.lr * grads[k] if k in grads else p for k, p in params.items()}
        return Fast(params, buffers)

    def outputs(self, fast: Fast, x: Tensor) -> Tensor:
        """The adapted networks' outputs `[T, M, do]` at `x [T, M, *dx]`."""
        return map_tasks(self.engine, self.network, self._apply, fast.params, fast.buffers, x)

    def losses(self, fast: Fast, examples: Examples) -> Tensor:
        """Each task's mean loss over its real points, `[T]`."""

        def task_loss(params: dict, buffers: dict, x: Tensor, y: Tensor, mask: Tensor | None) -> Tensor:
            return mean_loss(self.loss(self._apply(params, buffers, x), y), len(x), mask)

        return map_tasks(self.engine, self.network, task_loss, fast.params, fast.buffers, *examples)

    def _apply(self, params: dict, buffers: dict, x: Tensor) -> Tensor:
        return functional_call(self.network, (params, buffers), (x,))

    def _gradient(
        self, params: dict[str, Tensor], names: list[str], buffers: dict, support: Examples, create_graph: bool
    ) -> dict[str, Tensor]:
        """The gradient of the sum of the task losses: every task's own gradient, stacked."""

        def total(moving: dict[str, Tensor]) -> Tensor:
            return self.losses(Fast({**params, **moving}, buffers), support).sum()

        moving = {k: params[k] for k in names}
        if not moving:
            return {}
        if in_transform():
            grads = torch.func.grad(total)(moving)
            return grads if create_graph else {k: g.detach() for k, g in grads.items()}
        with torch.enable_grad():
            moving = {k: p if p.requires_grad else p.detach().requires_grad_() for k, p in moving.items()}
            found = torch.autograd.grad(
                total(moving), list(moving.values()), create_graph=create_graph, allow_unused=True
            )
        return {k: g for k, g in zip(names, found, strict=True) if g is not None}

    def _adapted_names(self) -> list[str]:
        """Parameters that may move. Under `functional_call` they are plain tensors: then as they were at the start."""
        return [
            k
            for k, p in self.network.named_parameters()
            if (p.requires_grad if isinstance(p, nn.Parameter) else k in self._adaptable)
        ]


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


def in_transform() -> bool:
    """True while torch compiles or a `torch.func` transform runs, where only `torch.func.grad` is exact."""
    return torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None


def mixes_points(network: nn.Module, examples: Examples) -> bool:
    """Whether a point's output depends on other points, as through batch statistics or attention over points.

    Found by trying: when the first point is replaced by another, do the outputs of the others change, and when the
    last one is? The weights are shaken first, since a layer that starts at zero hides what lies before it. In doubt
    the answer is yes, which costs time and is always right.
    """
    points = examples.x[examples.real()]
    points = points[torch.linspace(0, len(points) - 1, 4, device=points.device).long()] if len(points) else points
    different = (points != points[:1]).flatten(1).any(1) if len(points) else points
    if not bool(different.any()):
        return True
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
            outputs.append(functional_call(network, {**state, **buffers}, (line,)))
    base, new_first, new_last = outputs
    same = torch.allclose(base[1:], new_first[1:], rtol=1e-4, atol=1e-6)
    return not (same and torch.allclose(base[:-1], new_last[:-1], rtol=1e-4, atol=1e-6))


def without_trivial_mask(examples: Examples) -> Examples:
    """The same examples without a mask that hides nothing."""
    if examples.mask is None or not values_are_readable(examples.x) or not bool(examples.mask.all()):
        return examples
    return Examples(examples.x, examples.y)

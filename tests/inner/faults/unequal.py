"""Tasks of unequal size, judged by plain PyTorch on each task's real points alone."""

from typing import Any

import torch
from inner.faults.oracle import WAYS, Problem, adapted_alone, allowed_to_refuse, no_other_warnings, points, squared
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import quickstudy as qs


def some_unequal(
    sizes: tuple[int, ...] = (4, 2, 3), queries: tuple[int, ...] = (3, 4, 2), fill: float = float("nan")
) -> qs.Tasks:
    """Tasks with so many support and query points, of four places; padding holds `fill`."""

    def padded(sizes: tuple[int, ...], seed: int) -> qs.Examples:
        (x, y), mask = points(len(sizes), 4, seed=seed), torch.arange(4) < torch.tensor(sizes)[:, None]
        return qs.Examples(x.where(mask[..., None], fill), y.where(mask[..., None], fill), mask)

    return qs.Tasks(padded(sizes, 0), padded(queries, 1))


def loop_of(network: nn.Module, way: str, steps: int = 2, **options: Any) -> Any:
    """An inner loop by squared errors."""
    with no_other_warnings():
        return qs.inner_loop(network, lr=0.1, steps=steps, **{**WAYS[way], **options})


def judge_unequal(network: nn.Module, tasks: qs.Tasks, way: str, loop: Any = None, steps: int = 2) -> None:
    """Query losses and meta-gradient are those of the real points alone; or a way refuses and says what to do."""
    expected = alone(network, tasks, steps)
    with allowed_to_refuse(way) as refused, no_other_warnings():
        losses = (loop or loop_of(network, way, steps))(tasks.support).losses(tasks.query)
        grads = gradient(network, losses)
    if refused:
        return
    torch.testing.assert_close(losses, expected, rtol=1e-9, atol=1e-10)
    for (name, _), a, b in zip(network.named_parameters(), grads, gradient(network, expected), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10, msg=lambda m, name=name: f"gradient of {name}: {m}")


def alone(network: nn.Module, tasks: qs.Tasks, steps: int) -> Tensor:
    """Each task's query loss, from its real points."""
    losses = []
    for i in range(tasks.num_tasks):
        support, query = real(tasks.support, i), real(tasks.query, i)
        problem = Problem(network, squared, lambda step, support=support: support, query, tasks=1, steps=steps)
        with sdpa_kernel(SDPBackend.MATH):
            adapted, _ = adapted_alone(problem, 0)
            losses.append(squared(adapted, tuple(t[0] for t in query)))
    return torch.stack(losses)


def real(examples: qs.Examples, i: int) -> tuple[Tensor, Tensor]:
    """One task's points without padding, `[1, N, ...]`."""
    keep = slice(None) if examples.mask is None else examples.mask[i]
    return examples.x[i, keep][None], examples.y[i, keep][None]


def gradient(network: nn.Module, losses: Tensor) -> tuple[Tensor, ...]:
    """Of a sum in which every task counts differently."""
    total = (losses * torch.arange(1.0, len(losses) + 1)).sum()
    params = [p for p in network.parameters() if p.requires_grad]
    return torch.autograd.grad(total, params, allow_unused=True, materialize_grads=True)

"""What all contenders on torch share: sampling and Adam around their meta-gradient."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

import quickstudy as qs
from benchmarks.problems import OUTER_RATE, Contender, Problem


def contender(
    problem: Problem, params: Iterable[nn.Parameter], gradient: Callable[[qs.Tasks], list[Tensor]]
) -> Contender:
    """A meta-step around `gradient`: tasks from a generator of its own, and fused Adam on `params`."""
    params = list(params)
    optimizer = torch.optim.Adam(params, lr=OUTER_RATE, fused=True)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        for p, g in zip(params, gradient(problem.sample(generator)), strict=True):
            p.grad = g
        optimizer.step()

    return Contender(gradient, step)

"""The best that plain torch does for an MLP: stacked weights written out by hand, the whole meta-gradient compiled."""

from copy import deepcopy

import torch
from torch import Tensor

import quickstudy as qs
from benchmarks.contenders.torch_step import contender
from benchmarks.problems import Contender, Problem


def build(problem: Problem) -> Contender:
    """See the module."""
    if problem.kind != "mlp":
        raise NotImplementedError("written out for an MLP only")
    network = deepcopy(problem.network)
    lr, steps, tasks_count = problem.lr, problem.steps, problem.tasks

    def forward(params: list[Tensor], x: Tensor) -> Tensor:
        for i in range(0, len(params), 2):
            x = torch.baddbmm(params[i + 1].unsqueeze(1), x, params[i].transpose(1, 2))
            x = x.relu() if i + 2 < len(params) else x
        return x

    def support_loss(params: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
        return (forward(params, x) - y).square().mean((1, 2)).sum()

    def meta_loss(params: list[Tensor], x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:
        fast = [p.expand(tasks_count, *p.shape) for p in params]
        for _ in range(steps):
            grads = torch.func.grad(support_loss)(fast, x, y)
            fast = [p - lr * g for p, g in zip(fast, grads, strict=True)]
        return (forward(fast, query_x) - query_y).square().mean()

    whole = torch.compile(torch.func.grad(meta_loss), fullgraph=True, dynamic=False)

    def gradient(tasks: qs.Tasks) -> list[Tensor]:
        (x, y, _), (query_x, query_y, _) = tasks.support, tasks.query
        return whole([p.detach() for p in network.parameters()], x, y, query_x, query_y)

    return contender(problem, network.parameters(), gradient)

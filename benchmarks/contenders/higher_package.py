"""higher 0.2 (Grefenstette et al. 2019, arXiv 1910.01727): a patched copy of the module for every task."""

from copy import deepcopy

import higher
import torch
from torch import Tensor

import quickstudy as qs
from benchmarks.contenders.torch_step import contender
from benchmarks.problems import Contender, Problem


def build(problem: Problem) -> Contender:
    """See the module."""
    network = deepcopy(problem.network)
    inner = torch.optim.SGD(network.parameters(), lr=problem.lr)

    def gradient(tasks: qs.Tasks) -> list[Tensor]:
        network.zero_grad(set_to_none=True)
        for t in range(tasks.num_tasks):
            with higher.innerloop_ctx(network, inner, copy_initial_weights=False) as (patched, optimizer):
                for _ in range(problem.steps):
                    optimizer.step(problem.loss(patched(tasks.support.x[t]), tasks.support.y[t]))
                (problem.loss(patched(tasks.query.x[t]), tasks.query.y[t]) / tasks.num_tasks).backward()
        return [p.grad for p in network.parameters()]

    return contender(problem, network.parameters(), gradient)

"""MAML as most code writes it: one task after another, `create_graph=True`. The reference for all others."""

from copy import deepcopy

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

import quickstudy as qs
from benchmarks.contenders.torch_step import contender
from benchmarks.problems import Contender, Problem


def build(problem: Problem) -> Contender:
    """See the module."""
    network = deepcopy(problem.network)

    def gradient(tasks: qs.Tasks) -> list[Tensor]:
        total = torch.zeros(())
        for t in range(tasks.num_tasks):
            params = dict(network.named_parameters())
            for _ in range(problem.steps):
                loss = problem.loss(functional_call(network, params, (tasks.support.x[t],)), tasks.support.y[t])
                grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
                params = {k: p - problem.lr * g for (k, p), g in zip(params.items(), grads, strict=True)}
            output = functional_call(network, params, (tasks.query.x[t],))
            total = total + problem.loss(output, tasks.query.y[t])
        return list(torch.autograd.grad(total / tasks.num_tasks, list(network.parameters())))

    def exact(tasks: qs.Tasks) -> list[Tensor]:
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernel has no second derivative
            return gradient(tasks)

    return contender(problem, network.parameters(), exact if problem.kind == "transformer" else gradient)

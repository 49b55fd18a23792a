"""`vmap` over tasks of an inner loop with `torch.func.grad`, as torch's own MAML tutorial has it; eager."""

from copy import deepcopy

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

import quickstudy as qs
from benchmarks.contenders.torch_step import contender
from benchmarks.problems import Contender, Problem


def build(problem: Problem) -> Contender:
    """See the module."""
    network = deepcopy(problem.network)

    def loss(params: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return problem.loss(functional_call(network, params, (x,)), y)

    def task_loss(params: dict[str, Tensor], x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:
        for _ in range(problem.steps):
            grads = grad(loss)(params, x, y)
            params = {k: p - problem.lr * grads[k] for k, p in params.items()}
        return loss(params, query_x, query_y)

    def gradient(tasks: qs.Tasks) -> list[Tensor]:
        params = dict(network.named_parameters())
        (x, y, _), (query_x, query_y, _) = tasks.support, tasks.query
        losses = vmap(task_loss, in_dims=(None, 0, 0, 0, 0))(params, x, y, query_x, query_y)
        return list(torch.autograd.grad(losses.mean(), list(params.values())))

    return contender(problem, network.parameters(), gradient)

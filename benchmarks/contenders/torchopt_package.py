"""torchopt 0.7 (Ren et al. 2022, arXiv 2211.06934): MetaSGD on the module, which is put back after every task."""

from copy import deepcopy

import torchopt
from torch import Tensor

import quickstudy as qs
from benchmarks.contenders.torch_step import contender
from benchmarks.problems import Contender, Problem


def build(problem: Problem) -> Contender:
    """See the module."""
    network = deepcopy(problem.network)
    inner = torchopt.MetaSGD(network, lr=problem.lr)
    params = list(network.parameters())

    def gradient(tasks: qs.Tasks) -> list[Tensor]:
        for p in params:
            p.grad = None
        net_state = torchopt.extract_state_dict(network, by="reference")
        inner_state = torchopt.extract_state_dict(inner, by="reference")
        for t in range(tasks.num_tasks):
            for _ in range(problem.steps):
                inner.step(problem.loss(network(tasks.support.x[t]), tasks.support.y[t]))
            (problem.loss(network(tasks.query.x[t]), tasks.query.y[t]) / tasks.num_tasks).backward()
            torchopt.recover_state_dict(network, net_state)
            torchopt.recover_state_dict(inner, inner_state)
        return [p.grad for p in params]

    return contender(problem, params, gradient)

"""The policies of `T` tasks as one function of observations, built once per rollout and called at every step.

A step of a rollout is short: for an MLP with two layers of 64 units, 20 tasks and 20 environments it is three matrix
products, and the overhead of `torch.vmap(functional_call)` would double its time. So a network of linear layers and
activations is copied once with the weights of all tasks stacked, `[T, in, out]`, and applied to `[T, E, do]`.
"""

import copy
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from quickstudy.inner.adapted import Adapted
from quickstudy.nets import MLP
from quickstudy.rl.normalising import NormalizedObservations
from quickstudy.rl.policies.multi_discrete import MultiDiscretePolicy
from quickstudy.rl.policies.squashed_gaussian import SquashedGaussianPolicy
from quickstudy.rl.policy import CategoricalPolicy, GaussianPolicy

Acting = Callable[[Tensor], Tensor]

_TRANSPARENT = (
    nn.Sequential,
    nn.ModuleList,
    MLP,
    GaussianPolicy,
    SquashedGaussianPolicy,
    CategoricalPolicy,
    MultiDiscretePolicy,
    NormalizedObservations,
    nn.Identity,
)
_ELEMENTWISE = (nn.Tanh, nn.ReLU, nn.ELU, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.Sigmoid, nn.Softplus)


def acting(policy: nn.Module, adapted: Adapted | None, num_tasks: int) -> Acting:
    """A function `observation [T, E, *do] -> outputs [T, E, k]`, without a graph.

    Args:
        policy: the policy of all tasks if `adapted` is None.
        adapted: the policies of the tasks, adapted from `policy` by an inner loop.
        num_tasks: T.

    Raises:
        ValueError: if `adapted` belongs to another policy or another number of tasks.

    >>> import quickstudy as qs
    >>> policy = GaussianPolicy(qs.nets.MLP(4, [8], 2), 2)
    >>> acting(policy, None, 3)(torch.zeros(3, 5, 4)).shape
    torch.Size([3, 5, 4])
    """
    if adapted is None:
        return lambda observation: policy(observation.flatten(0, 1)).unflatten(0, observation.shape[:2])
    problem = adapted.problem
    if problem.network is not policy:
        raise ValueError("adapted= belongs to another network than policy; give the policy that was adapted")
    if adapted.num_tasks != num_tasks:
        raise ValueError(
            f"the environment runs {num_tasks} tasks and the policy was adapted to {adapted.num_tasks}; "
            "set the environment's tasks before adapting, and adapt one policy for each task"
        )
    params = {k: p.detach() for k, p in adapted.params.items()}
    if not problem.inputs and _is_stackable(policy):
        return _stacked(policy, params)
    if not all(part.engine.together for part in adapted.parts):
        return adapted
    network = copy.deepcopy(policy)  # copied, as functional_call may fail to restore a layer that has two names
    buffers = {k: b.detach().clone(memory_format=torch.contiguous_format) for k, b in adapted.buffers.items()}

    def task(params: dict[str, Tensor], buffers: dict[str, Tensor], observation: Tensor) -> Tensor:
        own = {k: p for k, p in params.items() if k not in problem.inputs}
        return functional_call(network, (own, buffers), (observation,), {k: params[k] for k in problem.inputs})

    mapped = torch.vmap(task, randomness=problem.randomness)
    return lambda observation: mapped(params, buffers, observation)


@final
class _Linears(nn.Module):
    """The linear layers of all tasks: `[T, N, in] -> [T, N, out]`."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self.weight = weight.mT.contiguous()
        self.bias = None if bias is None else bias.unsqueeze(1).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() > 3:
            return self(x.flatten(1, -2)).unflatten(1, x.shape[1:-1])
        return torch.bmm(x, self.weight) if self.bias is None else torch.baddbmm(self.bias, x, self.weight)


def _is_stackable(policy: nn.Module) -> bool:
    """Whether all modules of the policy are known to work on `[T, N, ...]` once linear layers have stacked weights."""
    known = {nn.Linear, *_TRANSPARENT, *_ELEMENTWISE}
    tied = len(list(policy.named_parameters(remove_duplicate=False))) > len(list(policy.parameters()))
    plain = all(type(m) in known and not m._forward_hooks and not m._forward_pre_hooks for m in policy.modules())
    return plain and not tied and type(policy) is not nn.Linear


def _stacked(policy: nn.Module, params: dict[str, Tensor]) -> Acting:
    """A copy of the policy whose linear layers have the weights `params [T, ...]` of all tasks."""
    network: Any = copy.deepcopy(policy)
    for name, module in list(network.named_modules()):
        if type(module) is nn.Linear:
            linears = _Linears(params[f"{name}.weight"], params.get(f"{name}.bias"))
            parent, _, own = name.rpartition(".")
            network.get_submodule(parent)._modules[own] = linears
        elif module._parameters.get("log_std") is not None:
            prefix = f"{name}." if name else ""
            module._parameters["log_std"] = params[f"{prefix}log_std"].unsqueeze(1)

    def act(observation: Tensor) -> Tensor:
        return network(observation)

    return act

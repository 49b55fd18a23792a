"""The inner loop in plain PyTorch: for each task the network with its weights, `autograd.grad`, the rule.

    theta' = rule(theta, grad L(theta; data))

This is what every other engine must agree with. It asks nothing of the network but that PyTorch can differentiate it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from quickstudy.checks import values_are_readable
from quickstudy.data import Examples
from quickstudy.inner.modules.copies import copy_apart, copy_with, named_tensors
from quickstudy.inner.modules.outputs import map_outputs
from quickstudy.inner.optimizers import move
from quickstudy.inner.problem import Problem
from quickstudy.inner.state import State
from quickstudy.inner.transforms import in_transform, own_leaf
from quickstudy.nets.clock import at_step, playing


class Plain:
    """One task after another; every tensor of a `State` has a first axis of length 1."""

    together = False

    def step(
        self, problem: Problem, state: State, start: State, data: Any, outer: Any, step: int, *, second_order: bool
    ) -> State:
        """theta' = rule(theta, grad L(theta; data)); see `Engine`."""
        gradients, state = self.gradient(problem, state, data, outer, step, second_order=second_order)
        return move(problem, state, start, gradients, data, step)

    def gradient(
        self, problem: Problem, state: State, data: Any, outer: Any, step: int, *, second_order: bool
    ) -> tuple[dict[str, Any], State]:
        """grad L(theta; data), by name; without an entry where the loss does not reach. See `Engine`."""
        second_order = second_order and torch.is_grad_enabled()
        weights = _weights(state)
        if isinstance(data, Examples) and data.mask is not None and values_are_readable(data.x):
            data = Examples(data.x[data.mask][None], data.y[data.mask][None])  # the real points alone

        ran: list[nn.Module] = []

        def loss(moving: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            model, network = _model(problem, state, {**weights, **moving})
            ran.append(network)
            return problem.step_loss(model, _alone(data), outer), _left(state, network)

        moving = {name: weights[name] for name in problem.adapted_names()}
        with at_step(step), playing("support"):
            found, buffers = _gradient(loss, moving, second_order)
        network = None if in_transform() else ran[-1]
        found = {name: g.unsqueeze(0) for name, g in found.items() if g is not None}
        return found, state._replace(buffers=buffers, network=network)

    def evaluate(
        self, problem: Problem, state: State, function: Callable[..., Any], data: Any, outer: Any, step: int
    ) -> tuple[Any, dict[str, Tensor]]:
        """`function(model, data, outer)`; see `Engine`."""
        model, network = _model(problem, state, _weights(state))
        with at_step(step):
            value = function(model, _alone(data), outer)
        return map_outputs(lambda t: t.unsqueeze(0), value), _left(state, network)


def _gradient(loss: Callable[..., Any], weights: dict[str, Tensor], second_order: bool) -> tuple[Any, Any]:
    if in_transform():
        found, buffers = torch.func.grad(loss, has_aux=True)(weights)
        return (found if second_order else tree_map(torch.Tensor.detach, found)), buffers
    with torch.enable_grad():  # clones: the network may write into its weights, and others may read the same tensors
        weights = {k: (w if second_order else w.detach()).clone() for k, w in weights.items()}
        weights = {k: w if w.requires_grad else own_leaf(w) for k, w in weights.items()}
        value, buffers = loss(weights)
        if not value.requires_grad or not weights:
            return {}, buffers
        found = torch.autograd.grad(value, list(weights.values()), create_graph=second_order, allow_unused=True)
    return {
        k: g.to_dense() if g is not None and g.is_sparse else g for k, g in zip(weights, found, strict=True)
    }, buffers


def _weights(state: State) -> dict[str, Tensor]:
    return {**state.shared, **{k: v.squeeze(0) for k, v in state.moved.items()}}


def _model(problem: Problem, state: State, weights: dict[str, Tensor]) -> tuple[Callable[..., Any], nn.Module]:
    """The network with one task's weights, as the objective gets it, and as it is."""
    inputs = {k: weights[k] for k in problem.inputs}
    own = {k: w for k, w in weights.items() if k not in inputs} | {k: b[0].clone() for k, b in state.buffers.items()}
    network = copy_with(copy_apart(problem.network) if state.network is None else state.network, own)
    return problem.model(network, inputs), network


def _left(state: State, network: nn.Module) -> dict[str, Tensor]:
    tensors = named_tensors(network)
    return {k: tensors[k].detach().unsqueeze(0) for k in state.buffers}


def _alone(data: Any) -> Any:
    return tree_map(lambda a: a.squeeze(0) if isinstance(a, Tensor) else a, data)

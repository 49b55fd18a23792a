"""The inner loop in plain PyTorch: for each task the network with its weights, `autograd.grad`, and the rule.

    theta' = rule(theta, grad L(theta; data)),      for gradient descent   theta - lr * grad L(theta; data)

All other engines must agree with this one. It works for every network that PyTorch can differentiate.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from quickstudy.inner.modules.copies import copy_apart, copy_with, with_dense_gradient, without_past
from quickstudy.inner.modules.outputs import map_outputs
from quickstudy.inner.modules.purity import changed
from quickstudy.inner.optimizers import move
from quickstudy.inner.points import real_points
from quickstudy.inner.problem import Problem
from quickstudy.inner.state import State
from quickstudy.inner.transforms import in_transform, own_copy
from quickstudy.nets.clock import at_step, playing


@dataclass(frozen=True)
class Plain:
    """One task at a time, as `[1, ...]` in its `State`. `sparse` collects the weights whose gradients are sparse."""

    sparse: set[str] = field(default_factory=set)
    together = False

    def step(
        self, problem: Problem, state: State, start: State, data: Any, outer: Any, step: int, *, second_order: bool
    ) -> State:
        """theta' = rule(theta, grad L(theta; data)); see `Engine`."""
        gradients, state = self.gradient(problem, state, data, outer, step, second_order=second_order)
        return move(problem.rule, state, start, gradients, data, step, proximal=problem.proximal)

    def gradient(
        self, problem: Problem, state: State, data: Any, outer: Any, step: int, *, second_order: bool
    ) -> tuple[dict[str, Any], State]:
        """grad L(theta; data) by name, without the parameters that the loss does not depend on. See `Engine`."""
        weights, data, ran = state.weights(), real_points(data), []

        def loss(moving: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            model, network = self._model(problem, state, {**weights, **moving})
            ran.append(network)
            return problem.step_loss(model, _alone(data), outer), state.left_in(network)

        with at_step(step), playing("support"):
            moving = {name: weights[name] for name in problem.adapted_names()}
            found, buffers, after = _gradient(loss, moving, second_order and torch.is_grad_enabled())
        if more := {name for name, g in found.items() if g is not None and g.layout != torch.strided}:
            self.sparse.update(more)
            return self.gradient(problem, state, data, outer, step, second_order=second_order)
        found = {name: g.unsqueeze(0) for name, g in found.items() if g is not None}
        wrote = {k: w for k, w in after.items() if w._version or changed(w, weights[k])}
        state = state.shifted({k: (w - weights[k]).detach().unsqueeze(0) for k, w in wrote.items()})
        network = None if in_transform() else ran[-1] if second_order else without_past(ran[-1])
        return found, state._replace(buffers=buffers, network=network)

    def evaluate(
        self, problem: Problem, state: State, function: Callable[..., Any], data: Any, outer: Any, step: int
    ) -> tuple[Any, dict[str, Tensor]]:
        """`function(model, data, outer)`; see `Engine`."""
        model, network = self._model(problem, state, {k: w.clone() for k, w in state.weights().items()})
        with at_step(step):
            value = function(model, _alone(data), outer)
        return map_outputs(lambda t: t.unsqueeze(0), value), state.left_in(network)

    def _model(
        self, problem: Problem, state: State, weights: dict[str, Tensor]
    ) -> tuple[Callable[..., Any], nn.Module]:
        """The network with one task's weights, with and without the extra inputs filled in."""
        weights = {k: with_dense_gradient(w) if k in self.sparse else w for k, w in weights.items()}
        own = {**weights, **{k: b[0].clone() for k, b in state.buffers.items()}}
        inputs = {k: own.pop(k) for k in problem.inputs}
        network = copy_with(copy_apart(problem.network) if state.network is None else state.network, own)
        return problem.model(network, inputs), network


def _gradient(loss: Callable[..., Any], weights: dict[str, Tensor], second_order: bool) -> tuple[Any, Any, Any]:
    """The gradient, and the buffers and weights after the pass."""
    if in_transform():
        found, buffers = torch.func.grad(loss, has_aux=True)(weights)
        return (found if second_order else tree_map(torch.Tensor.detach, found)), buffers, {}
    with torch.enable_grad():  # clones, as the network may write into its weights
        weights = {k: own_copy(w if second_order else w.detach()) for k, w in weights.items()}
        value, buffers = loss(weights)
        found = [None] * len(weights)
        if value.requires_grad and weights:
            found = torch.autograd.grad(value, [*weights.values()], create_graph=second_order, allow_unused=True)
    return dict(zip(weights, found, strict=True)), buffers, weights


def _alone(data: Any) -> Any:
    return tree_map(lambda a: a.squeeze(0).clone() if isinstance(a, Tensor) else a, data)

"""What an engine computes for two tasks, for comparison with another engine."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from quickstudy.data import Examples
from quickstudy.inner.adapted import Adapted
from quickstudy.inner.modules.copies import copy_with
from quickstudy.inner.modules.mixing import Mixing
from quickstudy.inner.modules.purity import reseed, untouched
from quickstudy.inner.modules.tree import tensors_of
from quickstudy.inner.problem import Problem
from quickstudy.inner.state import Engine, Part, beginning
from quickstudy.inner.trees import num_tasks, taken, two_places
from quickstudy.inner.trust import BUFFER, shaken
from quickstudy.inner.unroll import Unrolling, unroll

STEPS = 3  # number of steps that are verified


def two_of(data: Any) -> Any:
    """Two tasks of a batch: the first and the last, or those with the fewest and the most points."""
    return taken(data, two_places(data))


def evidence(
    problem: Problem,
    engine: Engine,
    data: Any,
    outer: Any,
    mixing: Mixing,
    *,
    how: Unrolling,
    steps: int,
    graph: bool,
) -> dict[str, Tensor]:
    """Changes of the parameters, buffers, losses and meta-gradients of two tasks, by name.

    The computation leaves no trace, and all tasks draw the same random numbers.

    Args:
        problem: the inner problem.
        engine: the engine that runs.
        data: of the two tasks, for every step and for the loss after them.
        outer: passed to the objective.
        mixing: knows whether the network mixes points.
        how: the options for differentiating steps.
        steps: number of steps.
        graph: whether to compute the meta-gradient.
    """
    problem = replace(problem, randomness="same")
    how = replace(how, checkpoint=None, mixed_mode=False)
    count = num_tasks(data)
    with untouched(problem.network, *problem.functions(), problem.rule, outer), torch.set_grad_enabled(graph):
        reseed(0)
        data = tree_map(_begun, data)
        parts = _parts(problem, engine, count, graph)
        points = isinstance(data, Examples)
        shares = [p.take(data) for p in parts]
        parts = [p._replace(support=s if points else None) for p, s in zip(parts, shares, strict=True)]
        start = Adapted(problem, tuple(parts), count, mixing, outer)
        adapted = unroll(start, lambda step, now: shares, steps, how, create_graph=graph, fixed=shares, each=None)
        return {**_moves(adapted), **_judged(adapted, data, graph)}


def rounded(problem: Problem, precision: torch.dtype | None, seed: int) -> Problem:
    """The problem with weights that differ in their last digits in `precision`, to measure the effect of rounding."""
    others: dict[str, Tensor] = {}
    for name, p in problem.network.named_parameters():
        moved = shaken(p, precision, seed=seed)
        others[name] = torch.nn.Parameter(moved, p.requires_grad) if isinstance(p, torch.nn.Parameter) else moved
    return replace(problem, network=copy_with(problem.network, others))


def _parts(problem: Problem, engine: Engine, count: int, graph: bool) -> list[Part]:
    if engine.together:
        return [Part(None, count, engine, beginning(problem, count, graph))]
    places = torch.arange(count)
    return [Part(places[i : i + 1], 1, engine, beginning(problem, 1, graph)) for i in range(count)]


def _moves(adapted: Adapted) -> dict[str, Tensor]:
    own = {**dict(adapted.problem.network.named_parameters()), **adapted.problem.inputs}
    after = adapted.params
    found = {f"the adapted {k}": (after[k] - own[k]).detach() for k in adapted.problem.adapted_names()}
    left = {k: b if b.is_floating_point() else b.double() for k, b in adapted.buffers.items()}
    return found | {f"{BUFFER}{k}": b for k, b in left.items()}


def _judged(adapted: Adapted, data: Any, graph: bool) -> dict[str, Tensor]:
    """The loss of the adapted networks, and its gradient with respect to everything that can be learned."""
    problem = adapted.problem
    judge = problem.point_loss if problem.objective is None else problem.step_loss
    losses = adapted.run(judge, data, adapted.outer)[0]
    found, loss = {"the loss after it": losses.detach()}, losses.sum()
    if not graph or not loss.requires_grad:
        return found
    named = {f"the meta-gradient of {k}": t for k, t in tensors_of(problem.network)[0].items()}
    named |= {f"the meta-gradient of {k}": t for k, t in problem.inputs.items()}
    named |= {f"the rule's meta-gradient of {k}": t for k, t in problem.rule.named_parameters()}
    named |= {f"the loss's meta-gradient of {k}": t for k, t in problem.judge().items()}
    named |= {f"outer's meta-gradient of {i}": t for i, t in enumerate(tree_leaves(adapted.outer))}
    named |= {f"the data's meta-gradient of {i}": t for i, t in enumerate(tree_leaves(data))}
    learned = {k: t for k, t in named.items() if isinstance(t, Tensor) and t.requires_grad}
    if not learned:
        return found
    grads = torch.autograd.grad(loss, list(learned.values()), allow_unused=True, retain_graph=True)
    return found | {k: g for k, g in zip(learned, grads, strict=True) if g is not None}


def _begun(leaf: Any) -> Any:
    """A tensor with a graph as a leaf that requires grad; other data unchanged."""
    return leaf.detach().requires_grad_() if isinstance(leaf, Tensor) and leaf.requires_grad else leaf

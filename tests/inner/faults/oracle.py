"""Plain PyTorch, task by task and step by step, and the judgement of every way to run an inner loop by it."""

import copy
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

import quickstudy as qs

WAYS = {
    "loop": {"engine": "loop"},
    "auto": {},
    "batched": {"engine": "batched"},
    "lowrank": {"engine": "lowrank"},
    "loop, checkpoints": {"engine": "loop", "checkpoint": "sqrt"},
    "loop, mixed mode": {"engine": "loop", "mixed_mode": True},
    "auto, mixed mode, checkpoints": {"mixed_mode": True, "checkpoint": 2},
}
SLOW = ("lowrank", "loop, mixed mode")  # with the slow tests: what they are made of is in the others, too
every_way = pytest.mark.parametrize("way", [pytest.param(w, marks=[pytest.mark.slow] * (w in SLOW)) for w in WAYS])
MUST_WORK = ("loop", "auto")  # the others may refuse, and say what to do
CURE = re.compile(r"engine=|mixed_mode|checkpoint=|outer=|verify=")


class Problem(NamedTuple):
    """An inner problem of `tasks` tasks.

    Args:
        network: to adapt.
        objective: `(model, data of one task, outer) -> number`.
        data: the step -> a tree of tensors `[T, ...]`.
        query: what the adapted networks are judged on.
        judge: the objective there, if another.
        outer: a tensor for the objective.
    """

    network: nn.Module
    objective: Callable[..., Any]
    data: Callable[[int], Any]
    query: Any
    tasks: int = 3
    steps: int = 3
    rate: float = 0.1
    judge: Callable[..., Any] | None = None
    outer: Tensor | None = None
    momentum: float = 0.0
    decay: float = 0.0


class Answer(NamedTuple):
    """Query losses `[T]`, adapted parameters `[T, ...]`, and the gradient of `sum_t (t + 1) losses[t]`."""

    losses: Tensor
    params: dict[str, Tensor]
    grads: dict[str, Tensor]


def plain(problem: Problem) -> Answer:
    """What plain PyTorch makes of a problem."""
    judge, losses, ends = problem.judge or problem.objective, [], []
    with no_other_warnings(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        for task in range(problem.tasks):
            network, weights = adapted_alone(problem, task)
            ends.append({k: w.detach().clone() for k, w in weights.items()})
            losses.append(_number(judge(network, of_task(problem.query, task), problem.outer)))
        params = {k: torch.stack([end[k] for end in ends]) for k in ends[0]}
        return Answer(torch.stack(losses).detach(), params, gradient(problem, torch.stack(losses)))


def adapted_alone(problem: Problem, task: int) -> tuple[nn.Module, dict[str, Tensor]]:
    """One task's network after the steps, and its weights, whose graph leads back to the network's own."""
    own = dict(problem.network.named_parameters())
    weights = {k: p.clone() for k, p in own.items()}
    network, memory = with_weights(problem.network, own, weights), {}
    for step in range(problem.steps):
        loss = _number(problem.objective(network, of_task(problem.data(step), task), problem.outer))
        after = _stepped(problem, weights, loss, memory)
        network, weights = with_weights(network, weights, after), after
    return network, weights


def _stepped(problem: Problem, weights: dict[str, Tensor], loss: Tensor, memory: dict[str, Tensor]) -> dict:
    """The weights after a step of descent as `torch.optim.SGD` takes it: without a gradient, none is taken."""
    moving = [k for k, w in weights.items() if w.requires_grad]
    if not loss.requires_grad:
        return weights
    grads = torch.autograd.grad(loss, [weights[k] for k in moving], create_graph=True, allow_unused=True)
    after = dict(weights)
    for name, gradient in zip(moving, grads, strict=True):
        if gradient is None:
            continue
        force = gradient + problem.decay * weights[name]
        memory[name] = force + problem.momentum * memory[name] if name in memory else force
        after[name] = weights[name] - problem.rate * memory[name]
    return after


def with_weights(network: nn.Module, own: dict[str, Tensor], weights: dict[str, Tensor]) -> nn.Module:
    """A copy of everything that the network is, with `weights` where it has `own`."""
    return copy.deepcopy(network, {id(own[k]): w for k, w in weights.items()})


def of_task(data: Any, task: int) -> Any:
    """One task's share of a tree of tensors `[T, ...]`."""
    return tree_map(lambda a: a[task] if isinstance(a, Tensor) else a, data)


def gradient(problem: Problem, losses: Tensor) -> dict[str, Tensor]:
    """Of a sum in which every task counts differently, so that no two can be taken for each other."""
    wanted = {k: p for k, p in problem.network.named_parameters() if p.requires_grad}
    if problem.outer is not None:
        wanted["outer"] = problem.outer
    total = (losses * torch.arange(1.0, problem.tasks + 1)).sum()
    found = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    return {k: torch.zeros_like(p) if g is None else g for (k, p), g in zip(wanted.items(), found, strict=True)}


def made(problem: Problem, way: str, **options: Any) -> Any:
    """The inner loop of a problem, to be run in one of the ways."""
    if problem.momentum or problem.decay:
        options["rule"] = qs.optimizers.SGD(problem.rate, momentum=problem.momentum, weight_decay=problem.decay)
    else:
        options["lr"] = problem.rate
    with no_other_warnings():
        return qs.inner_loop(
            problem.network, objective=problem.objective, steps=problem.steps, **{**WAYS[way], **options}
        )


def found(problem: Problem, loop: Any) -> Answer:
    """What an inner loop makes of a problem."""
    with no_other_warnings():
        adapted = loop(batch=lambda step, adapted: problem.data(step), num_tasks=problem.tasks, outer=problem.outer)
        own = dict(problem.network.named_parameters())
        left = {k: b for k, b in adapted.buffers.items() if k in own}  # frozen ones may be kept as buffers are
        params = {k: p.detach().clone() for k, p in {**left, **adapted.params}.items()}
        losses = adapted.evaluate(problem.judge or problem.objective, problem.query)
        return Answer(losses.detach(), params, gradient(problem, losses))


def judge(problem: Problem, way: str, loop: Any = None) -> None:
    """A way is exact, or refuses and says what to do; the loop and the default are exact."""
    expected = plain(problem)
    with allowed_to_refuse(way) as refused:
        answer = found(problem, loop or made(problem, way))
    if not refused:
        assert_same(answer, expected)


def assert_same(answer: Answer, expected: Answer) -> None:
    """Equal to nine digits: losses, every task's parameters, the meta-gradient."""
    _close(answer.losses, expected.losses, "losses")
    for name, value in expected.params.items():
        _close(answer.params[name], value, name)
    for name, value in expected.grads.items():
        _close(answer.grads[name], value, f"gradient of {name}")


@contextmanager
def allowed_to_refuse(way: str, cure: re.Pattern[str] = CURE) -> Iterator[list[Exception]]:
    """Takes an error that says what to do, unless the way must work; the list that it gives then holds the error."""
    errors: list[Exception] = []
    try:
        yield errors
    except (RuntimeError, ValueError, TypeError) as error:
        if way in MUST_WORK:
            raise
        assert cure.search(str(error)), f"does not say what to do: {type(error).__name__}: {error}"
        errors.append(error)


@contextmanager
def no_other_warnings() -> Iterator[None]:
    """Lets pass that tasks run one by one, and what torch says of itself; any other warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", RuntimeWarning)
        for known in ("performance drop", "is in beta", "Full backward hook is firing"):
            warnings.filterwarnings("ignore", f".*{known}", UserWarning)
        warnings.filterwarnings("ignore", ".*torch.jit.script", DeprecationWarning)
        yield


def judge_learner(problem: Problem, learner: nn.Module) -> None:
    """A learner's meta-loss of the problem's points, and its gradient, are means over tasks each on its own."""
    tasks = qs.Tasks(qs.Examples(*problem.data(0)), qs.Examples(*problem.query))
    params = [p for p in problem.network.parameters() if p.requires_grad]
    with no_other_warnings():
        loss = learner.meta_loss(tasks)
        found = torch.autograd.grad(loss, params, allow_unused=True, materialize_grads=True)
    answers = []
    for i in range(problem.tasks):
        data, query = (tuple(t[i : i + 1] for t in pair) for pair in (problem.data(0), problem.query))
        answers.append(plain(problem._replace(data=lambda step, data=data: data, query=query, tasks=1)))
    torch.testing.assert_close(loss.detach(), torch.cat([a.losses for a in answers]).mean(), rtol=1e-9, atol=1e-10)
    for name, gradient in zip(answers[0].grads, found, strict=True):
        expected = torch.stack([a.grads[name] for a in answers]).mean(0)
        _close(gradient, expected, f"gradient of {name}")


def _close(a: Tensor, b: Tensor, name: str) -> None:
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10, msg=lambda m: f"{name}: {m}")


def points(tasks: int = 3, number: int = 4, inputs: int = 3, outputs: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """`x [T, N, inputs]` and `y [T, N, outputs]`, in double precision."""
    chance = torch.Generator().manual_seed(seed)
    double = {"generator": chance, "dtype": torch.float64}
    return torch.randn(tasks, number, inputs, **double), torch.randn(tasks, number, outputs, **double)


def squared(model: Callable[..., Tensor], data: Any, outer: Any = None) -> Tensor:
    """The mean squared error of one task."""
    x, y = data
    return (model(x) - y).square().sum(-1).mean()


def of(network: nn.Module, data: Any = None, query: Any = None, **more: Any) -> Problem:
    """The problem of fitting points by squared errors."""
    data, query = data if data is not None else points(), query if query is not None else points(seed=1)
    steady = data if callable(data) else lambda step: data
    return Problem(network, more.pop("objective", squared), steady, query, **more)


def _number(value: Any) -> Tensor:
    return value[0] if isinstance(value, tuple) else value

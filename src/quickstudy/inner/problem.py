"""What an inner loop solves: a network, what its steps descend, by which rule, what adapts. Knows no engine."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from torch import Tensor, nn

from quickstudy.checks import shown
from quickstudy.data import Examples
from quickstudy.inner.modules.copies import copy_with
from quickstudy.inner.modules.tree import named_tensors, tensors_of
from quickstudy.inner.points import mean_loss

Randomness = Literal["different", "same"]
Model = Callable[..., Any]


@dataclass(frozen=True)
class Problem:
    """An inner problem; arguments as of `inner_loop`, and

    Args:
        adapt: patterns, or None for everything.
        known: the parameters that the network had when the loop was made, by name. Where torch.func has put plain
            tensors in their place, they tell which are trained.
    """

    network: nn.Module
    loss: Callable[..., Tensor]
    rule: Any
    inner_loss: Callable[..., Tensor] | None = None
    objective: Callable[..., Any] | None = None
    adapt: str | Sequence[str] | None = None
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    proximal: float = 0.0
    randomness: Randomness = "different"
    known: Mapping[str, Tensor] = field(default_factory=dict)

    def adapted_names(self, params: Mapping[str, Tensor] | None = None) -> list[str]:
        """The parameters and extra inputs that move; `params` are the network's, where they are known."""
        names, own = [], tensors_of(self.network)[0] if params is None else params
        for name, p in own.items():
            if (p if isinstance(p, nn.Parameter) else self.known.get(name, p)).requires_grad:
                names.append(name)
        names += self.inputs
        if self.adapt is None:
            return names
        wanted = matching([*own, *self.inputs], self.adapt)
        return [name for name in wanted if name in names]

    def step_loss(self, model: Model, data: Any, outer: Any = None) -> Tensor:
        """What a step of one task descends."""
        if self.objective is not None:
            return one_number(self.objective(model, data, outer))
        return _mean(self.inner_loss or self.loss, model, data)

    def point_loss(self, model: Model, examples: Examples, outer: Any = None) -> Tensor:
        """What one task is judged by: the mean loss over its real points."""
        del outer
        return _mean(self.loss, model, examples)

    def model(self, network: nn.Module, inputs: Mapping[str, Tensor]) -> Model:
        """`network` as the objective gets it: with the extra inputs filled in."""
        if not inputs:
            return network
        return lambda *arguments, **options: network(*arguments, **{**inputs, **options})

    def judge(self) -> dict[str, Tensor]:
        """The parameters of the losses themselves, as the noise of a likelihood, by number and name."""
        modules = [(i, owner_of(f)) for i, f in enumerate(self.functions())]
        return {f"{i}.{k}": p for i, m in modules if m is not None for k, p in m.named_parameters()}

    def judged_by(self, tensors: Mapping[str, Tensor]) -> "Problem":
        """The same problem with these tensors as the parameters of its losses."""
        if not tensors:
            return self
        given = []
        for i, function in enumerate(self.functions()):
            mine = {k.partition(".")[2]: t for k, t in tensors.items() if k.partition(".")[0] == str(i)}
            given.append(_with_tensors(function, mine) if mine else function)
        return replace(self, loss=given[0], inner_loss=given[1], objective=given[2])

    def now(self) -> "Problem":
        """The same problem as everything stands at this moment, whatever becomes of modes and tensors later."""
        functions = [_with_tensors(f, {}) for f in self.functions()]
        rule = copy_with(self.rule, {}) if isinstance(self.rule, nn.Module) else self.rule
        network = copy_with(self.network, {})
        given = dict(zip(("loss", "inner_loss", "objective"), functions, strict=True))
        return replace(self, network=network, rule=rule, inputs=dict(self.inputs), **given)

    def functions(self) -> tuple[Any, Any, Any]:
        """The loss, what steps descend in its place, and the objective."""
        return self.loss, self.inner_loss, self.objective


def one_number(value: Any) -> Tensor:
    """An objective's value: one number, or the first of several things it returned."""
    number = value[0] if isinstance(value, tuple) and value else value
    if not isinstance(number, Tensor) or number.dim():
        got = f"a tensor of shape {list(number.shape)}" if isinstance(number, Tensor) else type(number).__name__
        raise ValueError(
            f"the objective returned {got}; expected one number for a task (or a tuple that begins with it): take the "
            "mean over its points"
        )
    return number


def owner_of(function: Any) -> nn.Module | None:
    """The module that a loss is, or that it is a method of."""
    owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def matching(names: Sequence[str], patterns: str | Sequence[str]) -> list[str]:
    """The names that fit any of the patterns, as in the shell.

    Raises:
        ValueError: if a pattern fits none.
    """
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(patterns, Iterable) or not all(isinstance(pattern, str) for pattern in patterns):
        raise TypeError(f"expected names of parameters or patterns such as 'head.*', not {shown(patterns)}")
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            part = any(name.startswith(f"{pattern}.") for name in names)
            raise ValueError(
                f"no parameter is named {pattern!r}; there are {', '.join(names) or 'none'}"
                + (f" (all of a module's: '{pattern}.*')" if part else "")
            )
    return [name for name in names if any(fnmatchcase(name, p) for p in patterns)]


def _mean(loss: Callable[..., Tensor], model: Model, examples: Examples) -> Tensor:
    x, y, mask = examples
    return mean_loss(loss(model(x), y), len(x), mask)


def _with_tensors(function: Any, tensors: Mapping[str, Tensor]) -> Any:
    owner = owner_of(function)
    if owner is None:
        return function
    copy = copy_with(owner, tensors, named_tensors(owner) if tensors else {})
    return copy if function is owner else function.__func__.__get__(copy)

"""The inner problem: a network, the loss of its steps, the rule, and what adapts. It does not depend on the engine."""

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
    """An inner problem. Arguments not listed here are as for `inner_loop`.

    Args:
        adapt: patterns for names, or None for everything.
        known: the network's parameters by name when the loop was built. They tell which parameters are trained when
            torch.func has replaced them by plain tensors.
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
        """The names of the parameters and extra inputs that adapt; `params` are the network's, if known already."""
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
        """The loss of one task's inner step."""
        if self.objective is not None:
            return one_number(self.objective(model, data, outer))
        return _mean(self.inner_loss or self.loss, model, data)

    def point_loss(self, model: Model, examples: Examples, outer: Any = None) -> Tensor:
        """The mean loss over one task's real points."""
        del outer
        return _mean(self.loss, model, examples)

    def model(self, network: nn.Module, inputs: Mapping[str, Tensor]) -> Model:
        """`network` with the extra inputs filled in, as the objective gets it."""
        if not inputs:
            return network
        return lambda *arguments, **options: network(*arguments, **{**inputs, **options})

    def judge(self) -> dict[str, Tensor]:
        """The parameters of the losses themselves, such as a likelihood's noise, by number and name."""
        modules = [(i, owner_of(f)) for i, f in enumerate(self.functions())]
        return {f"{i}.{k}": p for i, m in modules if m is not None for k, p in m.named_parameters()}

    def judged_by(self, tensors: Mapping[str, Tensor]) -> "Problem":
        """The same problem with `tensors` as the parameters of its losses."""
        if not tensors:
            return self
        given = []
        for i, function in enumerate(self.functions()):
            mine = {k.partition(".")[2]: t for k, t in tensors.items() if k.partition(".")[0] == str(i)}
            given.append(_with_tensors(function, mine) if mine else function)
        return replace(self, loss=given[0], inner_loss=given[1], objective=given[2])

    def now(self) -> "Problem":
        """The same problem on copies of its modules, so that later changes of modes and tensors do not affect it."""
        functions = [_with_tensors(f, {}) for f in self.functions()]
        rule = copy_with(self.rule, {}) if isinstance(self.rule, nn.Module) else self.rule
        network = copy_with(self.network, {})
        given = dict(zip(("loss", "inner_loss", "objective"), functions, strict=True))
        return replace(self, network=network, rule=rule, inputs=dict(self.inputs), **given)

    def functions(self) -> tuple[Any, Any, Any]:
        """The loss, the inner loss and the objective."""
        return self.loss, self.inner_loss, self.objective


def one_number(value: Any) -> Tensor:
    """An objective's value, or the first entry of the tuple that it returned; ValueError unless it is one number."""
    number = value[0] if isinstance(value, tuple) and value else value
    if not isinstance(number, Tensor) or number.dim():
        got = f"a tensor of shape {list(number.shape)}" if isinstance(number, Tensor) else type(number).__name__
        raise ValueError(
            f"the objective returned {got}; expected one number for a task (or a tuple that begins with it): take the "
            "mean over its points"
        )
    return number


def owner_of(function: Any) -> nn.Module | None:
    """The module that `function` is, or whose method it is; None for other functions."""
    owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def matching(names: Sequence[str], patterns: str | Sequence[str]) -> list[str]:
    """The names that match any of the patterns, which are written as in the shell.

    Raises:
        TypeError: if the patterns are no strings.
        ValueError: if a pattern matches no name.
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

"""The update rules of inner steps: SGD, Adam and RMSProp, each of them differentiable.

They compute the same numbers as `torch.optim`, but return new values instead of writing into the old ones, so that
derivatives flow through a step to the values, the gradients and the rates.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from quickstudy.checks import check_number, check_unit, shown
from quickstudy.inner.rates import Rated as Rated
from quickstudy.inner.rates import Rates as Rates
from quickstudy.inner.rates import check_rate as check_rate
from quickstudy.inner.rates import rate_at as rate_at
from quickstudy.inner.rates import rate_text
from quickstudy.words import set_values

__all__ = ["SGD", "Adam", "RMSProp", "Rated", "Rates", "Rule", "check_rate", "rate_at"]  # what `qs.optimizers` is for


class SGD(nn.Module):
    """Gradient descent: v' = momentum v + g + weight_decay p;  p' = p - lr v' (Nesterov: p - lr (g + momentum v')).

    Without `clip` the steps are linear in the gradients, as the `lowrank` engine requires.

    Args:
        lr: a number; a 0-dimensional tensor; a sequence or 1-dimensional tensor with one rate for each step (later
            steps use the last one); `{pattern: rate}` by the names of parameters, fixed; or `Rates`. An `nn.Parameter`
            is meta-learned.
        momentum: of the velocity, at least 0 and below 1.
        nesterov: use Nesterov momentum.
        weight_decay: L2 penalty.
        clip: largest norm of a task's gradient over all parameters; longer gradients are scaled down to it. It keeps
            long or steep inner loops from overflowing.

    >>> rule = SGD(0.1, momentum=0.9)
    >>> value, velocity = rule.update("w", 0, torch.ones(2), torch.ones(2), None)
    >>> rule.update("w", 1, value, torch.ones(2), velocity)[0]
    tensor([0.7100, 0.7100])
    """

    def __init__(
        self,
        lr: Rated = 0.01,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        clip: float | None = None,
    ):
        super().__init__()
        if clip is not None and not check_number("clip", clip):
            raise ValueError("clip=0 would remove every gradient; give the largest norm allowed, or None")
        self.clip = clip
        self.lr = check_rate(lr)
        self.momentum, self.weight_decay = check_unit("momentum", momentum), check_number("weight_decay", weight_decay)
        if nesterov and not momentum:
            raise ValueError("nesterov=True needs momentum; give momentum= a value above 0")
        self.nesterov = nesterov

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        kept = {"momentum": self.momentum, "nesterov": self.nesterov, "weight_decay": self.weight_decay}
        return {"lr": self.lr, **kept, "clip": self.clip}

    def extra_repr(self) -> str:
        """The rate, and what else is set."""
        return set_values(
            lr=rate_text(self.lr),
            momentum=self.momentum or None,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay or None,
            clip=self.clip,
        )

    @property
    def linear(self) -> bool:
        """Whether a step is linear in the gradients."""
        return self.clip is None

    def direct(self, values: dict[str, Any], gradients: dict[str, Any], data: Any) -> dict[str, Any]:
        """The gradients `[T, *shape]`, scaled so that the norm of each task's gradient is at most `clip`."""
        del values, data
        if self.clip is None or not gradients:
            return gradients
        square = torch.stack([g.reshape(len(g), -1).square().sum(1) for g in gradients.values()]).sum(0)
        factor = self.clip / root(square).clamp(min=self.clip)
        return {k: g * factor.view(-1, *[1] * (g.dim() - 1)) for k, g in gradients.items()}

    def update(self, name: str, step: int, value: Any, gradient: Any, velocity: Any) -> tuple[Any, Any]:
        """The parameter's next value and velocity. `value` and `gradient` are tensors, or `LowRank` both."""
        if self.weight_decay:
            gradient = gradient + value * self.weight_decay
        if self.momentum:
            velocity = gradient if velocity is None else velocity * self.momentum + gradient
            gradient = gradient + velocity * self.momentum if self.nesterov else velocity
        rate = rate_at(self.lr, name, step)
        if isinstance(rate, Tensor):  # the coefficients of low-rank weights keep the precision of the rate
            like = value if isinstance(value, Tensor) else value.base
            rate = rate.to(like.dtype)
        elif isinstance(value, Tensor):
            return torch.sub(value, gradient, alpha=rate), velocity  # one pass over memory instead of two
        return value - gradient * rate, velocity


class Adam(nn.Module):
    """Adam (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1), with a finite derivative where the gradient is zero.

    At zero the square root of the second moment has no derivative, but the step `g / (|g| + eps)` has the derivative
    1 / eps, which is used.

    Args:
        lr: as for `SGD`.
        betas: decay rates of the two moments.
        eps: added to the root of the second moment.
        weight_decay: L2 penalty, added to the gradient.
    """

    linear = False

    def __init__(
        self,
        lr: Rated = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__()
        self.lr, self.eps = check_rate(lr), check_number("eps", eps)
        if not isinstance(betas, Sequence) or len(betas) != 2:
            raise ValueError(f"betas={shown(betas)}; expected two numbers of at least 0 and below 1")
        self.betas = check_unit("betas", betas[0]), check_unit("betas", betas[1])
        self.weight_decay = check_number("weight_decay", weight_decay)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"lr": self.lr, "betas": self.betas, "eps": self.eps, "weight_decay": self.weight_decay}

    def extra_repr(self) -> str:
        """The rate, and what else is set."""
        return set_values(lr=rate_text(self.lr), betas=self.betas, weight_decay=self.weight_decay or None)

    def update(self, name: str, step: int, value: Any, gradient: Any, moments: Any) -> tuple[Any, Any]:
        """The parameter's next value and its memory: first moment, second moment, number of steps."""
        if self.weight_decay:
            gradient = gradient + value * self.weight_decay
        (b1, b2), (first, second, count) = self.betas, moments or (0.0, 0.0, 0)
        first = first * b1 + gradient * (1 - b1)
        second = second * b2 + gradient.square() * (1 - b2)
        count += 1
        size = root(second) / math.sqrt(1 - b2**count) + self.eps
        moved = value - rate_at(self.lr, name, step) * (first / (1 - b1**count)) / size
        return moved, (first, second, count)


class RMSProp(nn.Module):
    """RMSProp: s' = alpha s + (1 - alpha) g^2;  p' = p - lr g / (sqrt(s') + eps), differentiable as `Adam` is.

    Args:
        lr: as for `SGD`.
        alpha: decay rate of the mean square.
        eps: added to the root of the mean square.
        weight_decay: L2 penalty, added to the gradient.
    """

    linear = False

    def __init__(self, lr: Rated = 0.01, *, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0.0):
        super().__init__()
        self.lr, self.alpha, self.eps = check_rate(lr), check_unit("alpha", alpha), check_number("eps", eps)
        self.weight_decay = check_number("weight_decay", weight_decay)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"lr": self.lr, "alpha": self.alpha, "eps": self.eps, "weight_decay": self.weight_decay}

    def extra_repr(self) -> str:
        """The rate, and what else is set."""
        return set_values(lr=rate_text(self.lr), alpha=self.alpha, weight_decay=self.weight_decay or None)

    def update(self, name: str, step: int, value: Any, gradient: Any, square: Any) -> tuple[Any, Any]:
        """The parameter's next value and mean square."""
        if self.weight_decay:
            gradient = gradient + value * self.weight_decay
        square = (0.0 if square is None else square) * self.alpha + gradient.square() * (1 - self.alpha)
        return value - rate_at(self.lr, name, step) * gradient / (root(square) + self.eps), square


def move(
    rule: Any, state: Any, start: Any, gradients: dict[str, Any], data: Any, step: int, *, proximal: float = 0.0
) -> Any:
    """The `State` after one step of the rule; parameters without a gradient do not change.

    Args:
        rule: such as `SGD`.
        state: before the step.
        start: before the first step, for the `proximal` term.
        gradients: `[T, *shape]` by name, or low-rank.
        data: the points of the step, for rules with a method `direct`.
        step: the number of steps before this one.
        proximal: strength of the penalty on the distance from `start`.
    """
    shared, moved, slots = dict(state.shared), dict(state.moved), dict(state.slots)
    direct: Any = getattr(rule, "direct", None)
    if direct is not None:
        gradients = direct({k: moved[k] if k in moved else shared[k] for k in gradients}, gradients, data)
    for name, gradient in gradients.items():
        value = moved[name] if name in moved else shared.pop(name)
        if proximal:
            began = start.moved[name] if name in start.moved else start.shared[name]
            gradient = gradient + (value - began) * proximal
        moved[name], slots[name] = rule.update(name, step, value, gradient, slots.get(name))
    return state._replace(shared=shared, moved=moved, slots=slots)


class Rule(Protocol):
    """An update rule: `SGD`, `Adam`, `RMSProp`, or a module of your own with the following members."""

    lr: Any
    """A rate in any form that `rate_at` understands."""

    @property
    def linear(self) -> bool:
        """Whether every step is a linear combination of value, gradient and memory, with one number for all entries.

        They can then be low-rank objects that support `+`, `-`, and `*` and `/` by a number. A rule with a factor for
        each entry must say False.
        """

    def update(self, name: str, step: int, value: Any, gradient: Any, memory: Any, /) -> tuple[Any, Any]:
        """The parameter's next value and memory.

        Args:
            name: the parameter's name in the network.
            step: the number of the step, from 0.
            value: `[T, *shape]`, or `[*shape]` as long as tasks share it.
            gradient: `[T, *shape]`, of each task's mean loss.
            memory: returned by the previous step; None at step 0.
        """


def root(square: Tensor) -> Tensor:
    """The square root, with derivative 0 at 0 (torch's is infinite, and 0 times that is NaN)."""
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, torch.ones_like(square)).sqrt(), 0.0)

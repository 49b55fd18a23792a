"""Learning rates of inner steps: fixed or learned, per step, or by the names of parameters."""

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from numbers import Real
from typing import Any, Literal

import torch
from torch import Tensor, nn

from quickstudy.checks import check_choice, check_network, check_number, check_whole, shown, values_are_readable

Rate = float | Tensor
Rated = float | Tensor | Sequence[float] | Mapping[str, Any] | nn.Module


class Rates(nn.Module):
    """Separate inner learning rates for parameter entries, layers or steps, fixed or meta-learned.

    Meta-SGD has one rate for every entry of every parameter (Li et al. 2017, arXiv 1707.09835, eq. 3), MAML++ one for
    every layer and step (Antoniou et al. 2019, arXiv 1810.09502, section 4).

    Args:
        network: the module whose parameters adapt, or `{name: shape}` of them.
        initial: initial value of all rates.
        per: "scalar" (one rate for all), "layer" (one for every module that owns parameters) or "parameter" (one for
            every entry of every parameter).
        steps: number of steps with rates of their own; later steps use the rates of the last one. None: all steps
            share their rates.
        learn: whether to meta-learn the rates. They can become negative, unless `log` is set.
        log: store the logarithms of the rates in `values`. The rates then stay positive, and an outer step changes them
            in proportion to their size; otherwise it changes all of them by similar amounts.

    >>> rates = Rates(nn.Linear(1, 3), 0.01, per="parameter")
    >>> rates.at("weight", step=0).shape
    torch.Size([3, 1])
    """

    def __init__(
        self,
        network: nn.Module | Mapping[str, Sequence[int]],
        initial: float = 0.01,
        *,
        per: Literal["scalar", "layer", "parameter"] = "scalar",
        steps: int | None = None,
        learn: bool = True,
        log: bool = False,
    ):
        super().__init__()
        check_choice("per", per, ("scalar", "layer", "parameter"))
        steps = None if steps is None else check_whole("steps", steps)
        initial = check_number("initial", initial)
        if log and not initial:
            raise ValueError("initial=0 has no logarithm; give a rate above 0, or leave out log=")
        self.initial, self.per, self.steps, self.learn, self.log = initial, per, steps, learn, log
        like: dict[str, Any] = {}
        if not isinstance(network, Mapping):
            check_network(network)
            like = {k: {"dtype": p.dtype, "device": p.device} for k, p in network.named_parameters()}
            network = {k: list(p.shape) for k, p in network.named_parameters()}
        self.shapes = {k: list(shape) for k, shape in network.items()}
        self.values = nn.ParameterDict()
        for name, shape in self.shapes.items():
            key = self._key(name)
            if key not in self.values:
                own = [*([] if steps is None else [steps]), *(shape if per == "parameter" else [])]
                full = torch.full(own, math.log(initial) if log else float(initial), **like.get(name, {}))
                self.values[key] = nn.Parameter(full, requires_grad=learn)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"per": self.per, "steps": self.steps, "learn": self.learn, "log": self.log}
        return {"network": self.shapes, "initial": self.initial, **own}

    def __repr__(self) -> str:
        """One line without the values, which can be many."""
        per = {"scalar": "one for all", "layer": "per layer", "parameter": "per entry"}[self.per]
        return f"Rates({rate_text(self)}, {per}{' and step' if self.steps else ''})"

    @property
    def scalar(self) -> bool:
        """Whether all entries of a parameter share one rate."""
        return self.per != "parameter"

    def at(self, name: str, step: int) -> Tensor:
        """The rate of the parameter `name` at `step`: a scalar, or a tensor with the parameter's shape."""
        key = self._key(name)
        if key not in self.values:
            raise ValueError(f"there is no rate for {name!r}; build Rates with the network that is adapted")
        value = self.values[key]
        value = value if self.steps is None else value[min(step, self.steps - 1)]
        return value.exp() if self.log else value

    def _key(self, name: str) -> str:
        where = {"scalar": "all", "layer": name.rpartition(".")[0] or "network", "parameter": name}[self.per]
        return where.replace(".", "/")


def rate_at(lr: Rated, name: str, step: int) -> Rate:
    """The rate that `lr` gives for the parameter `name` at `step`."""
    if isinstance(lr, Rates):
        return lr.at(name, step)
    if isinstance(lr, Mapping):
        for pattern, rate in lr.items():
            if fnmatchcase(name, pattern):
                return rate_at(rate, name, step)
        raise ValueError(f"lr has no rate for {name!r}, only for {', '.join(lr)}; add it, or the pattern '*'")
    if isinstance(lr, Tensor):
        return lr if lr.dim() == 0 else lr[min(step, len(lr) - 1)]
    if isinstance(lr, Sequence):
        return lr[min(step, len(lr) - 1)]
    return lr  # type: ignore[return-value]


def rate_text(lr: Any) -> str:
    """A rate as text: the number, or for many rates their count, mean, and whether they are learned.

    >>> rate_text(0.01), rate_text([0.1, 0.05]), rate_text(nn.Parameter(torch.tensor(0.1)))
    ('0.01', '[0.1, 0.05]', '0.1 (learned)')
    >>> rate_text(Rates(nn.Linear(1, 3), 0.01, per="parameter"))
    '6 learned, 0.01 on average'
    """
    if isinstance(lr, Rates):
        values = torch.cat([v.detach().flatten() for v in lr.values.values()])
        mean = f", {(values.exp() if lr.log else values).mean():.3g} on average" if values_are_readable(values) else ""
        return f"{len(values)} {'learned' if lr.learn else 'fixed'}{mean}"
    if isinstance(lr, Mapping):
        return "{" + ", ".join(f"{pattern}: {rate_text(rate)}" for pattern, rate in lr.items()) + "}"
    if isinstance(lr, Tensor) and not values_are_readable(lr):
        return f"{lr.numel()} values"
    if isinstance(lr, Tensor):
        return rate_text(lr.tolist()) + (" (learned)" if lr.requires_grad else "")
    if isinstance(lr, Sequence):
        return "[" + ", ".join(map(rate_text, lr)) + "]"
    return f"{lr:.6g}"


def one_rate(lr: Rated) -> bool:
    """Whether all entries of a parameter share one rate, at every step."""
    return lr.scalar if isinstance(lr, Rates) else True


def check_rate(lr: Any) -> Any:
    """`lr`, or ValueError unless it is one of the kinds of rates that rules accept."""
    if isinstance(lr, Rates):
        return lr
    if isinstance(lr, Real) and not isinstance(lr, bool):
        return check_number("lr", lr)
    if isinstance(lr, Mapping) and any(isinstance(r, Rates) or getattr(r, "requires_grad", False) for r in lr.values()):
        raise ValueError(
            "a mapping holds fixed rates; for learned ones by layer or entry use optimizers.Rates(network)"
        )
    if isinstance(lr, Mapping) and lr:
        return {pattern: check_rate(rate) for pattern, rate in lr.items()}
    if isinstance(lr, Tensor) and lr.is_floating_point() and lr.dim() <= 1 and lr.numel():
        return lr
    if isinstance(lr, Sequence) and not isinstance(lr, str) and lr:
        return [check_number("lr", rate) for rate in lr]
    raise ValueError(
        f"lr={shown(lr)}; expected a number of at least 0, a list with one rate per step, a float tensor with at most "
        "one axis, {pattern: rate}, or optimizers.Rates(network)"
    )

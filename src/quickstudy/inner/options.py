"""The inner loop's options, and checks of each of them and of their combinations."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral
from typing import Any, Literal, TypedDict, cast

from torch import Tensor, nn

from quickstudy.checks import check_choice, check_made, check_network, check_number, check_switch, shown
from quickstudy.inner.fast.implicit import Implicit
from quickstudy.inner.fast.vectorise import unvectorised
from quickstudy.inner.optimizers import SGD, Rule
from quickstudy.inner.problem import Randomness
from quickstudy.inner.rates import Rates, one_rate
from quickstudy.inner.unroll import Unrolling
from quickstudy.likelihoods import Likelihood

Engine = Literal["auto", "loop", "batched", "lowrank"]
ENGINES = ("auto", "loop", "batched", "lowrank")
DEFAULT_RATE = 0.01
_USUAL = {"learning_rate": "lr", "inner_lr": "lr", "optimizer": "rule"}  # what other libraries call them


class InnerOptions(TypedDict, total=False):
    """The options that gradient-based learners pass on to `quickstudy.inner_loop`, which documents them."""

    rule: Rule | None
    inner_loss: Callable[[Tensor, Tensor], Tensor] | None
    adapt: str | Sequence[str] | None
    inputs: Mapping[str, Tensor] | nn.ParameterDict | None
    minibatch: int | None
    engine: Engine
    checkpoint: str | int | None
    mixed_mode: bool
    truncate: int | None
    implicit: Implicit | None
    proximal: float
    randomness: Randomness
    verify: bool


class MAMLOptions(InnerOptions, total=False):
    """The options that variants of MAML pass on to `quickstudy.MAML`, which documents them."""

    first_order: bool
    loss: Callable[[Tensor, Tensor], Tensor] | None
    likelihood: Likelihood | None
    compile: bool
    chunk: int | None


def check_options(learner: nn.Module, options: Mapping[str, Any]) -> None:
    """Raise TypeError for an option that the inner loop does not have; the message names the learner's arguments."""
    for name in options:
        if name not in InnerOptions.__annotations__:
            own = [k for k, p in inspect.signature(type(learner)).parameters.items() if p.kind is not p.VAR_KEYWORD]
            known = [*own, *InnerOptions.__annotations__]
            close = [_USUAL[name]] if name in _USUAL else get_close_matches(name, known, 1)
            raise TypeError(
                f"{type(learner).__name__}() got an unexpected keyword argument {name!r}; "
                + (f"did you mean {close[0]!r}? " if close else "")
                + f"it takes {', '.join(known)}"
            )


def check_problem(
    network: Any, *, loss: Any, inner_loss: Any, objective: Any, inputs: Any, rule: Rule, engine: str
) -> None:
    """Raise TypeError or ValueError for an invalid inner problem; the arguments are those of `inner_loop`."""
    check_network(network)
    for name, p in network.named_parameters():
        if isinstance(p, nn.parameter.UninitializedParameter):
            raise ValueError(f"{name} has no shape yet; run the network once, so that its lazy layers get shapes")
    for name, function in (("loss", loss), ("inner_loss", inner_loss), ("objective", objective)):
        check_made(name, function, "")
        if function is not None and not callable(function):
            raise TypeError(f"{name}={shown(function)}; expected a function")
    for name, function in (("loss", loss), ("inner_loss", inner_loss)):
        if function is not None and objective is not None:
            raise ValueError(f"give {name}= or objective=, not both")
    _check_inputs(inputs)
    _check_read(inputs, network)
    _check_rates(rule, network)
    taken = set(inputs or ()) & set(dict(network.named_parameters()))
    if taken:
        raise ValueError(f"the network has a parameter {sorted(taken)[0]!r} already; call the input by another name")
    if engine == "lowrank" and not (rule.linear and one_rate(rule.lr)):
        raise ValueError(
            "engine='lowrank' needs a rule linear in the gradients with one rate a layer (SGD, with momentum and "
            "weight decay); use engine='auto' or 'batched' for this one"
        )
    if engine in ("batched", "lowrank") and (why := unvectorised(network)) is not None:
        raise ValueError(f"engine={engine!r} runs all tasks in one pass, and {why}; use engine='auto' or 'loop'")


def check_settings(
    *, engine: Any, randomness: Any, minibatch: Any, proximal: Any, verify: Any, how: Unrolling, network: nn.Module
) -> None:
    """Raise TypeError or ValueError for invalid settings, and for settings that exclude each other.

    Args:
        how: the options for differentiating steps.
        network: some settings need a network with real parameters.
    """
    switches = {"first_order": how.first_order, "mixed_mode": how.mixed_mode, "verify": verify}
    for name, value in switches.items():
        check_switch(name, value)
    check_choice("engine", engine, ENGINES)
    check_choice("randomness", randomness, ("different", "same"))
    for name, value in (("minibatch", minibatch), ("truncate", how.truncate)):
        check_count(name, value)
    if not isinstance(how.checkpoint, str) or how.checkpoint not in ("every", "sqrt"):
        check_count("checkpoint", how.checkpoint, "'every', 'sqrt' or a number of steps of at least 1")
    check_number("proximal", proximal)
    saving = [k for k in ("mixed_mode", "checkpoint", "implicit") if getattr(how, k)]
    if saving and any(p.is_complex() for p in network.parameters()):
        raise ValueError(f"{saving[0]} needs real parameters, and the network has complex ones; leave it out")
    kept = [k for k in ("first_order", "mixed_mode") if getattr(how, k)]
    kept += [k for k in ("checkpoint", "truncate") if getattr(how, k) is not None]
    if how.implicit is not None:
        if not isinstance(how.implicit, Implicit):
            raise TypeError(f"implicit={shown(how.implicit)}; expected quickstudy.Implicit(...)")
        if kept:
            raise ValueError(f"implicit= differentiates the solution, not the steps: leave out {', '.join(kept)}")
    elif how.first_order and len(kept) > 1:
        raise ValueError(f"first_order=True has no second derivatives: leave out {', '.join(kept[1:])}")


def rule_of(lr: Any, rule: Any) -> Rule:
    """The rule given by `rule`, or gradient descent at the rate `lr`."""
    if rule is None:
        return SGD(DEFAULT_RATE if lr is None else lr)
    if lr is not None:
        raise ValueError("give lr= or rule=, not both: a rule has its own rate, as optimizers.Adam(lr=0.01)")
    check_made("rule", rule, "lr=0.01")
    lacks = [name for name in ("update", "linear", "lr") if not hasattr(rule, name)]
    if lacks or not isinstance(rule, nn.Module):
        raise TypeError(
            f"rule={shown(rule)}; expected one of quickstudy.optimizers, as SGD(0.01) or Adam(0.01), or a module of "
            "your own with lr, linear and update"
            + (f"; this one has no {lacks[0]}" if lacks else "; this is no nn.Module")
        )
    return cast(Rule, rule)


def _check_inputs(inputs: Any) -> None:
    if inputs is None:
        return
    if not isinstance(inputs, Mapping | nn.ParameterDict) or not all(isinstance(v, Tensor) for v in inputs.values()):
        raise TypeError("inputs= must be {name: tensor}: further inputs of the network, as network(x, name=...)")
    for name, value in inputs.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"inputs= names {shown(name)}; expected the name of an argument of the network's forward")
        if not value.is_floating_point():
            raise TypeError(
                f"inputs={{{name!r}: ...}} is {value.dtype}, and gradient steps move floating-point tensors only"
            )


def _check_read(inputs: Any, network: nn.Module) -> None:
    """Raise TypeError for an input that is no argument of the network's `forward`."""
    try:
        parameters = inspect.signature(network.forward).parameters if inputs else {}
    except (TypeError, ValueError):  # compiled code has no signature
        return
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for name in inputs or ():
        if name not in parameters:
            raise TypeError(
                f"inputs= names {name!r}, and the network's forward takes {', '.join(parameters) or 'nothing'}; add "
                f"the argument, as forward(self, x, {name})"
            )


def _check_rates(rule: Any, network: nn.Module) -> None:
    """Raise ValueError for elementwise rates that were built for parameters of other shapes."""
    rates = getattr(rule, "lr", None)
    if isinstance(rates, Rates) and rates.per == "parameter":
        for name, p in network.named_parameters():
            if rates.shapes.get(name, list(p.shape)) != list(p.shape):
                raise ValueError(
                    f"the rates for {name!r} were built for shape {rates.shapes[name]}, and the parameter has "
                    f"{list(p.shape)}; build Rates with the network that is adapted"
                )


def as_parameters(inputs: Mapping[str, Tensor] | nn.ParameterDict | None) -> nn.ParameterDict | None:
    """The extra inputs of a learner: parameters are meta-learned; other tensors become buffers, which only adapt."""
    if inputs is None:
        return None
    _check_inputs(inputs)
    held = nn.ParameterDict()
    for name, value in inputs.items():
        learned = isinstance(value, nn.Parameter)
        held[name] = value if learned else None
        if not learned:  # a plain tensor would become a parameter, so its entry is replaced by a buffer
            delattr(held, name)
            held.register_buffer(name, value.detach().clone())
    return held


def check_count(name: str, value: Any, expected: str = "a whole number of at least 1, or None") -> int | None:
    """`value`, or ValueError unless it is a whole number of at least 1, or None."""
    if value is None:
        return None
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={shown(value)}; expected {expected}")
    return int(value)

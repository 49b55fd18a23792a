"""Checks of the inner loop's options, and of how they go together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict, cast

from torch import Tensor, nn

from quickstudy.checks import check_number
from quickstudy.inner.fast.implicit import Implicit
from quickstudy.inner.fast.vectorise import unvectorised
from quickstudy.inner.optimizers import SGD, Rule
from quickstudy.inner.problem import Randomness
from quickstudy.inner.rates import one_rate
from quickstudy.inner.unroll import Unrolling
from quickstudy.likelihoods import Likelihood

Engine = Literal["auto", "loop", "batched", "lowrank"]
ENGINES = ("auto", "loop", "batched", "lowrank")
DEFAULT_RATE = 0.01


class InnerOptions(TypedDict, total=False):
    """What every gradient-based learner hands on to `quickstudy.inner_loop`, where each is explained."""

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
    """What the descendants of MAML hand on to `quickstudy.MAML`, where each is explained."""

    first_order: bool
    loss: Callable[[Tensor, Tensor], Tensor] | None
    likelihood: Likelihood | None
    compile: bool
    chunk: int | None


def check_problem(
    network: Any, *, loss: Any, inner_loss: Any, objective: Any, inputs: Any, rule: Rule, engine: str
) -> None:
    """Raise TypeError or ValueError for an inner problem that cannot be one; arguments as of `inner_loop`."""
    if not isinstance(network, nn.Module):
        raise TypeError(f"network must be a torch.nn.Module, not {type(network).__name__}")
    for name, p in network.named_parameters():
        if isinstance(p, nn.parameter.UninitializedParameter):
            raise ValueError(f"{name} has no shape yet; run the network once, so that its lazy layers are made")
    for name, function in (("loss", loss), ("inner_loss", inner_loss), ("objective", objective)):
        if function is not None and not callable(function):
            raise TypeError(f"{name}={function!r}; expected a function")
    for name, function in (("loss", loss), ("inner_loss", inner_loss)):
        if function is not None and objective is not None:
            raise ValueError(f"give {name}= or objective=, not both")
    _check_inputs(inputs)
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
    """Raise TypeError or ValueError for settings that are none, or that exclude each other.

    Args:
        how: says how steps are differentiated.
        network: some settings are for real parameters only.
    """
    switches = {"first_order": how.first_order, "mixed_mode": how.mixed_mode, "verify": verify}
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name}={value!r}; expected True or False")
    for name, value, choices in (("engine", engine, ENGINES), ("randomness", randomness, ("different", "same"))):
        if value not in choices:
            raise ValueError(f"{name}={value!r}; choose one of {', '.join(choices)}")
    for name, value in (("minibatch", minibatch), ("truncate", how.truncate)):
        check_count(name, value)
    if how.checkpoint not in (None, "every", "sqrt"):
        check_count("checkpoint", how.checkpoint, "'every', 'sqrt' or a number of steps of at least 1")
    check_number("proximal", proximal)
    saving = [k for k in ("mixed_mode", "checkpoint", "implicit") if getattr(how, k)]
    if saving and any(p.is_complex() for p in network.parameters()):
        raise ValueError(f"{saving[0]} is for real parameters, and the network has complex ones; leave it out")
    kept = [k for k in ("first_order", "mixed_mode") if getattr(how, k)]
    kept += [k for k in ("checkpoint", "truncate") if getattr(how, k) is not None]
    if how.implicit is not None:
        if not isinstance(how.implicit, Implicit):
            raise TypeError(f"implicit={how.implicit!r}; expected quickstudy.Implicit(...)")
        if kept:
            raise ValueError(f"implicit differentiates the solution, not the steps: leave out {', '.join(kept)}")
    elif how.first_order and len(kept) > 1:
        raise ValueError(f"first_order has no second derivatives to save or cut: leave out {', '.join(kept[1:])}")


def rule_of(lr: Any, rule: Any) -> Rule:
    """The rule that `lr` and `rule` come to."""
    if rule is None:
        return SGD(DEFAULT_RATE if lr is None else lr)
    if lr is not None:
        raise ValueError("give lr= or rule=, not both: a rule has its own rate, as optimizers.Adam(lr=0.01)")
    lacks = [name for name in ("update", "linear", "lr") if not hasattr(rule, name)]
    if lacks or not isinstance(rule, nn.Module):
        raise TypeError(
            f"rule={rule!r}; expected one of quickstudy.optimizers, as SGD(0.01) or Adam(0.01), or a module of your "
            "own with lr, linear and update" + (f"; this one has no {lacks[0]}" if lacks else "; this is no nn.Module")
        )
    return cast(Rule, rule)


def _check_inputs(inputs: Any) -> None:
    if inputs is None:
        return
    if not isinstance(inputs, Mapping | nn.ParameterDict) or not all(isinstance(v, Tensor) for v in inputs.values()):
        raise TypeError("inputs= must be {name: tensor}: further inputs of the network, as network(x, name=...)")
    for name, value in inputs.items():
        if not value.is_floating_point():
            raise TypeError(
                f"inputs={{{name!r}: ...}} is {value.dtype}, and gradient steps move floating-point tensors only"
            )


def as_parameters(inputs: Mapping[str, Tensor] | nn.ParameterDict | None) -> nn.ParameterDict | None:
    """The extra inputs of a learner: those that are parameters are meta-learned; the others, buffers, only adapted."""
    if inputs is None:
        return None
    _check_inputs(inputs)
    held = nn.ParameterDict()
    for name, value in inputs.items():
        learned = isinstance(value, nn.Parameter)
        held[name] = value if learned else None
        if not learned:  # a tensor would become a parameter: the name is known by now, and its value can be a buffer
            delattr(held, name)
            held.register_buffer(name, value.detach().clone())
    return held


def check_count(name: str, value: Any, expected: str = "a whole number of at least 1, or None") -> int | None:
    """`value`, or ValueError unless it is a whole number of at least 1, or None."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError(f"{name}={value!r}; expected {expected}")
    return value

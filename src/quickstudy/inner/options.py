"""Checks of the inner loop's options, and of how they go together."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypedDict, cast

from torch import Tensor, nn

from quickstudy.checks import check_number
from quickstudy.inner.fast.engines import ENGINES, Engine, Randomness, unvectorised
from quickstudy.inner.fast.implicit import Implicit
from quickstudy.inner.optimizers import SGD, Rule
from quickstudy.inner.rates import one_rate

DEFAULT_RATE = 0.01


class InnerOptions(TypedDict, total=False):
    """What every gradient-based learner hands on to `quickstudy.inner_loop`, where each is explained."""

    rule: Rule | None
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


def check_options(given: dict[str, Any]) -> Rule:
    """The rule that `lr` and `rule` come to.

    Args:
        given: the arguments of `InnerLoop`, by name.

    Raises:
        TypeError, ValueError: for an option that is not what it should be, and for two that exclude each other.
    """
    if not isinstance(given["network"], nn.Module):
        raise TypeError(f"network must be a torch.nn.Module, not {type(given['network']).__name__}")
    for name in ("loss", "objective"):
        if given[name] is not None and not callable(given[name]):
            raise TypeError(f"{name}={given[name]!r}; expected a function")
    if given["loss"] is not None and given["objective"] is not None:
        raise ValueError("give loss= or objective=, not both")
    for name in ("first_order", "mixed_mode"):
        if not isinstance(given[name], bool):
            raise TypeError(f"{name}={given[name]!r}; expected True or False")
    for name, choices in (("engine", ENGINES), ("randomness", ("different", "same"))):
        if given[name] not in choices:
            raise ValueError(f"{name}={given[name]!r}; choose one of {', '.join(choices)}")
    for name in ("minibatch", "truncate"):
        check_count(name, given[name])
    if given["checkpoint"] not in (None, "every", "sqrt"):
        check_count("checkpoint", given["checkpoint"], "'every', 'sqrt' or a number of steps of at least 1")
    check_number("proximal", given["proximal"])
    _check_inputs(given["inputs"])
    taken = set(given["inputs"] or ()) & set(dict(given["network"].named_parameters()))
    if taken:
        raise ValueError(f"the network has a parameter {sorted(taken)[0]!r} already; call the input by another name")
    saving = [k for k in ("mixed_mode", "checkpoint", "implicit") if given[k]]
    if saving and any(p.is_complex() for p in given["network"].parameters()):
        raise ValueError(f"{saving[0]} is for real parameters, and the network has complex ones; leave it out")
    rule = _rule(given["lr"], given["rule"])
    _check_together(given, rule)
    if given["engine"] in ("batched", "lowrank") and (why := unvectorised(given["network"])) is not None:
        raise ValueError(
            f"engine={given['engine']!r} runs all tasks in one pass, and {why}; use engine='auto' or 'loop'"
        )
    return rule


def _rule(lr: Any, rule: Any) -> Rule:
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


def _check_together(given: dict[str, Any], rule: Rule) -> None:
    if given["engine"] == "lowrank" and not (rule.linear and one_rate(rule.lr)):
        raise ValueError(
            "engine='lowrank' needs a rule linear in the gradients with one rate a layer (SGD, with momentum and "
            "weight decay); use engine='auto' or 'batched' for this one"
        )
    kept = [k for k in ("first_order", "mixed_mode") if given[k]]
    kept += [k for k in ("checkpoint", "truncate") if given[k] is not None]
    if given["implicit"] is not None:
        if not isinstance(given["implicit"], Implicit):
            raise TypeError(f"implicit={given['implicit']!r}; expected quickstudy.Implicit(...)")
        if kept:
            raise ValueError(f"implicit differentiates the solution, not the steps: leave out {', '.join(kept)}")
    elif given["first_order"] and len(kept) > 1:
        raise ValueError(f"first_order has no second derivatives to save or cut: leave out {', '.join(kept[1:])}")


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


def as_parameters(inputs: Mapping[str, Tensor] | nn.ParameterDict) -> nn.ParameterDict:
    """The extra inputs of a learner: those that are parameters are meta-learned; the others, buffers, only adapted."""
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


def matching(names: Iterable[str], patterns: str | Sequence[str]) -> list[str]:
    """The names that fit any of the patterns, as in the shell.

    Raises:
        ValueError: if a pattern fits none.
    """
    names, patterns = list(names), [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"no parameter is named {pattern!r}; there are {', '.join(names) or 'none'}")
    return [name for name in names if any(fnmatchcase(name, p) for p in patterns)]

"""What a gymnasium environment consists of: its wrappers, their options, and statistics that they must not keep."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

Env = gymnasium.Env[Any, Any]
_PICTURES = ("render", "screen")  # attributes that do not change what an environment does
_LONGEST = 32  # numbers in an array that is taken for an option


def layers(env: Env) -> list[Env]:
    """The environment and everything it wraps, from the outside to the inside."""
    found = [env]
    while isinstance(found[-1], gymnasium.Wrapper):
        found.append(found[-1].env)
    return found


def check_keeps_no_statistics(name: str, env: Env) -> None:
    """Raise ValueError if a layer of `env` updates running statistics, as NormalizeObservation and NormalizeReward do.

    Statistics of the copies of an environment drift apart, are in no checkpoint, and begin anew in every new copy: a
    policy is then evaluated on other observations than it was trained on. Frozen ones (`update_running_mean = False`)
    are allowed.
    """
    for layer in layers(env):
        kept = [key for key, value in vars(layer).items() if _is_running(value)]
        if kept and getattr(layer, "update_running_mean", True):
            what = type(layer).__name__
            cure = (
                "qs.rl.Judge(reward_scale=qs.rl.RewardScale())"
                if "reward" in what.lower()
                else "qs.rl.NormalizedObservations(network, size) inside the policy"
            )
            raise ValueError(
                f"{name}: {what} keeps running statistics ({kept[0]}) in each copy of the environment, and no "
                f"checkpoint holds them. Leave it out and use {cure}, which belongs to the learner; or set its "
                "update_running_mean to False"
            )


def options_of(env: Env, twin: Env) -> dict[str, Any]:
    """The options of an environment by name: its arguments in gymnasium, its layers and their plain attributes.

    Args:
        env: a new environment.
        twin: another one, made by the same function; attributes that differ between them are drawn at random, and are
            left out.
    """
    spec, found = env.spec, dict[str, Any]()
    if spec is not None:
        found["id"], found["kwargs"] = spec.id, _plain_ones(spec.kwargs)
    for layer, other in zip(layers(env), layers(twin), strict=False):
        its = _plain_ones(vars(other))
        own = {key: value for key, value in _plain_ones(vars(layer)).items() if key in its and its[key] == value}
        found[type(layer).__name__] = own
    return found


def _is_running(value: Any) -> bool:
    """Whether `value` is a running mean and variance, such as gymnasium's RunningMeanStd."""
    numbers = [getattr(value, part, None) for part in ("mean", "var", "count")]
    return all(n is not None and not callable(n) for n in numbers) and callable(getattr(value, "update", None))


def _plain_ones(values: Mapping[str, Any]) -> dict[str, Any]:
    """The public options among `values` that JSON can hold."""
    found = {}
    for key, value in values.items():
        if not key.startswith(("_", *_PICTURES)) and (plain := _plain(value)) is not ...:
            found[key] = plain
    return found


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it; `...` if it cannot."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else str(value)
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    if isinstance(value, np.ndarray):
        return _plain(value.tolist()) if value.size <= _LONGEST and value.dtype.kind in "biuf" else ...
    if isinstance(value, Sequence) and len(value) <= _LONGEST:
        entries = [_plain(entry) for entry in value]
        return ... if any(entry is ... for entry in entries) else entries
    return ...

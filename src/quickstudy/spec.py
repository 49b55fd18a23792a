"""Learners as JSON, and back. Names are looked up in one fixed table: nothing that a file says is ever imported."""

import json
from typing import Any

import torch
from torch import Tensor, nn


def to_spec(module: nn.Module) -> dict[str, Any]:
    """A JSON-able description from which `from_spec` builds the module anew (with fresh weights).

    A class of quickstudy is described by its `config()`; anything else by its type, as foreign, and by a `config()` of
    its own, which tells runs apart.

    >>> from quickstudy.nets import MLP
    >>> to_spec(MLP(1, [8], 1))
    {'class': 'MLP', 'inputs': 1, 'hidden': [8], 'outputs': 1, 'activation': 'relu'}
    """
    name = type(module).__name__
    if _table().get(name) is not type(module):
        described: dict[str, Any] = {
            "class": None,
            "foreign": f"{type(module).__module__}.{type(module).__qualname__}",
        }
        return described | _own_config(module)
    return {"class": name, **{k: _value(v) for k, v in module.config().items()}}  # type: ignore[operator]


def _own_config(module: Any) -> dict[str, Any]:
    """What a class of somebody's own says of itself, if that can be written down."""
    try:
        config = module.config()
        found = {"config": _value(config)} if isinstance(config, dict) else {}
        json.dumps(found)
    except (AttributeError, TypeError, ValueError):  # it may be anything by that name
        return {}
    return found


def from_spec(spec: dict[str, Any], network: nn.Module | None = None) -> nn.Module:
    """The module that `to_spec` described.

    Args:
        spec: what `to_spec` gave.
        network: stands in for a network that is not one of `quickstudy.nets`.

    Raises:
        ValueError: if the description is damaged or needs a module that only its author has.
    """
    name = spec.get("class")
    if name is None:
        if network is None:
            raise ValueError(
                f"this learner was trained with a network of its author's own, {spec.get('foreign')}; "
                "build it and pass it as network="
            )
        return network
    if name not in _table():
        raise ValueError(f"unknown class {name!r} in a saved learner; this version knows {', '.join(sorted(_table()))}")
    arguments = {}
    for key, value in spec.items():
        if key == "class":
            continue
        foreign = isinstance(value, dict) and value.get("class", "") is None
        if foreign and key != "network":
            raise ValueError(
                f"this learner was trained with {key}={value.get('foreign')}, and code is never read from a file; "
                "build the whole learner as you did then and pass it as network="
            )
        arguments[key] = _from_value(value, network if key == "network" else None)
    try:
        return _table()[name](**arguments)
    except TypeError as error:
        raise ValueError(f"the saved description of {name} does not fit this version: {error}") from None


def _from_value(value: Any, network: nn.Module | None = None) -> Any:
    if not isinstance(value, dict):
        return value
    if value.get("class") == "Tensor":
        tensor = torch.tensor(value["values"])
        return nn.Parameter(tensor) if value["learn"] else tensor
    if "class" in value:
        return from_spec(value, network)
    return {key: _from_value(entry) for key, entry in value.items()}


def _value(value: Any) -> Any:
    if isinstance(value, Tensor):
        learn = isinstance(value, nn.Parameter) and value.requires_grad
        return {"class": "Tensor", "values": value.tolist(), "learn": learn}
    if isinstance(value, nn.ParameterDict):
        return {key: _value(entry) for key, entry in value.items()}
    if isinstance(value, nn.Module) or type(value) in _table().values():
        return to_spec(value)
    if isinstance(value, dict):
        return {key: _value(entry) for key, entry in value.items()}
    if value is None or isinstance(value, bool | int | float | str | list | tuple):
        return list(value) if isinstance(value, tuple) else value
    return {"class": None, "foreign": getattr(value, "__qualname__", type(value).__qualname__)}


def _table() -> dict[str, type[Any]]:
    from quickstudy import likelihoods, nets
    from quickstudy.gradient.bayesian_maml import BayesianMAML
    from quickstudy.gradient.maml import MAML
    from quickstudy.gradient.maml_plus_plus import MAMLPlusPlus
    from quickstudy.gradient.meta_curvature import Curvature
    from quickstudy.gradient.pretrained import Pretrained
    from quickstudy.gradient.reptile import Reptile
    from quickstudy.gradient.svgd import SVGD
    from quickstudy.gradient.warp_grad import WarpGrad
    from quickstudy.inner.fast.implicit import Implicit
    from quickstudy.inner.optimizers import SGD, Adam, RMSProp
    from quickstudy.inner.rates import Rates
    from quickstudy.metric.alpaca import ALPaCA
    from quickstudy.nets.step_norm import StepNorm
    from quickstudy.processes.cnp import CNP
    from quickstudy.processes.neural_process import NeuralProcess
    from quickstudy.rl.actor import Judge
    from quickstudy.rl.baseline import LinearBaseline
    from quickstudy.rl.maml_trpo import MAMLTRPO
    from quickstudy.rl.maml_vpg import MAMLVPG
    from quickstudy.rl.policy import CategoricalPolicy, GaussianPolicy
    from quickstudy.rl.promp import ProMP

    classes: tuple[type[Any], ...] = (
        MAML,
        MAMLPlusPlus,
        BayesianMAML,
        WarpGrad,
        Reptile,
        Pretrained,
        SGD,
        Adam,
        RMSProp,
        SVGD,
        Rates,
        Curvature,
        Implicit,
        ALPaCA,
        CNP,
        NeuralProcess,
        MAMLTRPO,
        MAMLVPG,
        ProMP,
        GaussianPolicy,
        CategoricalPolicy,
        Judge,
        LinearBaseline,
        nets.MLP,
        nets.WarpedMLP,
        nets.Conv4,
        StepNorm,
        nets.TaskNorm,
        nets.MetaBatchNorm,
        nets.WithContext,
        likelihoods.Gaussian,
        likelihoods.HeteroscedasticGaussian,
        likelihoods.Categorical,
    )
    return {c.__name__: c for c in classes}

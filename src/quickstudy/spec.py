"""Learners as JSON, and back. Names are looked up in one fixed table: nothing that a file says is ever imported."""

from typing import Any

from torch import nn


def to_spec(module: nn.Module) -> dict[str, Any]:
    """A JSON-able description from which `from_spec` builds the module anew (with fresh weights).

    A class of quickstudy is described by its `config()`; anything else by its type, as foreign.

    >>> from quickstudy.nets import MLP
    >>> to_spec(MLP(1, [8], 1))
    {'class': 'MLP', 'inputs': 1, 'hidden': [8], 'outputs': 1, 'activation': 'relu'}
    """
    name = type(module).__name__
    if _table().get(name) is not type(module):
        return {"class": None, "foreign": f"{type(module).__module__}.{type(module).__qualname__}"}
    return {"class": name, **{k: _value(v) for k, v in module.config().items()}}  # type: ignore[operator]


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
                f"this learner was trained with {key}={value.get('foreign')}, which cannot be "
                "read from a file; "
                "build the learner as you did then and load its weights from model.safetensors"
            )
        nested = isinstance(value, dict) and "class" in value
        arguments[key] = from_spec(value, network if key == "network" else None) if nested else value
    try:
        return _table()[name](**arguments)
    except TypeError as error:
        raise ValueError(f"the saved description of {name} does not fit this version: {error}") from None


def _value(value: Any) -> Any:
    if isinstance(value, nn.Module):
        return to_spec(value)
    if value is None or isinstance(value, bool | int | float | str | list | tuple | dict):
        return list(value) if isinstance(value, tuple) else value
    return {"class": None, "foreign": getattr(value, "__qualname__", type(value).__qualname__)}


def _table() -> dict[str, type[nn.Module]]:
    from quickstudy import likelihoods, nets
    from quickstudy.gradient.maml import MAML
    from quickstudy.gradient.pretrained import Pretrained
    from quickstudy.processes.cnp import CNP
    from quickstudy.processes.neural_process import NeuralProcess

    classes: tuple[type[nn.Module], ...] = (
        MAML,
        Pretrained,
        CNP,
        NeuralProcess,
        nets.MLP,
        likelihoods.Gaussian,
        likelihoods.HeteroscedasticGaussian,
        likelihoods.Categorical,
    )
    return {c.__name__: c for c in classes}

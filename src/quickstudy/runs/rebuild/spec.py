"""Describes learners as JSON, and builds them from it.

Names are looked up in one fixed table, so no name in a file is ever imported.
"""

import json
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

# The module of each class that can be built from a description; it is imported when a description names it.
CLASSES: dict[str, str] = {
    "MAML": "quickstudy.gradient.maml",
    "MAMLPlusPlus": "quickstudy.gradient.maml_plus_plus",
    "BayesianMAML": "quickstudy.gradient.bayesian_maml",
    "WarpGrad": "quickstudy.gradient.warp_grad",
    "Reptile": "quickstudy.gradient.reptile",
    "Pretrained": "quickstudy.gradient.pretrained",
    "SGD": "quickstudy.inner.optimizers",
    "Adam": "quickstudy.inner.optimizers",
    "RMSProp": "quickstudy.inner.optimizers",
    "SVGD": "quickstudy.gradient.svgd",
    "Rates": "quickstudy.inner.rates",
    "Curvature": "quickstudy.gradient.meta_curvature",
    "Implicit": "quickstudy.inner.fast.implicit",
    "ALPaCA": "quickstudy.metric.alpaca",
    "DeepMeanGP": "quickstudy.metric.deep_mean_gp",
    "MeanAndGP": "quickstudy.metric.mean_and_gp.mean_and_gp",
    "CompartmentModel": "quickstudy.metric.compartments.compartment_model",
    "MixedModel": "quickstudy.metric.mixed.mixed_model",
    "GeneralizedMixedModel": "quickstudy.metric.generalized.generalized_mixed_model",
    "Polynomial": "quickstudy.metric.bases.polynomial",
    "NaturalSpline": "quickstudy.metric.bases.natural_spline",
    "Crossed": "quickstudy.metric.bases.crossed",
    "BoostedTrees": "quickstudy.tables.boosting.boosted_trees",
    "Calibrated": "quickstudy.tables.calibrated",
    "EachOutput": "quickstudy.tables.each_output",
    "InUnits": "quickstudy.tables.in_units",
    "OnResiduals": "quickstudy.tables.on_residuals",
    "Stack": "quickstudy.tables.stack",
    "Unadapted": "quickstudy.tables.candidates",
    "ClassCurve": "quickstudy.estimators.classes.class_curve",
    "ClassShares": "quickstudy.estimators.classes.class_shares",
    "ClassTrees": "quickstudy.estimators.classes.class_trees",
    "OnClassCurve": "quickstudy.estimators.classes.on_class_curve",
    "ScaledInputs": "quickstudy.estimators.classes.scaled_inputs",
    "CNP": "quickstudy.processes.cnp",
    "BootstrappingNP": "quickstudy.processes.bootstrapping_np",
    "NeuralProcess": "quickstudy.processes.neural_process",
    "TNP": "quickstudy.processes.tnp",
    "TNPA": "quickstudy.processes.tnp_a",
    "TNPND": "quickstudy.processes.tnp_nd",
    "IncTNP": "quickstudy.processes.inc_tnp",
    "AttentiveCNP": "quickstudy.processes.attentive_cnp",
    "AttentiveNP": "quickstudy.processes.attentive_np",
    "ConvCNP": "quickstudy.processes.conv_cnp",
    "ConvNP": "quickstudy.processes.conv_np",
    "GridConvCNP": "quickstudy.processes.grid_conv_cnp",
    "FlowNP": "quickstudy.processes.flow_np",
    "LBANP": "quickstudy.processes.lbanp",
    "TETNP": "quickstudy.processes.te_tnp",
    "RelativeCNP": "quickstudy.processes.relative_cnp",
    "GaussianHead": "quickstudy.processes.heads.gaussian",
    "MixtureHead": "quickstudy.processes.heads.mixture",
    "LowRankHead": "quickstudy.processes.heads.low_rank",
    "DenseHead": "quickstudy.processes.heads.dense",
    "BarHead": "quickstudy.processes.heads.bar",
    "CategoricalHead": "quickstudy.processes.heads.categorical",
    "BernoulliHead": "quickstudy.processes.heads.bernoulli",
    "CountHead": "quickstudy.processes.heads.count",
    "WithMissing": "quickstudy.processes.heads.with_missing",
    "MAMLTRPO": "quickstudy.rl.maml_trpo",
    "MAMLVPG": "quickstudy.rl.maml_vpg",
    "ProMP": "quickstudy.rl.promp",
    "RL2": "quickstudy.rl.recurrent.rl2",
    "MemoryNetwork": "quickstudy.rl.recurrent.memory",
    "PEARL": "quickstudy.rl.latent.pearl",
    "ContextEncoder": "quickstudy.rl.latent.context_encoder",
    "VariBAD": "quickstudy.rl.latent.varibad",
    "BeliefAutoencoder": "quickstudy.rl.latent.autoencoder",
    "BeliefNetwork": "quickstudy.rl.latent.belief_network",
    "RewardDecoder": "quickstudy.rl.latent.decoders",
    "TransitionDecoder": "quickstudy.rl.latent.decoders",
    "GaussianPolicy": "quickstudy.rl.policy",
    "CategoricalPolicy": "quickstudy.rl.policy",
    "MultiDiscretePolicy": "quickstudy.rl.policies.multi_discrete",
    "SquashedGaussianPolicy": "quickstudy.rl.policies.squashed_gaussian",
    "NormalizedObservations": "quickstudy.rl.normalising",
    "Judge": "quickstudy.rl.estimation.judge",
    "RewardScale": "quickstudy.rl.normalising",
    "LinearBaseline": "quickstudy.rl.estimation.linear_baseline",
    "NetworkBaseline": "quickstudy.rl.estimation.network_baseline",
    "MLP": "quickstudy.nets.mlp",
    "WarpedMLP": "quickstudy.nets.warped_mlp",
    "Conv4": "quickstudy.nets.conv4",
    "StepNorm": "quickstudy.nets.step_norm",
    "TaskNorm": "quickstudy.nets.task_norm",
    "MetaBatchNorm": "quickstudy.nets.meta_batch_norm",
    "WithContext": "quickstudy.nets.with_context",
    "Gaussian": "quickstudy.likelihoods",
    "HeteroscedasticGaussian": "quickstudy.likelihoods",
    "Categorical": "quickstudy.likelihoods",
}

FUNCTIONS: dict[str, str] = {"default_loss": "quickstudy.likelihoods", "cross_entropy": "quickstudy.likelihoods"}
"""The module of each loss that can be named in a description."""


def to_spec(module: nn.Module) -> dict[str, Any]:
    """A description of a module, for JSON, from which `from_spec` builds it with new weights.

    A class of quickstudy is described by its `config()`. Any other class is described as foreign, by its type and its
    `config()` if it has one, so that different runs have different descriptions.

    >>> from quickstudy.nets import MLP
    >>> to_spec(MLP(1, [8], 1))
    {'class': 'MLP', 'inputs': 1, 'hidden': [8], 'outputs': 1, 'activation': 'relu'}
    """
    name = type(module).__name__
    if not _is_known(type(module)):
        described: dict[str, Any] = {
            "class": None,
            "foreign": f"{type(module).__module__}.{type(module).__qualname__}",
        }
        return described | _own_config(module)
    return {"class": name, **{k: _value(v) for k, v in module.config().items()}}  # type: ignore[operator]


def _own_config(module: Any) -> dict[str, Any]:
    """The `config()` of a custom class, if it has one that JSON can hold."""
    try:
        config = module.config()
        found = {"config": _value(config)} if isinstance(config, dict) else {}
        json.dumps(found)
    except (AttributeError, TypeError, ValueError):  # any object may be called `config`
        return {}
    return found


def from_spec(spec: dict[str, Any], network: nn.Module | None = None) -> nn.Module:
    """The module that `to_spec` described.

    Args:
        spec: from `to_spec`.
        network: used in place of a network that is not one of `quickstudy.nets`.

    Raises:
        ValueError: if the description is damaged, or has a part that is not quickstudy's own.
    """
    name = spec.get("class")
    if name is None:
        if network is None:
            raise ValueError(
                f"this learner was trained with a custom network, {spec.get('foreign')}; "
                "build it and pass it as network="
            )
        return network
    if name not in CLASSES:
        raise ValueError(f"unknown class {name!r} in a saved learner; this version knows {', '.join(sorted(CLASSES))}")
    arguments = {}
    for key, value in spec.items():
        if key == "class":
            continue
        foreign = isinstance(value, dict) and value.get("class", "") is None
        if foreign and key != "network":
            raise ValueError(
                f"this learner was trained with {key}={value.get('foreign')}, and code is never read from a file; "
                "build the whole learner as it was then and pass it as learner="
            )
        arguments[key] = _from_value(value, network if key == "network" else None)
    try:
        built: nn.Module = _class(name)(**arguments)
    except TypeError as error:
        raise ValueError(f"the saved description of {name} does not fit this version: {error}") from None
    return built


def _from_value(value: Any, network: nn.Module | None = None) -> Any:
    if not isinstance(value, dict):
        return value
    if value.get("class") == "Tensor":
        tensor = torch.tensor(value["values"], device="cpu")  # even on the meta device: its size is bounded by the file
        return nn.Parameter(tensor) if value["learn"] else tensor
    if value.get("class") == "function":
        if value.get("name") not in FUNCTIONS:
            raise ValueError(f"unknown function {value.get('name')!r} in a saved learner")
        return getattr(import_module(FUNCTIONS[value["name"]]), value["name"])
    if "class" in value:
        return from_spec(value, network)
    return {key: _from_value(entry) for key, entry in value.items()}


def _value(value: Any) -> Any:
    if isinstance(value, Tensor):
        learn = isinstance(value, nn.Parameter) and value.requires_grad
        return {"class": "Tensor", "values": value.tolist(), "learn": learn}
    if isinstance(value, nn.ParameterDict):
        return {key: _value(entry) for key, entry in value.items()}
    if isinstance(value, nn.Module) or _is_known(type(value)):
        return to_spec(value)
    if isinstance(value, dict):
        return {key: _value(entry) for key, entry in value.items()}
    if value is None or isinstance(value, bool | int | float | str | list | tuple):
        return list(value) if isinstance(value, tuple) else value
    name = getattr(value, "__qualname__", type(value).__qualname__)
    if FUNCTIONS.get(name, "") == getattr(value, "__module__", None):
        return {"class": "function", "name": name}
    return {"class": None, "foreign": name}


def _is_known(kind: type[Any]) -> bool:
    """Whether a class is quickstudy's own, and not one of the same name."""
    return CLASSES.get(kind.__name__) == kind.__module__ and _class(kind.__name__) is kind


def _class(name: str) -> Any:
    return getattr(import_module(CLASSES[name]), name)

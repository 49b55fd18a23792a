"""Describes task families and environments as JSON, and builds them from it.

Names are looked up in one fixed table, so no name in a file is ever imported.
"""

import dataclasses
from importlib import import_module
from typing import Any

# The module of each class that is built from its arguments. Families of the user's own data are not among them, as runs
# keep no data. The names of environments begin with "rl.".
FAMILIES: dict[str, str] = {
    "Sinusoid": "quickstudy.tasks.sinusoid",
    "SineAndLine": "quickstudy.tasks.sine_and_line",
    "Sawtooth": "quickstudy.tasks.sawtooth",
    "Steps": "quickstudy.tasks.steps",
    "Harmonic": "quickstudy.tasks.harmonic",
    "Pendulum": "quickstudy.tasks.pendulum",
    "Pharmacokinetics": "quickstudy.tasks.pharmacokinetics",
    "DrugStudies": "quickstudy.tasks.drug_studies",
    "PredatorPrey": "quickstudy.tasks.predator_prey",
    "GaussianProcess": "quickstudy.tasks.gaussian_process",
    "Mixture": "quickstudy.tasks.mixture",
    "Rescaled": "quickstudy.tasks.rescaled",
    "Informed": "quickstudy.tasks.informed",
    "rl.Navigation2D": "quickstudy.rl.envs.navigation2d",
    "rl.CartPole": "quickstudy.rl.envs.cartpole",
    "rl.Pendulum": "quickstudy.rl.envs.swing_up.pendulum",
    "rl.CartPoleSwingUp": "quickstudy.rl.envs.swing_up.cartpole",
    "rl.Bandit": "quickstudy.rl.envs.bandits.bernoulli",
    "rl.GaussianBandit": "quickstudy.rl.envs.bandits.gaussian",
    "rl.GridNavi": "quickstudy.rl.envs.gridnavi",
    "rl.TabularMDP": "quickstudy.rl.envs.tabular_mdp",
    "rl.HalfCheetah": "quickstudy.rl.envs.locomotion.half_cheetah",
    "rl.Ant": "quickstudy.rl.envs.locomotion.ant",
    "rl.Hopper": "quickstudy.rl.envs.locomotion.hopper",
    "rl.Walker2d": "quickstudy.rl.envs.locomotion.walker2d",
    "rl.Humanoid": "quickstudy.rl.envs.locomotion.humanoid",
    "rl.Informed": "quickstudy.rl.envs.informed",
}
LARGEST = 100_000  # bound on integers in a description: numbers of features, waves, environments ...
DEEPEST = 10  # bound on nested families


class ForeignFamilyError(ValueError):
    """A family that cannot be built from a run: a custom class, or data, which runs do not keep."""


def to_spec(family: object) -> dict[str, Any]:
    """A description of a family or environment, for JSON, from which `from_spec` builds it.

    A family that cannot be built from its arguments is described as foreign, by its type.

    >>> from quickstudy.tasks import Sawtooth
    >>> to_spec(Sawtooth())
    {'class': 'Sawtooth', 'frequency': [2.0, 4.0], 'domain': [-2.0, 2.0], 'noise': 0.0, 'dx': 1}
    """
    kind = type(family)
    name = f"rl.{kind.__name__}" if kind.__module__.startswith("quickstudy.rl.") else kind.__name__
    if FAMILIES.get(name) != kind.__module__:
        return {"class": None, "foreign": f"{kind.__module__}.{kind.__qualname__}"}
    return {"class": name, **{key: _to_value(value) for key, value in _arguments(family).items()}}


def from_spec(spec: Any, device: str | None = None, *, depth: int = 0) -> Any:
    """The family or environment that `to_spec` described.

    Args:
        spec: from `to_spec`.
        device: of environments; a family has the device of its generator.
        depth: number of families around this one.

    Raises:
        ForeignFamilyError: if it cannot be built.
        ValueError: if the description is damaged, or was written by another version.
    """
    name = spec.get("class", "") if isinstance(spec, dict) else ""
    if name is None:
        raise ForeignFamilyError(str(spec.get("foreign")))
    if not isinstance(name, str) or name not in FAMILIES:
        raise ValueError(f"this version has no family {name!r}")
    if depth > DEEPEST:
        raise ValueError(f"more than {DEEPEST} families are nested")
    arguments = {key: _from_value(value, device, depth) for key, value in spec.items() if key != "class"}
    if name.startswith("rl.") and name != "rl.Informed":
        arguments["device"] = device
    try:
        return getattr(import_module(FAMILIES[name]), name.removeprefix("rl."))(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"its description of {name} does not fit this version: {error}") from None


def _arguments(family: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(family):
        return {field.name: getattr(family, field.name) for field in dataclasses.fields(family) if field.init}
    arguments: dict[str, Any] = family.config()
    return arguments


def _to_value(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_to_value(entry) for entry in value]
    return value if value is None or isinstance(value, bool | int | float | str) else to_spec(value)


def _from_value(value: Any, device: str | None, depth: int) -> Any:
    if isinstance(value, list):
        return tuple(_from_value(entry, device, depth + 1) for entry in value)
    if isinstance(value, dict):
        return from_spec(value, device, depth=depth + 1)
    if type(value) is int and not 0 <= value <= LARGEST:
        raise ValueError(f"it has the number {value}; expected 0 to {LARGEST:,}")
    return value

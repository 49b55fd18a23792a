"""Parts of the printed representation of learners and rules."""

from collections.abc import Mapping
from typing import Any

SHOWN = ("minibatch", "checkpoint", "mixed_mode", "truncate", "proximal", "randomness")  # shown as name=value if set


def set_values(**values: Any) -> str:
    """`name=value` for each value that is set, that is, neither None nor False.

    >>> set_values(lr=0.1, nesterov=False, clip=None)
    'lr=0.1'
    """
    return ", ".join(f"{name}={value}" for name, value in values.items() if value is not None and value is not False)


def inner_settings(options: Mapping[str, Any], **own: Any) -> str:
    """The settings of a learner with an inner loop in one line. (Its modules are printed below it, by torch.)

    Args:
        options: options of the inner loop.
        own: further settings of the learner, which come first.

    >>> inner_settings({"engine": "loop", "adapt": ["a", "b", "c", "d"]}, steps=2, chunk=None)
    'steps=2, engine=loop, adapt=4 parameters'
    """
    shown = {"engine": options.get("engine", "auto"), **{name: options.get(name) or None for name in SHOWN}}
    adapt, implicit = options.get("adapt"), options.get("implicit")
    if options.get("verify") is False:
        shown["verify"] = "False"
    if adapt is not None:
        shown["adapt"] = adapt if isinstance(adapt, str) else _short_list(list(adapt))
    if implicit is not None:
        shown["implicit"] = implicit.solver
    return set_values(**own, **shown)


def _short_list(names: list[str]) -> str:
    return " ".join(names) if len(names) <= 3 else f"{len(names)} parameters"

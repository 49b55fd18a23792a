"""Measure a run again, on other unseen tasks or with other numbers of support points and steps."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

from quickstudy.experiments.options import Options

SUPPORT_OPTIONS = ("seen", "shots", "test_episodes")
"""Options of recipes that set the size of the support set: rows, points, or a policy's episodes before every step."""
NAMES_IN_EVALUATE = {
    "test_tasks": "--tasks",
    "test_steps": "--steps",
    "test_seed": "--seed",
    **dict.fromkeys(SUPPORT_OPTIONS, "--support"),
}
"""Options of recipes, and their names in `quickstudy evaluate`."""

Value = TypeVar("Value")


def protocols(
    recipe: str,
    options: Options,
    *,
    tasks: int | None = None,
    support: Sequence[int] = (),
    steps: Sequence[int] = (),
    which: Literal["best", "last"] | None = None,
    seed: int | None = None,
) -> dict[str, Options]:
    """The options of a run with another measurement, `{"": options}`; arguments that are None or empty change nothing.

    A recipe for a policy measures one number of episodes at a time. For several numbers in `support`, it gets options
    for each of them, `{"k=20": options, "k=40": options}`, by a label for the names of the metrics (see `labelled`).

    Args:
        recipe: name of the recipe, for messages.
        options: options of the run.
        tasks: number of unseen tasks.
        support: size of the support set of each task: points, or episodes before every gradient step.
        steps: numbers of gradient steps after which to measure. For a policy only the largest counts, since it is
            measured after every step.
        which: weights to measure.
        seed: seed of the unseen tasks.

    Raises:
        ValueError: if the recipe has no option for an argument that is given.

    >>> from quickstudy.recipes.navigation2d.maml import Options
    >>> found = protocols("navigation2d-maml", Options(), support=(20, 40), steps=[1])
    >>> [(label, each.test_episodes, each.test_steps) for label, each in found.items()]
    [('k=20', 20, 1), ('k=40', 40, 1)]
    """
    size = next((name for name in SUPPORT_OPTIONS if hasattr(options, name)), SUPPORT_OPTIONS[0])
    counts = tuple(steps) if isinstance(getattr(options, "test_steps", ()), tuple) else max(steps, default=None)
    given = {"test_tasks": tasks, size: tuple(support), "test_steps": counts, "which": which, "test_seed": seed}
    changes: dict[str, Any] = {k: v for k, v in given.items() if v is not None and v != ()}
    for option in changes:
        if not hasattr(options, option):
            word = NAMES_IN_EVALUATE[option]
            raise ValueError(f"the recipe {recipe} has a fixed protocol, which {word} cannot change; leave {word} out")
    if size not in changes or isinstance(getattr(options, size), tuple):
        return {"": replace(options, **changes)}
    several = len(changes[size]) > 1
    return {f"k={n}" if several else "": replace(options, **changes | {size: n}) for n in changes[size]}


def labelled(metrics: Mapping[str, Value], label: str) -> dict[str, Value]:
    """The metrics with `label` in their names.

    >>> labelled({"return/steps=1": -12.0}, "k=20")
    {'return/k=20/steps=1': -12.0}
    """
    found = {}
    for name, value in metrics.items():
        words = name.split("/")
        keys = [word for word in words if "=" in word]
        plain = [word for word in words if "=" not in word]
        found["/".join(filter(None, [*plain, label, *keys]))] = value
    return found

"""Measuring a run again: on other unseen tasks, and by how much is seen of each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

from quickstudy.experiments.options import Options

SEEN = ("seen", "shots", "test_episodes")
"""What recipes call how much is seen of a task: rows or points, or episodes before every gradient step of a policy."""
WORDS = {"test_tasks": "--tasks", "test_steps": "--steps", "test_seed": "--seed", **dict.fromkeys(SEEN, "--support")}
"""Options of recipes, as `quickstudy evaluate` calls them."""

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
    """The options that measure a run as asked, `{"": options}`; what is None, or empty, stays as it was.

    A recipe that measures after one number of episodes has options for each number of `support` if there are several,
    `{"k=20": options, "k=40": options}`; the label is for the names of their metrics, see `labelled`.

    Args:
        recipe: its name, for messages.
        options: of the run.
        tasks: how many unseen tasks.
        support: how much is seen of each task: points, or episodes before every gradient step.
        steps: gradient steps in each task after which to measure; of a policy the most of them, for it is measured
            after each one on the way.
        which: weights.
        seed: of the unseen tasks.

    Raises:
        ValueError: for what the recipe has no option for.

    >>> from quickstudy.recipes.navigation2d.maml import Options
    >>> found = protocols("navigation2d-maml", Options(), support=(20, 40), steps=[1])
    >>> [(label, each.test_episodes, each.test_steps) for label, each in found.items()]
    [('k=20', 20, 1), ('k=40', 40, 1)]
    """
    size = next((name for name in SEEN if hasattr(options, name)), SEEN[0])
    counts = tuple(steps) if isinstance(getattr(options, "test_steps", ()), tuple) else max(steps, default=None)
    asked = {"test_tasks": tasks, size: tuple(support), "test_steps": counts, "which": which, "test_seed": seed}
    changes: dict[str, Any] = {k: v for k, v in asked.items() if v is not None and v != ()}
    for option in changes:
        if not hasattr(options, option):
            raise ValueError(
                f"the recipe {recipe} fixes by its own protocol what {WORDS[option]} would change; leave it out"
            )
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

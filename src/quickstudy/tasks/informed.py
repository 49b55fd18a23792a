"""Tasks whose inputs include the task's parameters, for training an oracle."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, final

import torch
from torch import Tensor

from quickstudy.checks import describe
from quickstudy.data import Examples, Tasks
from quickstudy.learner import Split, TaskFamily


@final
@dataclass(frozen=True)
class Informed:
    """The tasks of `family` with values of their `info` appended to every x as further features.

    A network trained on such tasks knows the task, so its error is a bound for all learners.

    Args:
        family: a family whose x are vectors.
        keys: names in `info` of values `[T]` or `[T, k]`, in the order in which they are appended.

    Raises:
        ValueError: for a key that the family's `info` does not have, or a value of another shape.

    >>> from quickstudy.tasks.sinusoid import Sinusoid
    >>> Informed(Sinusoid(), ("amplitude", "phase")).sample(2, support=3, query=3).query.x.shape
    torch.Size([2, 3, 3])
    """

    family: TaskFamily
    keys: Sequence[str]
    dx: int = field(init=False, repr=False)
    dy: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.keys, str) or not self.keys:
            raise ValueError(f"keys={self.keys!r}; expected a sequence of at least one name in info")
        object.__setattr__(self, "keys", tuple(self.keys))
        # One task, drawn by a generator of its own, shows which keys there are and how many features they have.
        tasks = self.family.sample(1, support=0, query=1, generator=torch.Generator("cpu").manual_seed(0))
        object.__setattr__(self, "dx", tasks.query.x.shape[2] + self._features(tasks).shape[1])
        object.__setattr__(self, "dy", self.family.dy if hasattr(self.family, "dy") else tasks.query.y.shape[2])

    def sample(
        self,
        num_tasks: int,
        *,
        support: int,
        query: int,
        split: Split = "train",
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Tasks:
        """Draw tasks of the family and append the values to x; `options` (such as `grid`) go to the family."""
        tasks = self.family.sample(num_tasks, support=support, query=query, split=split, generator=generator, **options)
        features = self._features(tasks)
        return Tasks(_with(tasks.support, features), _with(tasks.query, features), tasks.info)

    def _features(self, tasks: Tasks) -> Tensor:
        """The values of all keys, concatenated, `[T, k]`."""
        parts = []
        for key in self.keys:
            value = tasks.info.get(key)
            if not isinstance(value, Tensor):
                near = get_close_matches(key, tasks.info, 1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise ValueError(f"info has no tensor {key!r}; {hint}It holds {describe(tasks.info)}")
            if value.dim() not in (1, 2):
                raise ValueError(f"info[{key!r}] has shape {list(value.shape)}; expected [T] or [T, k]")
            parts.append(value.reshape(len(value), -1).to(tasks.query.x))
        return torch.cat(parts, 1)


def _with(examples: Examples, features: Tensor) -> Examples:
    """`examples` with `features [T, k]` appended to every x."""
    wide = features.unsqueeze(1).expand(-1, examples.num_points, -1)
    return examples._replace(x=torch.cat([examples.x, wide], 2))

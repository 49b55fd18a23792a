"""Where the tasks of gymnasium environments come from: a function that draws them, or a list of given tasks."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from quickstudy.learner import Split
from quickstudy.rl.environment import EnvironmentTasks
from quickstudy.rl.envs.task_list import as_tensors
from quickstudy.tasks.datasets.splits import split_tasks

SampleTasks = Callable[..., EnvironmentTasks] | Mapping[str, Tensor] | Sequence[Mapping[str, Any]]
SEED = 0x7A5C  # of the training tasks among which held-out tasks are looked for
LOOK = 200  # their number


@final
class Sampler:
    """Draws tasks of a split.

    Args:
        name: name of the environment, for messages.
        given: a function `(num_tasks, generator)`, which may also take `split`; or all the tasks there are, as tensors
            `[N, ...]` by name or as a list of N dictionaries. Given tasks are dealt to the splits (70%, 15% and 15%, at
            random by a fixed seed), so that each belongs to one of them. They are drawn without replacement, as long as
            there are enough.

    Raises:
        TypeError: for anything else.
        ValueError: for fewer than 3 given tasks.

    >>> sampler = Sampler("Robot", {"goal": torch.arange(20.0)})
    >>> drawn = [sampler(n, split, torch.Generator())["goal"] for n, split in ((14, "train"), (3, "test"))]
    >>> set(drawn[0].tolist()) & set(drawn[1].tolist())
    set()
    """

    def __init__(self, name: str, given: SampleTasks):
        self._name, self._looked = name, False
        self.given: Any = given
        self._takes_split = callable(given) and "split" in inspect.signature(given).parameters
        self._places: dict[str, tuple[int, ...]] = {}
        if callable(given):
            return
        if not isinstance(given, Mapping) and isinstance(given, Sequence) and not isinstance(given, str):
            self.given = as_tensors(given, len(given))
        if not isinstance(self.given, Mapping) or not all(isinstance(v, Tensor) for v in self.given.values()):
            raise TypeError(
                f"sample_tasks is a {type(given).__name__}; expected a function (num_tasks, generator), tensors "
                "[N, ...] by name, or a list of dictionaries"
            )
        counts = {len(value) if value.dim() else 0 for value in self.given.values()}
        if len(counts) != 1:
            raise ValueError(f"sample_tasks holds tensors of {sorted(counts)} tasks; expected [N, ...] with one N")
        self._places = split_tasks(range(counts.pop()))

    def __call__(self, num_tasks: int, split: Split, generator: torch.Generator) -> EnvironmentTasks:
        """Draw `num_tasks` tasks of `split`.

        Raises:
            ValueError: if the function returns something else than `num_tasks` tasks.
        """
        if self._places:
            return self._dealt(num_tasks, split, generator)
        tasks = self._drawn(num_tasks, split, generator)
        if split != "train" and not self._takes_split and not self._looked:
            self._warn_of_training_tasks(tasks, split, generator)
        return tasks

    def _dealt(self, num_tasks: int, split: Split, generator: torch.Generator) -> EnvironmentTasks:
        places = torch.tensor(self._places[split])
        rounds = [
            torch.randperm(len(places), generator=generator, device=generator.device).cpu()
            for _ in range(-(-num_tasks // len(places)))
        ]
        chosen = places[torch.cat(rounds)[:num_tasks]]
        return {name: value[chosen.to(value.device)].to(generator.device) for name, value in self.given.items()}

    def _drawn(self, num_tasks: int, split: Split, generator: torch.Generator) -> EnvironmentTasks:
        with generator.device:  # tensors that the function makes without device=
            tasks = self.given(num_tasks, generator, **({"split": split} if self._takes_split else {}))
        if not isinstance(tasks, dict) or not all(isinstance(value, Tensor) for value in tasks.values()):
            raise ValueError(
                f"{self._name}: sample_tasks returned a {type(tasks).__name__}; expected a dictionary of tensors "
                f"[{num_tasks}, ...]"
            )
        for name, value in tasks.items():
            if value.shape[:1] != (num_tasks,):
                raise ValueError(
                    f"{self._name}: sample_tasks({num_tasks}, generator) returned {name} of shape {list(value.shape)}; "
                    f"expected [{num_tasks}, ...]. If there are only so many tasks, give all of them in place of the "
                    "function"
                )
        return tasks

    def _warn_of_training_tasks(self, tasks: EnvironmentTasks, split: Split, generator: torch.Generator) -> None:
        """Warn if these held-out tasks are training tasks: then the function draws from a finite list."""
        chance = torch.Generator(device=generator.device).manual_seed(SEED)
        training, count = set(_rows(self._drawn(LOOK, "train", chance))), len(next(iter(tasks.values())))
        common = sum(row in training for row in _rows(tasks))
        self._looked = True
        if common:
            warnings.warn(
                f"{self._name}: {common} of {count} {split} tasks are training tasks, so nothing is held out. Give all "
                "the tasks as sample_tasks=, in place of the function: each then belongs to one split. Or let the "
                "function take split=, if this is meant",
                UserWarning,
                stacklevel=5,
            )


def _rows(tasks: EnvironmentTasks) -> list[tuple[float, ...]]:
    """Each task as a tuple of all its numbers."""
    return [tuple(row) for row in torch.cat([v.reshape(len(v), -1).double().cpu() for v in tasks.values()], 1).tolist()]

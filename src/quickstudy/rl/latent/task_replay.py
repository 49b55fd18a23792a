"""A fixed set of training tasks, with a buffer of transitions for each: a part of a learner's state."""

from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_whole
from quickstudy.rl.environment import EnvironmentTasks
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.latent.context_encoder import pooled
from quickstudy.rl.latent.decoders import Transitions


class Stored(NamedTuple):
    """Transitions as they are stored, `[..., *]`.

    Args:
        observation, action, next_observation: vectors `[..., k]`.
        reward: `[...]`.
        terminated: `[...]` bool, True where nothing comes after. A truncated episode would have gone on.
    """

    observation: Tensor
    action: Tensor
    next_observation: Tensor
    reward: Tensor
    terminated: Tensor

    def transitions(self) -> Transitions:
        """What an encoder reads."""
        return Transitions(*self[:4])


@final
class TaskReplay(nn.Module):
    """The latest `capacity` transitions of each task. Checkpoints hold them, so that a resumed run draws the same ones.

    Args:
        capacity: transitions of each task.

    >>> replay = TaskReplay(100)
    >>> replay.begin({"goal": torch.zeros(7, 2)})
    >>> len(replay), replay.some_tasks(torch.tensor([0, 3]))["goal"].shape
    (7, torch.Size([2, 2]))
    """

    def __init__(self, capacity: int):
        super().__init__()
        self.capacity = check_whole("capacity", capacity)
        self.tasks: EnvironmentTasks = {}
        self.environment: str | None = None  # where the transitions are from, in words
        self._kept: Stored | None = None  # [N, capacity, ...]
        self._count = self._visit = torch.zeros(0, dtype=torch.long)  # transitions so far; those of the last visit

    def __len__(self) -> int:
        return len(self._count)

    def begin(self, tasks: EnvironmentTasks) -> None:
        """Set the tasks, tensors `[N, ...]`; what was stored is forgotten."""
        self.tasks = {name: value.clone() for name, value in tasks.items()}
        self._count = torch.zeros(len(next(iter(tasks.values()))), dtype=torch.long)
        self._visit, self._kept = torch.zeros_like(self._count), None

    def some_tasks(self, rows: Tensor) -> EnvironmentTasks:
        """The tasks in `rows`."""
        return {name: value[rows.to(value.device)] for name, value in self.tasks.items()}

    def add(self, rows: Tensor, visit: list[Episodes]) -> None:
        """Store the episodes `[T, E, H]` of one visit to the tasks in `rows [T]`."""
        parts = [(*pooled(episodes), episodes.terminated.flatten(1)) for episodes in visit]
        mask = torch.cat([real for _, real, _ in parts], 1)
        found = Stored(
            *(torch.cat(each, 1) for each in zip(*((*moves, ends) for moves, _, ends in parts), strict=True))
        )
        if self._kept is None:
            self._kept = Stored(*(f.new_zeros(len(self), self.capacity, *f.shape[2:]) for f in found))
        self._kept = Stored(*(kept.to(new.device) for kept, new in zip(self._kept, found, strict=True)))
        for kept, new, name in zip(self._kept, found, Stored._fields, strict=True):
            if kept.shape[2:] != new.shape[2:]:
                raise ValueError(
                    f"the learner's transitions so far have {name} {list(kept.shape[2:])}, and these "
                    f"{list(new.shape[2:])}; a learner trains in environments of one observation and one action space"
                )
        for place, row in enumerate(rows.tolist()):
            real = mask[place].nonzero().flatten()[-self.capacity :]
            slots = (self._count[row] + torch.arange(len(real))) % self.capacity
            for kept, new in zip(self._kept, found, strict=True):
                kept[row, slots.to(kept.device)] = new[place, real].to(kept)
            self._count[row] += len(real)
            self._visit[row] = len(real)

    def draw(self, rows: Tensor, count: int, *, generator: torch.Generator | None, latest: bool = False) -> Stored:
        """`count` transitions of each task in `rows [T]`, with replacement: `[T, count, ...]`.

        Args:
            rows: tasks that have been visited.
            count: transitions of each.
            generator: source of the draws.
            latest: draw from the last visit only.
        """
        if self._kept is None or not bool((self._count[rows] > 0).all()):
            raise ValueError("a task has no transitions; call learner.update first")
        stored = self._count[rows].clamp_max(self.capacity)
        among = torch.minimum(self._visit[rows], stored) if latest else stored
        place = "cpu" if generator is None else generator.device
        lots = torch.rand(len(rows), count, generator=generator, device=place).cpu()
        back = 1 + (lots * among.unsqueeze(1)).long()  # 1 is the newest
        slots = (self._count[rows].unsqueeze(1) - back) % self.capacity
        wide = rows.unsqueeze(1).expand_as(slots)
        return Stored(*(kept[wide.to(kept.device), slots.to(kept.device)] for kept in self._kept))

    def get_extra_state(self) -> dict[str, Any]:
        """Tasks and transitions, for checkpoints: no more places than the fullest buffer has."""
        size = int(self._count.max()) if len(self) else 0
        kept = None if self._kept is None else [part[:, :size].clone() for part in self._kept]
        tasks = {name: value.clone() for name, value in self.tasks.items()}
        numbers = {"count": self._count.clone(), "visit": self._visit.clone()}
        return {"tasks": tasks, "kept": kept, "environment": self.environment, **numbers}

    def set_extra_state(self, state: Any) -> None:
        """Restore what `get_extra_state` returned. Raises ValueError for anything else."""
        if not isinstance(state, dict) or set(state) != {"tasks", "kept", "environment", "count", "visit"}:
            raise ValueError("it is not the state of a TaskReplay")
        tasks, kept, count, visit = (state[name] for name in ("tasks", "kept", "count", "visit"))
        tensors = [count, visit, *(tasks.values() if isinstance(tasks, dict) else [None]), *(kept or [])]
        if not all(isinstance(part, Tensor) and part.dim() and len(part) == len(count) for part in tensors):
            raise ValueError("it is not the state of a TaskReplay: expected tensors of equally many tasks")
        sizes = {part.shape[1] for part in kept or [] if part.dim() > 1}
        if kept is not None and (len(kept) != len(Stored._fields) or len(sizes) != 1 or max(sizes) > self.capacity):
            raise ValueError(f"it is of {sorted(sizes)} transitions a task, and this replay holds {self.capacity}")
        self.tasks = {name: value.clone() for name, value in tasks.items()}
        self.environment = state["environment"]
        self._count, self._visit, self._kept = count.clone(), visit.clone(), None
        if kept is not None:
            self._kept = Stored(*(p.new_zeros(len(count), self.capacity, *p.shape[2:]) for p in kept))
            for whole, part in zip(self._kept, kept, strict=True):
                whole[:, : part.shape[1]] = part

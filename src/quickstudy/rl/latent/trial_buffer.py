"""A buffer of the latest trials, which is a part of a learner's state."""

from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_whole
from quickstudy.rl.recurrent.memory import Reading


@final
class TrialBuffer(nn.Module):
    """Keeps the latest `capacity` trials. Checkpoints hold them, so that a resumed run draws the same ones.

    Args:
        capacity: trials that are kept.

    >>> one = torch.ones(3, 2)
    >>> buffer = TrialBuffer(5)
    >>> for number in range(3):
    ...     buffer.add(Reading(*(number * one.unsqueeze(2),) * 4, one, one.bool(), one, one))
    >>> len(buffer), sorted(buffer.trials().action[:, 0, 0].tolist())
    (5, [1.0, 1.0, 2.0, 2.0, 2.0])
    """

    def __init__(self, capacity: int):
        super().__init__()
        self.capacity = check_whole("capacity", capacity)
        self._kept: Reading | None = None
        self._next = 0  # the place of the oldest trial, once the buffer is full

    def __len__(self) -> int:
        return 0 if self._kept is None else len(self._kept.mask)

    def add(self, trials: Reading) -> None:
        """Add trials `[N, L]`. The oldest ones make room for them.

        Raises:
            ValueError: for trials of another length, or with other observations or actions, than those before.
        """
        trials = Reading(*(part[-self.capacity :].detach() for part in trials))
        if self._kept is None:
            self._kept = Reading(*(part.clone() for part in trials))
            return
        for name, kept, new in zip(Reading._fields, self._kept, trials, strict=True):
            if kept.shape[1:] != new.shape[1:]:
                raise ValueError(
                    f"the learner's trials so far have {name} {list(kept.shape[1:])}, and these {list(new.shape[1:])}; "
                    "a learner trains in environments of one horizon, one observation space and one action space"
                )
        self._kept = Reading(*(kept.to(new.device) for kept, new in zip(self._kept, trials, strict=True)))
        room = min(self.capacity - len(self), len(trials.mask))
        if room:
            grown = (torch.cat([kept, new[:room]]) for kept, new in zip(self._kept, trials, strict=True))
            self._kept = Reading(*grown)
        rest = len(trials.mask) - room
        places = (self._next + torch.arange(rest, device=trials.mask.device)) % self.capacity
        for kept, new in zip(self._kept, trials, strict=True):
            kept[places] = new[room:].to(kept)
        self._next = (self._next + rest) % self.capacity

    def trials(self) -> Reading:
        """All trials in the buffer. Raises ValueError if it is empty."""
        if self._kept is None:
            raise ValueError("the buffer has no trials; call learner.update first")
        return self._kept

    def draw(self, count: int, *, generator: torch.Generator | None = None) -> Reading:
        """`count` trials, with replacement."""
        kept = self.trials()
        place = kept.mask.device if generator is None else generator.device
        rows = torch.randint(len(self), (count,), generator=generator, device=place)
        return kept.rows(rows.to(kept.mask.device))

    def get_extra_state(self) -> dict[str, Any]:
        """The trials and the place of the oldest, for checkpoints."""
        return {"next": self._next, "kept": None if self._kept is None else list(self._kept)}

    def set_extra_state(self, state: Any) -> None:
        """Restore what `get_extra_state` returned. Raises ValueError for anything else."""
        if not isinstance(state, dict) or set(state) != {"next", "kept"}:
            raise ValueError("it is not the state of a TrialBuffer")
        kept, place = state["kept"], state["next"]
        if kept is None:
            self._kept, self._next = None, 0
            return
        if not isinstance(kept, list) or not all(isinstance(part, Tensor) and part.dim() for part in kept):
            raise ValueError("it is not the state of a TrialBuffer")
        if len(kept) != len(Reading._fields) or len({len(part) for part in kept}) != 1:
            raise ValueError(f"it has {len(kept)} tensors of different lengths; expected {', '.join(Reading._fields)}")
        if len(kept[0]) > self.capacity or type(place) is not int or not 0 <= place < self.capacity:
            raise ValueError(f"it is of {len(kept[0])} trials, and this buffer holds {self.capacity}")
        self._kept, self._next = Reading(*(part.clone() for part in kept)), place

"""The transitions of recorded episodes as regression tasks."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import torch
from gymnasium import Space
from gymnasium.spaces import Box
from torch import Tensor

from quickstudy.data import Tasks
from quickstudy.decide.encoding import Encoding
from quickstudy.decide.experienced import Walked, check_spaces, encoding_of
from quickstudy.learner import Split
from quickstudy.rl.environment import choices_of
from quickstudy.rl.episodes import Episodes
from quickstudy.tasks.datasets.splits import split_tasks
from quickstudy.tasks.sampling import split_generator


@final
@dataclass(frozen=True, eq=False)
class Logged:
    """Tasks (state, action) -> change of state, from episodes that were recorded in `T` systems.

    Each system belongs to one split: 70% are for training, the others for validation and test, at random by a fixed
    seed. A task is one of the systems of the split. Its support set is one of the system's rows, chosen at random, in
    the order in which it was recorded; the query set holds transitions of its other rows in random order. Where a row
    is shorter than the support set, transitions of the others complete it, and none is in both sets. More tasks than
    there are systems draw some of them again, with other rows. Real actions are clipped to their space, as the
    environment did.

    Args:
        episodes: the record, `[T, E, H]`, such as `qs.rl.rollout` returns.
        action_space: the space of the actions, such as `env.action_space`.
        reward, end: whether reward and end of the episode are outputs, as in `Transitions`.

    Raises:
        ValueError: for fewer than 3 systems, observations that are not vectors, a Box without bounds, and recorded
            actions that are not of this space.

    >>> import quickstudy as qs
    >>> env = qs.rl.CartPole(num_envs=3, horizon=20)
    >>> env.set_tasks(env.sample_tasks(8))
    >>> policy = qs.rl.CategoricalPolicy(qs.nets.MLP(4, [8], 2))
    >>> family = Logged(qs.rl.rollout(env, policy), env.action_space)
    >>> family.sample(4, support=5, query=10).support.x.shape
    torch.Size([4, 5, 5])
    """

    episodes: Episodes
    action_space: Space
    reward: bool = field(default=False, kw_only=True)
    end: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_spaces(Box(-torch.inf, torch.inf, tuple(self.episodes.observation.shape[3:])), self.action_space)
        split_tasks(range(len(self.episodes.mask)))
        action, real = self.episodes.action, isinstance(self.action_space, Box)
        if tuple(action.shape[3:]) != self.action_space.shape or action.is_floating_point() is not real:
            raise ValueError(
                f"the recorded actions are {action.dtype} {list(action.shape[3:])}, and action_space is "
                f"{self.action_space}; give the space of the environment in which they were recorded"
            )
        choices = choices_of(self.action_space)
        if choices and not bool(((action >= 0) & (action < torch.tensor(choices).to(action).squeeze())).all()):
            raise ValueError(
                f"the recorded actions go from {int(action.min())} to {int(action.max())}, and action_space is "
                f"{self.action_space}; give the space of the environment in which they were recorded"
            )

    def __repr__(self) -> str:
        systems, rows, steps = self.episodes.mask.shape
        told = f"reward={self.reward}, end={self.end}, total reward {float(self.episodes.returns().sum()):.6g}"
        return f"Logged({systems} systems, {rows} rows of {steps} steps, {told})"

    @property
    def dx(self) -> int:
        """The number of features of an input: those of a state and of an action."""
        return self.encoding.dx

    @property
    def dy(self) -> int:
        """The number of outputs: those of a state, and reward and end if they are learned."""
        return self.encoding.dy

    @cached_property
    def encoding(self) -> Encoding:
        """The scales of states, changes and rewards: root mean squares over the training systems."""
        places = torch.tensor(self._places["train"], device="cpu")
        real = self.episodes.mask.cpu()[places]
        walked = Walked(*(part[places][real] for part in self._parts))
        return encoding_of(walked, self.action_space, reward=self.reward, end=self.end)

    def sample(
        self,
        num_tasks: int,
        *,
        support: int,
        query: int,
        split: Split = "train",
        generator: torch.Generator | None = None,
    ) -> Tasks:
        """Draw systems of a split, and their rows; the arguments are those of `Sinusoid.sample`.

        Returns:
            Tasks with the place of each system in the record as `info["system"]`.

        Raises:
            ValueError: if a system has fewer transitions than both sets have together.
        """
        chance = split_generator(num_tasks, support, query, split, generator)
        places = torch.tensor(self._places[split], device="cpu")
        rounds = [_shuffled(len(places), chance) for _ in range(-(-num_tasks // len(places)))]
        chosen = places[torch.cat(rounds)[:num_tasks]].tolist()
        orders = [self._order(place, support + query, chance) for place in chosen]
        sets = [order[:support] for order in orders], [order.flip(0)[:query] for order in orders]
        e = self._parts[0]
        encoding, examples = self.encoding.to(e), []
        for rows in sets:
            flat = [[part[place].flatten(0, 1) for place in chosen] for part in self._parts]
            walked = Walked(*(torch.stack([p[r] for p, r in zip(f, rows, strict=True)]) for f in flat))
            examples.append(walked.encoded(encoding))
        return Tasks(examples[0], examples[1], {"system": torch.tensor(chosen, device=e.device)})

    @cached_property
    def _places(self) -> dict[str, tuple[int, ...]]:
        return split_tasks(range(len(self.episodes.mask)))

    @property
    def _parts(self) -> tuple[Tensor, ...]:
        """In the order of `Walked`, `[T, E, H, ...]`, real numbers in torch's default type."""
        e, kind = self.episodes, torch.get_default_dtype()
        action, space = e.action, self.action_space
        if isinstance(space, Box):  # as the environment took them: a record has them as drawn
            action = action.clamp(*(torch.from_numpy(end).to(action) for end in (space.low, space.high)))
        parts = e.observation, action, e.next_observation, e.reward, e.terminated
        return tuple(part.to(kind) if part.is_floating_point() else part for part in parts)

    def _order(self, place: int, needed: int, chance: torch.Generator | None) -> Tensor:
        """Places `[N]` of a system's transitions in `[E H]`: those of one row in order, then the others shuffled."""
        real = self.episodes.mask[place].cpu()
        rows = real.any(1).nonzero().flatten()
        if int(real.sum()) < needed:
            raise ValueError(
                f"system {place} has {int(real.sum())} recorded transitions, and support and query need {needed}; give "
                "smaller numbers, or leave this system out"
            )
        row = int(rows[_shuffled(len(rows), chance)[0]])
        where = torch.arange(real.numel(), device="cpu").view_as(real)
        others = real.clone()
        others[row] = False
        rest = where[others]
        return torch.cat([where[row][real[row]], rest[_shuffled(len(rest), chance)]])


def _shuffled(count: int, chance: torch.Generator | None) -> Tensor:
    device = "cpu" if chance is None else chance.device
    return torch.randperm(count, generator=chance, device=device).cpu()

"""The transitions of any environment as regression tasks, found by acting in it at random."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, final

import torch
from gymnasium import Space
from gymnasium.spaces import Box, MultiDiscrete
from torch import Tensor

from quickstudy.data import Examples, Tasks
from quickstudy.decide.encoding import Encoding
from quickstudy.learner import Split
from quickstudy.rl.environment import Environment, EnvironmentTasks, choices_of, home
from quickstudy.rl.envs.stepping import advance, begin, check_drawn
from quickstudy.tasks.sampling import split_generator


@final
@dataclass(frozen=True)
class Experienced:
    """Tasks (state, action) -> change of state, from an environment that can only be stepped, such as a gymnasium one.

    All `E` environments of a task act at random, and begin a new episode whenever one ends. The support set holds the
    transitions of the first environment, in order; the query set those of the others, which start in other states.
    Each environment keeps its last action with a probability of its own, drawn from U(0, 1) for every batch, so that
    some change their action at every step and others push for long. Real actions are uniform between the bounds of
    their Box. Drawing tasks sets those of the environment.

    Args:
        env: an environment with at least 2 environments of each task, and observations that are vectors.
        reward, end: whether reward and end of the episode are outputs, as in `Transitions`.

    Raises:
        ValueError: for fewer environments, observations that are not vectors, and a Box without bounds.

    >>> import quickstudy as qs
    >>> family = Experienced(qs.rl.Navigation2D(num_envs=3, horizon=20))  # continuous actions
    >>> tasks = family.sample(4, support=7, query=10, generator=torch.Generator().manual_seed(0))
    >>> tasks.support.x.shape, tasks.query.y.shape
    (torch.Size([4, 7, 4]), torch.Size([4, 10, 2]))
    """

    env: Environment
    reward: bool = field(default=False, kw_only=True)
    end: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if self.env.num_envs < 2:
            raise ValueError(
                f"num_envs={self.env.num_envs}; expected at least 2: the first gives the support set, the others the "
                "query set"
            )
        check_spaces(self.env.observation_space, self.env.action_space)

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
        """The scales by which states, changes, rewards and real actions are divided.

        They are root mean squares over 50 fixed training tasks; that of actions is half the width of their Box.
        """
        chance = torch.Generator(device=home(self.env) or "cpu").manual_seed(0)
        walks, _ = self._walk(50, 20, "train", chance, chance)
        return encoding_of(walks, self.env.action_space, reward=self.reward, end=self.end)

    def sample(
        self,
        num_tasks: int,
        *,
        support: int,
        query: int,
        split: Split = "train",
        generator: torch.Generator | None = None,
    ) -> Tasks:
        """Draw tasks and act in them; the arguments are those of `Sinusoid.sample`.

        Returns:
            Tasks with the tasks of the environment as `info`.
        """
        encoding = self.encoding
        if generator is None:  # environments keep their last generator where they are given none
            generator = torch.Generator(home(self.env) or "cpu").manual_seed(int(torch.randint(2**62, ())))
        chance = split_generator(num_tasks, support, query, split, generator)
        assert chance is not None
        others = self.env.num_envs - 1
        walks, info = self._walk(num_tasks, max(support, -(-query // others), 1), split, chance, generator)
        encoding = encoding.to(walks.state)
        first = Walked(*(part[:, 0, :support] for part in walks))
        # step by step, so that a smaller query set is the first points of a larger one
        rest = Walked(*(part[:, 1:].transpose(1, 2).flatten(1, 2)[:, :query] for part in walks))
        return Tasks(first.encoded(encoding), rest.encoded(encoding), dict(info))

    def _walk(
        self, num_tasks: int, steps: int, split: Split, chance: torch.Generator, generator: torch.Generator
    ) -> tuple["Walked", EnvironmentTasks]:
        """Walks `[T, E, H, ...]`: tasks are drawn by `generator`, and the rest by `chance`."""
        env = self.env
        tasks = env.sample_tasks(num_tasks, split=split, generator=generator)
        check_drawn(env, tasks, num_tasks)
        env.set_tasks(tasks)
        observation = begin(env, generator=chance).clone()
        keep = torch.rand(observation.shape[:2], generator=chance, device=chance.device).to(observation)
        action, seen = self._action(chance, observation), list[tuple[Tensor, ...]]()
        for step in range(steps):
            again = torch.rand(keep.shape, generator=chance, device=chance.device).to(keep) < keep
            new = self._action(chance, observation)
            action = torch.where(again.reshape(*again.shape, *[1] * (new.dim() - 2)), action, new)
            answer = advance(env, action.clone(), observation, step=step, seed=None)
            following, reward, terminated, truncated = (part.clone() for part in answer[:4])
            seen.append((observation, action, following, reward, terminated))
            done = terminated | truncated
            observation = begin(env, done, step=step + 1).clone() if bool(done.any()) else following
        return Walked(*(torch.stack(part, 2) for part in zip(*seen, strict=True))), tasks

    def _action(self, chance: torch.Generator, like: Tensor) -> Tensor:
        """Random actions of all environments."""
        space: Any = self.env.action_space
        where: Any = {"generator": chance, "device": chance.device}
        if choices := choices_of(space):
            drawn = [torch.randint(number, like.shape[:2], **where).to(like.device) for number in choices]
            return torch.stack(drawn, -1) if isinstance(space, MultiDiscrete) else drawn[0]
        low, high = (torch.as_tensor(end).to(like) for end in (space.low, space.high))
        return low + (high - low) * torch.rand(*like.shape[:2], *space.shape, **where).to(like)


class Walked(NamedTuple):
    """Transitions of the same walks, `[T, ...]` each."""

    state: Tensor
    action: Tensor
    following: Tensor
    reward: Tensor
    terminated: Tensor

    def encoded(self, encoding: Encoding) -> Examples:
        """Transitions `[T, N, ...]` as examples."""
        state, action, following, reward, terminated = self
        return encoding.examples(state, action, following, reward=reward, terminated=terminated)


def check_spaces(seen: Space, actions: Space) -> None:
    """Raise ValueError unless observations are vectors, and real actions are vectors with bounds."""
    if len(seen.shape or ()) != 1:
        raise ValueError(f"observations are {seen}; expected vectors, a Box of one axis")
    if isinstance(actions, Box) and not (actions.is_bounded() and len(actions.shape) == 1):
        raise ValueError(f"actions are {actions}; expected a Box of one axis with bounds")


def encoding_of(walks: Walked, space: Space, *, reward: bool, end: bool) -> Encoding:
    """The scales of these transitions: root mean squares; that of actions is half the width of their Box."""
    scale = None
    if isinstance(space, Box):
        scale = torch.from_numpy((space.high - space.low) / 2).to(walks.state)
    brought = _size(walks.reward.unsqueeze(-1))[0] if reward else None
    choices = choices_of(space)
    count = tuple(choices) if isinstance(space, MultiDiscrete) else sum(choices)
    return Encoding(_size(walks.state), _size(walks.following - walks.state), count, brought, end, scale)


def _size(values: Tensor) -> Tensor:
    """The root mean square of each component of `values [..., d]`."""
    return values.flatten(0, -2).square().mean(0).sqrt().clamp_min(1e-6)

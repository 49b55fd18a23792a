"""The transitions of an environment as regression tasks, for learning its dynamics."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, final

import torch
from gymnasium import Space
from torch import Tensor

from quickstudy.checks import check_number, check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.decide.encoding import Encoding
from quickstudy.decide.experienced import Experienced
from quickstudy.decide.logged import Logged
from quickstudy.learner import Split
from quickstudy.rl.environment import Environment, EnvironmentTasks, Simulator
from quickstudy.rl.episodes import Episodes
from quickstudy.tasks.sampling import Batch

WIDE = (2.4, 2.0, 0.21, 2.5)  # m, m/s, rad, rad/s: the range of CartPole's states before it fails
NEAR = (0.05, 0.05, 0.05, 0.05)  # half-widths of CartPole's start states
FEEDBACK = (0.1, 0.3, 1.0, 1.0)  # gains in units of WIDE: push in the direction in which the pole falls


@final
@dataclass(frozen=True)
class Transitions:
    """Tasks (state, action) -> change of state, from an environment whose dynamics are a function.

    The support set is the beginning of an interaction with the environment: successive transitions from its own start
    states, with a new episode whenever one ends. The query set consists of `lanes` short walks of the same task, from
    start states drawn from U(-wide, wide) times a factor ~ U(0, 1). If the end of the episode is learned, the factor is
    ~ U(1, 2) in half of the walks, so that there are states on both sides of the end.

    Every walk has its own policy a = [±clip(4 k.s/wide, -2, 2) + noise e > 0] with e ~ N(0, 1) and noise ~ U(0, 2),
    which ranges from a good feedback controller to almost random actions. With `both_signs` the sign ± is random.

    The reward and the end of the episode can be further outputs, after the change of state.

    Args:
        env: an environment with `sample_tasks`, `dynamics` and two actions.
        near: half-widths of the start states of the support set, `ds` numbers.
        wide: half-widths of the start states of the query set, `ds` numbers.
        feedback: k, `ds` numbers.
        lanes: the number of walks in the query set.
        both_signs: whether the sign of the feedback is random, for environments whose force may be reversed; if not,
            it is 1.
        reward: whether the reward is an output, in units of its root mean square.
        end: whether the end of the episode is an output: 1 where a step terminated it, 0 elsewhere.
        noise: standard deviation of normal noise added to reward and end. These are often constant; without noise a
            probabilistic learner then becomes so certain of the constant that it learns little else.

    Raises:
        TypeError: for an environment whose dynamics are no function; use `from_environment`.
        ValueError: for widths of unequal numbers, widths not above 0, noise below 0, or less than one lane.

    >>> import quickstudy as qs
    >>> family = Transitions(qs.rl.CartPole())
    >>> tasks = family.sample(3, support=7, query=10, generator=torch.Generator().manual_seed(0))
    >>> tasks.support.x.shape, tasks.query.y.shape, sorted(tasks.info)[:2]
    (torch.Size([3, 7, 5]), torch.Size([3, 10, 4]), ['force_mag', 'gravity'])
    """

    env: Simulator
    near: tuple[float, ...] = NEAR
    wide: tuple[float, ...] = WIDE
    feedback: tuple[float, ...] = FEEDBACK
    lanes: int = field(default=16, kw_only=True)
    both_signs: bool = field(default=False, kw_only=True)
    reward: bool = field(default=False, kw_only=True)
    end: bool = field(default=False, kw_only=True)
    noise: float = field(default=0.2, kw_only=True)

    @staticmethod
    def from_environment(env: Environment, *, reward: bool = False, end: bool = False) -> Experienced:
        """The same kind of tasks from an environment that can only be stepped, such as one of gymnasium; see there."""
        return Experienced(env, reward=reward, end=end)

    @staticmethod
    def from_episodes(episodes: Episodes, action_space: Space, *, reward: bool = False, end: bool = False) -> Logged:
        """The same kind of tasks from episodes that were recorded in several systems; see there."""
        return Logged(episodes, action_space, reward=reward, end=end)

    def __post_init__(self) -> None:
        if not callable(getattr(self.env, "dynamics", None)):
            raise TypeError(
                f"{type(self.env).__name__} has no dynamics(tasks, state, action); use "
                "Transitions.from_environment(env), which acts in the environment"
            )
        sizes = [len(self.near), len(self.wide), len(self.feedback)]
        if len(set(sizes)) > 1 or min(*self.near, *self.wide) <= 0:
            raise ValueError(
                f"near={self.near}, wide={self.wide}, feedback={self.feedback}; "
                "expected as many numbers in each as a state has components, and widths above 0"
            )
        check_whole("lanes", self.lanes)
        check_number("noise", self.noise)

    @property
    def dx(self) -> int:
        """The number of features of an input: those of a state and one of the action."""
        return len(self.wide) + 1

    @property
    def dy(self) -> int:
        """The number of outputs: those of a state, and reward and end if they are learned."""
        return len(self.wide) + self.reward + self.end

    @cached_property
    def encoding(self) -> Encoding:
        """The scales by which states, changes and rewards are divided.

        States are divided by `wide`, changes and rewards by their root mean square over 200 fixed tasks.
        """
        generator = torch.Generator().manual_seed(0)
        walks, _ = self._walk(Batch(200, 1, 64 * self.lanes, "train", generator))
        change = (walks.following - walks.state)[:, 1:].square().mean((0, 1, 2)).sqrt()
        brought = walks.reward[:, 1:].square().mean().sqrt().clamp_min(1e-6) if self.reward else None
        return Encoding(torch.tensor(self.wide, device=change.device), change.clamp_min(1e-6), 2, brought, self.end)

    def sample(
        self,
        num_tasks: int,
        *,
        support: int,
        query: int,
        split: Split = "train",
        generator: torch.Generator | None = None,
    ) -> Tasks:
        """Draw tasks; the arguments are those of `Sinusoid.sample`.

        Returns:
            Tasks with the tasks of the environment as `info`.
        """
        encoding = self.encoding
        batch = Batch(num_tasks, support, query, split, generator)
        walks, info = self._walk(batch)
        encoding, each = encoding.to(walks.state), self._each(batch)
        first = Walks(*(part[:, 0, :support] for part in walks))
        rest = Walks(*(part[:, 1:, :each].flatten(1, 2)[:, :query] for part in walks))
        known = self._noisy(first.encoded(encoding), batch)
        return Tasks(known, self._noisy(rest.encoded(encoding), batch), dict(info))

    def _noisy(self, examples: Examples, batch: Batch) -> Examples:
        """`examples` with noise added to reward and end, if these are outputs."""
        x, y, mask = examples
        change, outcomes = y.split([len(self.wide), self.reward + self.end], -1)
        if not outcomes.shape[-1] or not self.noise:
            return examples
        noise = batch.draw(torch.randn, tuple(outcomes.shape), dtype=y.dtype).to(y.device)
        return Examples(x, torch.cat([change, outcomes + self.noise * noise], -1), mask)

    def _each(self, batch: Batch) -> int:
        """The number of query transitions in a lane."""
        return -(-batch.query // self.lanes)

    def _walk(self, batch: Batch) -> tuple["Walks", EnvironmentTasks]:
        """Walks `[T, 1 + lanes, H, ...]`. Lane 0 is the support set; H is the length of the longest lane."""
        info = self.env.sample_tasks(batch.num_tasks, generator=batch.generator)
        device = next(iter(info.values())).device
        each = self._each(batch)
        length = max(batch.support, 1, each)
        lanes, ds = 1 + self.lanes, len(self.wide)
        size = (batch.num_tasks, lanes, length)

        def steps(kind: Callable[..., Tensor], *features: int) -> Tensor:
            return batch.draw(kind, (*size, *features), axis=2).to(device)

        near, wide, feedback = (torch.tensor(v, device=device) for v in (self.near, self.wide, self.feedback))
        own: dict[str, Any] = {"generator": batch.generator, "device": device}
        sign = torch.where(torch.rand(size[:2], **own) < 0.5, -1.0, 1.0) if self.both_signs else 1.0
        noise = 2 * torch.rand(*size[:2], 1, **own) * steps(torch.randn)
        factor = steps(torch.rand, 1)
        factor[:, 0] = 1
        if self.end:
            factor[:, 2::2] += 1
        width = torch.cat([near.expand(1, ds), wide.expand(self.lanes, ds)]).unsqueeze(1)
        starts = (2 * steps(torch.rand, ds) - 1) * factor * width
        state, gains = starts[:, :, 0], 4 * feedback / wide
        seen: list[tuple[Tensor, ...]] = []
        physics = batch.stream()
        for step in range(length):
            if step == each:  # the query lanes are complete; only the lane of the support set goes on
                state = state[:, :1]
            alive = state.shape[1]
            drive = (state * gains).sum(-1).clamp(-2, 2)
            signed = drive * sign[:, :alive] if isinstance(sign, Tensor) else drive
            action = (signed + noise[:, :alive, step] > 0).long()
            following, reward, terminated = self.env.dynamics(info, state, action, physics)
            seen.append(tuple(_filled(part, lanes) for part in (state, action, following, reward, terminated)))
            again = starts[:, :alive, min(step + 1, length - 1)]
            state = torch.where(terminated.unsqueeze(-1), again, following)
        return Walks(*(torch.stack(part, 2) for part in zip(*seen, strict=True))), info


class Walks(NamedTuple):
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


def _filled(values: Tensor, lanes: int) -> Tensor:
    """`values [T, L, ...]`, padded with zeros to `lanes` lanes."""
    missing = lanes - values.shape[1]
    return values if not missing else torch.cat([values, values.new_zeros(len(values), missing, *values.shape[2:])], 1)

"""An actor-critic trained on rollouts of functions drawn from a learned model (after Galashov et al. 2019)."""

from typing import Any, final

import torch
from torch import Tensor

from quickstudy.checks import check_whole
from quickstudy.decide.actors import Actors
from quickstudy.decide.control import Knowledge
from quickstudy.decide.moment import Moment
from quickstudy.decide.objective import Stepwise
from quickstudy.rl.episodes import Episodes


@final
class ActorCritic:
    """A policy and a value function for each task, trained on rollouts of a model between episodes.

    A rollout starts near rest or at an observed state of the task, takes actions of the present policy, and follows one
    function drawn from the model's posterior of the task (Galashov et al. 2019, arXiv 1903.11907). The objective gives
    the reward of each step and says when the rollout terminates; then another one starts. A rollout also terminates
    where a state leaves the region that the model was trained on (as in MOReL, Kidambi et al. 2020, arXiv 2005.05951).
    After `horizon` steps the return of an unfinished rollout is bootstrapped by the value function; the rollout
    continues in the next batch, with the functions of that batch. `Actors` take a few steps on each batch, as in
    Dreamer (Hafner et al. 2020, arXiv 1912.01603), but with likelihood-ratio gradients, since actions are discrete.

    A planner computes at every step; this agent computes between episodes, and an action needs one small network only.

    Args:
        knowledge: provides the model, and is updated with observed transitions.
        objective: gives rewards and terminations of imagined steps: `Balance`, or `LearnedReturn`.
        scale: scale of each component of the state, `[ds]`, by which states are divided.
        num_tasks: T.
        near: half-widths of the region of start states near rest, `ds` numbers.
        horizon: H, the number of steps in a batch.
        futures: K, the number of rollouts for each task.
        functions: the number of functions drawn for each batch; an equal number of rollouts follows each.
        updates: the number of batches after an episode.
        first: the number of batches before the first episode; None is `updates`.
        epochs: the number of steps of Adam on a batch.
        entropy: weight of the policy's entropy in the loss; it keeps the policy random while the task is uncertain.
        known: the share of rollouts that start at observed states.
        reach: a rollout terminates where a component of the state exceeds this multiple of its scale.
        memory: the number of observed states of each task to keep.
        initial: initial weights, of T tasks, or of one task, copied to all of them; see `shared_start`.
        generator: random numbers for weights, functions, start states and imagined actions.
        options: options of `Actors`.

    Raises:
        ValueError: for counts below 1, `functions` that does not divide `futures`, and options out of range.

    >>> import quickstudy as qs
    >>> from quickstudy.decide.control import Known
    >>> from quickstudy.decide.models import Simulated
    >>> from quickstudy.decide.objective import Balance
    >>> env = qs.rl.CartPole()
    >>> knowledge = Known(Simulated(env, env.sample_tasks(3)))
    >>> agent = ActorCritic(knowledge, Balance.cartpole(), torch.ones(4), 3, horizon=5, updates=1)
    >>> agent.act(torch.zeros(3, 4)).shape
    torch.Size([3])
    """

    def __init__(
        self,
        knowledge: Knowledge,
        objective: Stepwise,
        scale: Tensor,
        num_tasks: int,
        *,
        near: tuple[float, ...] = (0.05, 0.05, 0.05, 0.05),
        horizon: int = 40,
        futures: int = 32,
        functions: int = 4,
        updates: int = 60,
        first: int | None = None,
        epochs: int = 4,
        entropy: float = 0.01,
        known: float = 0.5,
        reach: float = 3.0,
        memory: int = 5_000,
        initial: Actors | None = None,
        generator: torch.Generator | None = None,
        **options: Any,
    ):
        counts = {"horizon": horizon, "futures": futures, "functions": functions, "epochs": epochs, "memory": memory}
        for name, count in counts.items():
            check_whole(name, count)
        check_whole("updates", updates, 0)
        if futures % functions or len(near) != len(scale) or not 0 <= known <= 1 or not reach > 0:
            raise ValueError(
                f"futures={futures}, functions={functions}, near={near}, known={known!r}, reach={reach!r}; expected "
                f"futures a multiple of functions, {len(scale)} numbers in near, known from 0 to 1, reach above 0"
            )
        self.knowledge, self.objective, self.generator = knowledge, objective, generator
        self.horizon, self.futures, self.functions, self.epochs = horizon, futures, functions, epochs
        self.updates, self.known, self.near = updates, known, torch.tensor(near).to(scale)
        self._far = reach * scale
        self.actors = Actors(scale, num_tasks, entropy=entropy, generator=generator, **options)
        if initial is not None:
            self.actors.copy_(initial)
        self._first = updates if first is None else check_whole("first", first, 0)
        self._seen = torch.zeros(num_tasks, memory, len(scale)).to(scale)
        self._count = torch.zeros(num_tasks, dtype=torch.long)
        self._now: Tensor | None = None  # the states of unfinished rollouts

    def act(self, state: Tensor) -> Tensor:
        """The most probable action `[T]` of each task's policy in the states `[T, ds]`."""
        if self._first:
            self._first, first = 0, self._first
            self.think(first)
        return self.actors.best(state.unsqueeze(1))[:, 0]

    def see(self, moment: Moment) -> None:
        """Update the model's knowledge, and store the state."""
        self.knowledge.see(moment)
        real = moment.mask.nonzero()[:, 0]
        self._seen[real, self._count[real] % self._seen.shape[1]] = moment.state[real]
        self._count += moment.mask

    def rest(self) -> None:
        """Update the model's knowledge, then train."""
        self.knowledge.rest()
        self.think(self.updates)

    def think(self, updates: int) -> None:
        """Train on `updates` batches of rollouts."""
        for _ in range(updates):
            self.actors.learn(self.imagine(), epochs=self.epochs)

    @torch.no_grad()
    def imagine(self) -> Episodes:
        """A batch of rollouts `[T, K, H]` of the present model.

        Raises:
            ValueError: if the model gives states that are not finite.
        """
        model, size = self.knowledge.model(), self.futures // self.functions
        worlds = [model.imagine(self.generator) for _ in range(self.functions)]
        begin = self._start_states(self.horizon + 1)
        now = begin[-1] if self._now is None else self._now
        ds, steps = now.shape[-1], []
        for step in range(self.horizon):
            action, log_prob = self.actors.draw(now)
            parts = zip(worlds, now.split(size, 1), action.split(size, 1), strict=True)
            found = torch.cat([world(state, chosen.unsqueeze(0))[0] for world, state, chosen in parts], 1)
            reward, over = self.objective.steps(found)
            following = found[..., :ds]
            _check_imagined(found)
            over = over | (following.abs() > self._far).any(-1)
            steps.append((now, action, reward, following, log_prob, over))
            now = torch.where(over.unsqueeze(-1), begin[step], following)
        self._now = now
        state, action, reward, following, log_prob, over = (torch.stack(part, 2) for part in zip(*steps, strict=True))
        no, yes = torch.zeros_like(over), torch.ones_like(over)
        time = torch.arange(self.horizon).expand(over.shape)
        return Episodes(state, action, reward, following, log_prob, over, no, yes, time)

    def _start_states(self, count: int) -> Tensor:
        """Start states `[count, T, K, ds]`: near rest, or observed states of each task."""
        tasks, kept, ds = self._seen.shape
        shape = (count, tasks, self.futures)
        near = (2 * torch.rand(*shape, ds, generator=self.generator) - 1) * self.near
        there = self._count.clamp(max=kept).view(1, -1, 1)
        place = (torch.rand(shape, generator=self.generator) * there).long()
        seen = self._seen[torch.arange(tasks).view(1, -1, 1), place]
        chosen = (torch.rand(shape, generator=self.generator) < self.known) & (there > 0)
        return torch.where(chosen.unsqueeze(-1), seen, near)


def shared_start(
    knowledge: Knowledge, objective: Stepwise, scale: Tensor, *, updates: int = 60, **options: Any
) -> Actors:
    """A policy and a value function for all tasks to start from, trained on rollouts of the model's prior.

    Args:
        knowledge: knowledge of one task without observations.
        objective, scale: as in `ActorCritic`.
        updates: the number of batches.
        options: options of `ActorCritic`.

    Returns:
        The weights for `ActorCritic(..., initial=...)`.
    """
    one = ActorCritic(knowledge, objective, scale, 1, **options)
    one.think(updates)
    return one.actors


def _check_imagined(states: Tensor) -> None:
    wrong = ~states.isfinite().flatten(1).all(1)
    if wrong.any():
        raise ValueError(
            f"the model's rollouts of task {int(wrong.nonzero()[0])} are not finite; check the training of the model, "
            "and the transitions it was given"
        )

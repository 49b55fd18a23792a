"""An actor-critic that learns in futures imagined by functions of the model (after Galashov et al. 2019)."""

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
    """A policy and a value for each task, trained between episodes, and before the first, on imagined futures alone.

    An imagined future begins near rest or at a state that was seen of this task, takes the actions of the policy as it
    stands, and follows one function drawn from what is believed of the task: a cart that may be the true one (Galashov
    et al. 2019, arXiv 1903.11907). The objective says what each step brings, and when it is over; then another future
    begins. It is over too where a state leaves what the model was trained on, since nothing is known beyond (as in
    MOReL, Kidambi et al. 2020, arXiv 2005.05951). What is not over after `horizon` steps is bootstrapped by the value,
    and goes on in the next batch, by the functions of that batch. From each batch `Actors` learn a few steps: as in
    Dreamer (Hafner et al. 2020, arXiv 1912.01603), but by the likelihood ratio, since actions are discrete.

    Planning thinks at every step; this thinks between episodes, and acts at the cost of one small network.

    Args:
        knowledge: of the world.
        objective: what steps bring and when it is over: `Balance`, or `LearnedReturn`.
        scale: by which states are divided, `[ds]`.
        num_tasks: T.
        near: half-widths of the states near rest, `ds` numbers.
        horizon: H, imagined steps in a batch.
        futures: imagined side by side, of each task.
        functions: which these futures follow in equal shares, drawn anew for every batch.
        updates: batches after an episode.
        first: batches before the first one; None is as many as after an episode.
        epochs: steps of Adam on a batch.
        entropy: worth of the policy's, which keeps it from making up its mind before it knows the task.
        known: share of the beginnings at states that were seen.
        reach: futures are over where a component of the state exceeds so many of its scales.
        memory: states of a task to remember.
        initial: what has been trained already, of as many tasks, or of one that all begin as; see `shared_start`.
        generator: of weights, functions, beginnings and imagined actions.
        options: of `Actors`.

    Raises:
        ValueError: for counts below 1, functions that do not divide the futures, and what `Actors` refuses.

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
                f"functions that divide the futures, {len(scale)} half-widths, a share from 0 to 1, scales above 0"
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
        self._now: Tensor | None = None  # where the futures that are not over have come to

    def act(self, state: Tensor) -> Tensor:
        """The likeliest action `[T]` of each task's policy, in the states `[T, ds]`."""
        if self._first:
            self._first, first = 0, self._first
            self.think(first)
        return self.actors.best(state.unsqueeze(1))[:, 0]

    def see(self, moment: Moment) -> None:
        """Tell knowledge, and remember where one has been."""
        self.knowledge.see(moment)
        real = moment.mask.nonzero()[:, 0]
        self._seen[real, self._count[real] % self._seen.shape[1]] = moment.state[real]
        self._count += moment.mask

    def rest(self) -> None:
        """Let knowledge rest, then think."""
        self.knowledge.rest()
        self.think(self.updates)

    def think(self, updates: int) -> None:
        """Imagine and learn, so many times."""
        for _ in range(updates):
            self.actors.learn(self.imagine(), epochs=self.epochs)

    @torch.no_grad()
    def imagine(self) -> Episodes:
        """Futures `[T, K, H]` of what is believed now.

        Raises:
            ValueError: for states that are not finite.
        """
        model, size = self.knowledge.model(), self.futures // self.functions
        worlds = [model.imagine(self.generator) for _ in range(self.functions)]
        begin = self._beginnings(self.horizon + 1)
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

    def _beginnings(self, count: int) -> Tensor:
        """`[count, T, K, ds]`: near rest, or where each task has been."""
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
    """What every task can begin with: one policy and value, trained on futures of the prior, once for all tasks.

    Args:
        knowledge: of one task of which nothing has been seen.
        objective, scale: as for `ActorCritic`.
        updates: batches.
        options: of `ActorCritic`.

    Returns:
        For its `initial=`.
    """
    one = ActorCritic(knowledge, objective, scale, 1, **options)
    one.think(updates)
    return one.actors


def _check_imagined(states: Tensor) -> None:
    wrong = ~states.isfinite().flatten(1).all(1)
    if wrong.any():
        raise ValueError(
            f"the futures imagined of task {int(wrong.nonzero()[0])} are not finite; expected finite "
            "numbers: look at the model's training, and at the transitions it was given"
        )

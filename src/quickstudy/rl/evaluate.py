"""`quickstudy.rl.evaluate`: returns on unseen tasks after each number of adaptation steps, for everything that acts."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.chance import Stream, mix
from quickstudy.checks import check_whole
from quickstudy.checks.keywords import advises
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.evaluation.modes import evaluating
from quickstudy.inner.rates import Rated
from quickstudy.learner import Split, check_split
from quickstudy.rl.environment import Environment, home
from quickstudy.rl.envs.stepping import set_drawn
from quickstudy.rl.episodes import Episodes

SUCCESS = ("success", "is_success")  # names in `Episodes.info`


@advises
def evaluate(
    learner: nn.Module,
    environment: Environment,
    *,
    tasks: int = 40,
    steps: int | Sequence[int] | None = None,
    lr: Rated | None = None,
    split: Split = "test",
    seed: int = 0,
) -> dict[str, Metric]:
    """Measure a policy learner on unseen tasks: mean returns with 95% confidence intervals over tasks.

    The policy acts, adapts to these episodes by one step, acts again, and so on. All numbers of steps are measured on
    the same tasks. The learner is in eval mode, and unchanged afterwards; the environment keeps the tasks.

    Args:
        learner: a learner with `actor()`, such as `MAMLTRPO`.
        environment: the environment; its number of environments per task is the number of episodes before each step.
        tasks: number of tasks, 40 as in the MAML paper.
        steps: numbers of adaptation steps (for `RL2`, `VariBAD` and `PEARL`, of earlier episodes) after which to
            measure; by default 0 up to that of training.
        lr: rates of the steps, in place of those of training.
        split: the split from which tasks are drawn.
        seed: seed of tasks and episodes.

    Returns:
        Metrics by name: `"return/steps=0"`, `"return/steps=1"` ...; and `"success/steps=0"` ... if the environment
        tells `success` or `is_success`: the share of episodes in which it was above 0 at any step.

    Raises:
        TypeError, ValueError: for bad arguments.
        EnvironmentFailure: if the environment fails.

    >>> import quickstudy as qs
    >>> learner = qs.rl.MAMLTRPO(qs.rl.GaussianPolicy(qs.nets.MLP(2, [8], 2), 2))
    >>> sorted(evaluate(learner, qs.rl.Navigation2D(num_envs=4, horizon=5), tasks=3))
    ['return/steps=0', 'return/steps=1']
    """
    found: dict[str, Metric] = {}
    for step, episodes in _measured(learner, environment, tasks, steps, lr, split=split, seed=seed):
        found[f"return/steps={step}"] = over_tasks(episodes.returns().mean(1).cpu())
        for name in SUCCESS:
            if name in episodes.info:
                found[f"success/steps={step}"] = over_tasks(episodes.ever(name).float().mean(1).cpu())
                break
    return found


def returns_by_step(
    learner: nn.Module,
    environment: Environment,
    *,
    tasks: int = 40,
    steps: int | Sequence[int] | None = None,
    lr: Rated | None = None,
    split: Split = "test",
    seed: int = 0,
) -> Float[Tensor, "S T"]:
    """Each task's mean return after each number of adaptation steps, `[S, T]`; the arguments are those of `evaluate`.

    Those of several runs, stacked to `[S, R, T]`, are what `quickstudy.rl.evaluation.by_adaptation_step` takes.

    >>> import quickstudy as qs
    >>> learner = qs.rl.MAMLTRPO(qs.rl.GaussianPolicy(qs.nets.MLP(2, [8], 2), 2))
    >>> returns_by_step(learner, qs.rl.Navigation2D(num_envs=4, horizon=5), tasks=3, steps=(0, 2)).shape
    torch.Size([2, 3])
    """
    return torch.stack(
        [e.returns().mean(1) for _, e in _measured(learner, environment, tasks, steps, lr, split=split, seed=seed)]
    )


def _measured(
    learner: Any, environment: Environment, tasks: int, steps: Any, lr: Rated | None, *, split: Split, seed: int
) -> list[tuple[int, Episodes]]:
    """The episodes after each number of steps."""
    if not isinstance(learner, nn.Module) or not callable(getattr(learner, "actor", None)):
        raise TypeError(
            f"learner is a {type(learner).__name__}; expected a policy learner with actor(), such as "
            "quickstudy.rl.MAMLTRPO"
        )
    check_split(split)
    check_whole("tasks", tasks, 1)
    counts = _steps(learner, steps)
    chance = torch.Generator(device=home(environment) or "cpu")
    chance.manual_seed(mix(check_whole("seed", seed, 0), 0, Stream.EVALUATION))
    found, make = list[tuple[int, Episodes]](), cast(Any, learner).actor
    with evaluating(learner), torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(seed, 0, Stream.EVALUATION_NOISE))
        set_drawn(environment, tasks, split=split, generator=chance)
        actor = make() if lr is None else make(lr=lr)
        for step in range(max(counts) + 1):
            episodes = actor.rollout(environment, generator=chance)
            if step in counts:
                found.append((step, episodes))
            actor = actor.adapt(episodes) if step < max(counts) else actor
    return found


def _steps(learner: Any, steps: Any) -> tuple[int, ...]:
    if steps is None:
        last = getattr(
            learner, "steps", getattr(learner, "episodes", 2) - 1
        )  # a trial of n episodes adapts n - 1 times
        return tuple(range(int(last) + 1))
    given = (steps,) if isinstance(steps, int) else tuple(steps)
    if not given:
        raise ValueError("steps is empty; expected at least one number of adaptation steps")
    return tuple(check_whole("steps", step, 0) for step in given)

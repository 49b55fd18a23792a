"""`tune_adaptation` finds the rule and the number of gradient steps with which a learner adapts best."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from quickstudy.chance import Stream, mix
from quickstudy.checks import check_whole
from quickstudy.evaluation.modes import evaluating
from quickstudy.inner.adapted import Adapted
from quickstudy.inner.optimizers import SGD, Adam, Rule
from quickstudy.learner import TaskFamily, check_family, check_steps

RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
STEPS = (0, 1, 2, 5, 10, 20, 50, 100)
OF_GRADIENTS = ("engine", "compile", "checkpoint", "mixed_mode", "truncate", "implicit", "first_order")
SAMPLED = 100  # tasks adapted at a time


class Trial(NamedTuple):
    """One rule and number of steps that were tried.

    Args:
        rule: the rule of the gradient steps.
        steps: the number of steps.
        loss: the mean loss over validation tasks; infinite if it diverged.
    """

    rule: Rule
    steps: int
    loss: float

    def __repr__(self) -> str:
        """Describe the trial in one line."""
        rule: Any = self.rule
        return f"Trial({type(rule).__name__}({rule.extra_repr()}), steps={self.steps}, loss={self.loss:.4g})"


class Tuned(NamedTuple):
    """The result of `tune_adaptation`.

    Args:
        learner: a learner of the same network, with the best rule and number of steps.
        trials: all trials, best first.
    """

    learner: Any
    trials: list[Trial]


def tune_adaptation(
    learner: nn.Module,
    family: TaskFamily,
    *,
    support: int,
    rules: Sequence[Rule] = (),
    steps: Sequence[int] = STEPS,
    query: int = 100,
    tasks: int = 200,
    seed: int = 0,
) -> Tuned:
    """Find the rule and number of steps with which `learner` adapts best, for a fair comparison with other learners.

    Every rule runs once, for the largest number of steps; the learner's own loss on the query points is measured after
    each number in `steps`. All rules are tried on the same tasks of the validation split.

    Args:
        learner: a learner with an inner loop and a rule, such as `Pretrained` or `MAML`. It is not changed.
        family: the task family.
        support: number of support points per task. Tune for each number of points that you report.
        rules: rules of `quickstudy.optimizers`; by default the learner's own, and gradient descent and Adam, each with
            six rates from 0.001 to 0.3.
        steps: numbers of steps to try.
        query: number of query points per task.
        tasks: number of tasks.
        seed: seed of the tasks.

    Raises:
        TypeError, ValueError: for a learner without a rule, and for bad sizes.
        ValueError: if every trial diverged.

    >>> import quickstudy as qs
    >>> rival = qs.Pretrained(qs.nets.MLP(1, [8], 1))
    >>> found = qs.tune_adaptation(rival, qs.tasks.Sinusoid(), support=5, steps=(0, 1, 5), tasks=10)
    >>> len(found.trials), found.learner.network is rival.network
    (39, True)
    """
    check_family(family)
    if not hasattr(learner, "inner") or not hasattr(learner, "config"):
        raise TypeError(f"{type(learner).__name__} has no inner loop whose rule could be tuned")
    sizes = {"support": check_whole("support", support, 1), "query": check_whole("query", query, 1)}
    counts = sorted({check_steps(count) for count in steps})
    if not counts:
        raise ValueError("steps=() is empty; give at least one number of steps to try")
    own: Any = learner.inner
    rules = rules or [own.rule, *(kind(rate) for kind in (SGD, Adam) for rate in RATES)]
    trials = []
    for rule in rules:
        candidate = with_rule(learner, rule, counts[-1])
        losses = _losses(candidate, family, counts, check_whole("tasks", tasks, 1), sizes, seed)
        trials += [Trial(rule, count, loss) for count, loss in zip(counts, losses, strict=True)]
    trials.sort(key=lambda trial: trial.loss)
    if not math.isfinite(trials[0].loss):
        raise ValueError("every rule diverged after every number of steps; check that the learner's weights are finite")
    return Tuned(with_rule(learner, trials[0].rule, trials[0].steps), trials)


def with_rule(learner: Any, rule: Rule, steps: int) -> Any:
    """Return a learner of the same network that adapts by `steps` steps of `rule`.

    Options that only change how a meta-gradient is computed are dropped, as the new rule may not support them.
    """
    settings = {k: v for k, v in learner.config().items() if k not in ("lr", "rule", "steps", *OF_GRADIENTS)}
    made = type(learner)(**settings, rule=rule, steps=steps)
    made.training = learner.training  # only its own mode: the modules of the network are shared
    return made


def _losses(
    learner: Any, family: TaskFamily, counts: list[int], tasks: int, sizes: dict[str, int], seed: int
) -> list[float]:
    """Return the mean loss after each of `counts` steps."""
    place = next(learner.parameters()).device
    totals = dict.fromkeys(counts, 0.0)
    with evaluating(learner):
        for number, start in enumerate(range(0, tasks, SAMPLED)):
            chance = torch.Generator(place).manual_seed(mix(seed, number, Stream.VALIDATION))
            some = min(SAMPLED, tasks - start)
            drawn = family.sample(some, **sizes, split="validation", generator=chance)

            def add_loss(adapted: Adapted, query: Any = drawn.query) -> None:
                if adapted.steps in totals:
                    totals[adapted.steps] += float(adapted.losses(query).detach().sum()) / tasks

            add_loss(learner.inner(drawn.support, steps=0, create_graph=False))
            learner.inner(drawn.support, steps=counts[-1], create_graph=False, each=add_loss)
    return [loss if math.isfinite(loss) else math.inf for loss in totals.values()]

"""`tune_adaptation`: the rule and the number of gradient steps with which a learner adapts best."""

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
    """One way to adapt.

    Args:
        rule: of the steps.
        steps: how many.
        loss: the mean over validation tasks; infinite where it diverged.
    """

    rule: Rule
    steps: int
    loss: float

    def __repr__(self) -> str:
        """One line, whatever the rule consists of."""
        rule: Any = self.rule
        return f"Trial({type(rule).__name__}({rule.extra_repr()}), steps={self.steps}, loss={self.loss:.4g})"


class Tuned(NamedTuple):
    """What tuning found.

    Args:
        learner: the same network, adapting in the best way.
        trials: all ways, best first.
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
    """Find how `learner` adapts best, so that a rival such as `Pretrained` is as strong as it can be.

    Every rule runs once, for the largest number of steps; the learner's own loss on the query points is measured after
    each number in `steps`. All rules see the same tasks of the validation split.

    Args:
        learner: with an inner loop and a rule: `Pretrained`, `MAML` and their like. It is left as it is.
        family: of the tasks.
        support: points seen of each task. Tune for each number of points that you report.
        rules: of `quickstudy.optimizers`; by default the learner's own, and gradient descent and Adam, each with six
            rates from 0.001 to 0.3.
        steps: numbers of steps to judge.
        query: points each task is judged on.
        tasks: how many.
        seed: of the tasks.

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
        raise ValueError("steps=() holds no number of steps to judge")
    own: Any = learner.inner
    rules = rules or [own.rule, *(kind(rate) for kind in (SGD, Adam) for rate in RATES)]
    trials = []
    for rule in rules:
        candidate = with_rule(learner, rule, counts[-1])
        losses = _losses(candidate, family, counts, check_whole("tasks", tasks, 1), sizes, seed)
        trials += [Trial(rule, count, loss) for count, loss in zip(counts, losses, strict=True)]
    trials.sort(key=lambda trial: trial.loss)
    if not math.isfinite(trials[0].loss):
        raise ValueError("every rule diverged, on every number of steps; is the learner itself finite?")
    return Tuned(with_rule(learner, trials[0].rule, trials[0].steps), trials)


def with_rule(learner: Any, rule: Rule, steps: int) -> Any:
    """A learner of the same network that adapts by `rule`, so many steps.

    Options that only change how a meta-gradient is computed are left out: they need not fit the new rule.
    """
    settings = {k: v for k, v in learner.config().items() if k not in ("lr", "rule", "steps", *OF_GRADIENTS)}
    made = type(learner)(**settings, rule=rule, steps=steps)
    made.training = learner.training  # not those of the network's parts, which are shared
    return made


def _losses(
    learner: Any, family: TaskFamily, counts: list[int], tasks: int, sizes: dict[str, int], seed: int
) -> list[float]:
    """The mean loss after each of `counts` steps."""
    place = next(learner.parameters()).device
    totals = dict.fromkeys(counts, 0.0)
    with evaluating(learner):
        for number, start in enumerate(range(0, tasks, SAMPLED)):
            chance = torch.Generator(place).manual_seed(mix(seed, number, Stream.VALIDATION))
            some = min(SAMPLED, tasks - start)
            drawn = family.sample(some, **sizes, split="validation", generator=chance)

            def judge(adapted: Adapted, query: Any = drawn.query) -> None:
                if adapted.steps in totals:
                    totals[adapted.steps] += float(adapted.losses(query).detach().sum()) / tasks

            judge(learner.inner(drawn.support, steps=0, create_graph=False))
            learner.inner(drawn.support, steps=counts[-1], create_graph=False, each=judge)
    return [loss if math.isfinite(loss) else math.inf for loss in totals.values()]

"""`evaluate`: scores of a learner on unseen tasks, by support size and number of gradient steps."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.chance import Stream, mix, seed_noise
from quickstudy.checks import check_fits, check_whole
from quickstudy.checks.keywords import advises
from quickstudy.data import Tasks, by_size
from quickstudy.devices import pick_device
from quickstudy.evaluation.intervals import Metric as Metric
from quickstudy.evaluation.intervals import over_seeds as over_seeds
from quickstudy.evaluation.intervals import over_tasks
from quickstudy.evaluation.modes import evaluating
from quickstudy.evaluation.scores import calibration_error, oracle_scores, scores
from quickstudy.learner import Split, TaskFamily, check_adapt, check_drawn, check_family, check_learner, check_split

SAMPLED = 100  # tasks that are drawn at a time; it does not depend on `batch`, so that a seed gives the same tasks


@advises
def evaluate(
    learner: nn.Module,
    family: TaskFamily,
    *,
    tasks: int = 600,
    support: int | Sequence[int] = (5, 10, 20),
    steps: int | Sequence[int] | None = None,
    query: int = 100,
    grid: bool = False,
    split: Split = "test",
    seed: int = 0,
    batch: int = 100,
    device: torch.device | str | None = None,
    transductive: bool = False,
) -> dict[str, Metric]:
    """Measure a learner on unseen tasks in eval mode: means with 95% confidence intervals. The learner is unchanged.

    All support sizes and numbers of steps are measured on the same tasks, and a smaller support set is the first points
    of a larger one. If the family knows the likelihood of an oracle, which depends on the support set, tasks are
    sampled again for each size, from the same seed.

    The intervals treat tasks as independent draws. A family of given tasks (`Table`, `from_dataset`, and any other that
    has a method `once`) is measured on each task of the split once, and `n` is the number of these tasks. Those with no
    more points than the largest support size are left out, with a warning, so that all sizes have the same tasks.

    Args:
        learner: the learner.
        family: the task family.
        tasks: number of tasks, 600 as in the MAML paper; of a family of given tasks all are measured.
        support: support sizes.
        steps: numbers of gradient steps; by default 0, 1, 10 and that of training. Leave it out for learners without an
            inner loop.
        query: query points per task.
        grid: whether query points are evenly spaced over the family's domain.
        split: the split from which tasks are drawn.
        seed: seed of tasks and noise. Two calls with equal `seed` and `tasks` use the same tasks of the package's
            families for all support sizes. For other families they do if the family samples the same tasks for every
            support size, or if the largest support size is the same.
        batch: number of tasks that are adapted at once, at most 100, to bound memory. The tasks do not depend on it,
            but what a learner draws at random (a Neural Process's latents) does, as it is drawn for a whole batch.
        device: device to evaluate on; by default the learner's own.
        transductive: whether BatchNorm layers normalise support and query points by their own batch statistics instead
            of running statistics. Query points then help to predict each other: compare such scores only with other
            transductive ones.

    Returns:
        Metrics by name: `"mse/k=10/steps=1"`, or `"mse/k=10"` for learners without an inner loop. `mse` is the mean
        over points and outputs; `log_likelihood` the marginal one per point; `joint_log_likelihood` the joint one
        divided by the number of points; `coverage90` the share of outputs inside the central 90% interval;
        `calibration_error` the mean distance of the coverage of central intervals from their nominal 10% to 90%.
        Classes have `accuracy` and `log_likelihood`. `oracle_log_likelihood` and `oracle_joint_log_likelihood` are
        those of the family's oracle. With `transductive`, names are `"transductive/accuracy/k=5/steps=1"`.

    Raises:
        ValueError, TypeError: for bad arguments.

    >>> import quickstudy as qs
    >>> learner = qs.MAML(qs.nets.MLP(1, [8], 1))
    >>> sorted(evaluate(learner, qs.tasks.Sinusoid(), tasks=10, support=5, steps=(0, 1)))
    ['mse/k=5/steps=0', 'mse/k=5/steps=1']
    """
    check_learner(learner)
    check_adapt(learner, "steps", "generator")
    check_family(family)
    check_split(split)
    tasks, query, batch = (check_whole(*given, 1) for given in (("tasks", tasks), ("query", query), ("batch", batch)))
    seed = check_whole("seed", seed, 0)
    supports, counts = _several("support", support), _steps(learner, steps)
    for name, value in (("grid", grid), ("transductive", transductive)):
        if not isinstance(value, bool):
            raise ValueError(f"{name}={value!r}; expected True or False")
    if grid and not _takes_grid(family):
        raise ValueError(f"{family!r} has no grid of query points; use grid=False")
    home = _home(learner)
    place = home if device is None else pick_device(device)
    options: dict[str, Any] = {"grid": True} if grid else {}
    draw = partial(_drawn, learner, family, query=query, split=split, **options)
    found: dict[str, list[Tensor]] = {}
    try:
        learner.to(place)
        with (
            evaluating(learner, transductive=transductive),
            torch.random.fork_rng(devices=[place] if place.type == "cuda" else []),
        ):
            generator = torch.Generator(device=place)
            if hasattr(family, "once"):
                generator.manual_seed(mix(seed, 0, Stream.EVALUATION))
                parts = _each_once(family, supports, generator, query, split)
            else:
                parts = (
                    (start, *pair)
                    for number, start in enumerate(range(0, tasks, SAMPLED))
                    for pair in _by_support(draw, min(SAMPLED, tasks - start), supports, generator, seed, number)
                )
            for start, size, drawn in parts:
                for first in range(0, drawn.num_tasks, batch):
                    noise = mix(seed, start + first, Stream.EVALUATION_NOISE)
                    for name, values in _measure(learner, drawn.select(slice(first, first + batch)), counts, noise):
                        found.setdefault(name.format(k=size), []).append(values.detach().cpu())
    finally:
        learner.to(home)
    label = "transductive/" if transductive else ""
    return {
        name if name.startswith("oracle_") else label + name: _summary(name, torch.cat(values))
        for name, values in found.items()
    }


def scores_by_size(
    learner: nn.Module, tasks: Tasks, *, steps: int | None = None, generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """Return the `scores` of the adapted learner on each task, in the order of the tasks, detached.

    Tasks of unequal size are evaluated in groups of equal size, without padding, which would affect a network that
    mixes points.
    """
    places, groups = [], []
    for index, (support, query) in by_size(tasks.support, tasks.query):
        with torch.enable_grad():  # a learner may need gradients to adapt
            predictor = learner.adapt(support, steps=steps, generator=generator)  # type: ignore[operator]
            belief = predictor(query.x)
        places.append(index)
        groups.append({name: values.detach() for name, values in scores(belief, query).items()})
    order = torch.cat(places).argsort()
    return {name: torch.cat([group[name] for group in groups])[order] for name in groups[0]}


def _home(learner: nn.Module) -> torch.device:
    """Return the device of the learner: the CPU if it has no parameters and buffers."""
    for tensor in (*learner.parameters(), *learner.buffers()):
        return tensor.device
    return torch.device("cpu")


def _takes_grid(family: TaskFamily) -> bool:
    parameters = inspect.signature(family.sample).parameters
    return "grid" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _drawn(learner: nn.Module, family: TaskFamily, count: int, **options: Any) -> Tasks:
    tasks = family.sample(count, **options)
    check_drawn(tasks, count, learner)
    return tasks


def _by_support(
    draw: Callable[..., Tasks], count: int, supports: list[int], generator: torch.Generator, seed: int, number: int
) -> Iterator[tuple[int, Tasks]]:
    """Yield the same tasks with support sets of each size, sampled again if the family has an oracle's likelihood."""
    most = max(supports)
    tasks = draw(count, support=most, generator=generator.manual_seed(mix(seed, number, Stream.EVALUATION)))
    known = "oracle_log_prob" in tasks.info or "oracle_joint_log_prob" in tasks.info
    for size in supports:
        if size == most:
            yield size, tasks
        elif known:
            generator.manual_seed(mix(seed, number, Stream.EVALUATION))
            yield size, draw(count, support=size, generator=generator)
        else:
            yield size, tasks._replace(support=tasks.support.first(size))


def _each_once(
    family: Any, supports: list[int], generator: torch.Generator, query: int, split: Split
) -> Iterator[tuple[int, int, Tasks]]:
    """Yield 0, the support size and every task of the split once, with support sets of each size."""
    tasks = family.once(split, support=max(supports), query=query, generator=generator)
    for size in supports:
        yield 0, size, tasks._replace(support=tasks.support.first(size))


def _measure(learner: nn.Module, tasks: Tasks, counts: list[int] | None, noise: int) -> Iterator[tuple[str, Tensor]]:
    """Yield names of metrics (with `{k}` for the support size) and values `[T]`, for each number of steps."""
    check_fits(learner, tasks.support)
    device = tasks.support.x.device
    for count in [None] if counts is None else counts:
        seed_noise(noise, device)
        generator = torch.Generator(device=device).manual_seed(noise)
        found = scores_by_size(learner, tasks, steps=count, generator=generator)
        for name, values in found.items():
            yield f"{name}/k={{k}}" + ("" if count is None else f"/steps={count}"), values
    for name, values in oracle_scores(tasks.info, tasks.query).items():
        yield f"{name}/k={{k}}", values


def _summary(name: str, values: Tensor) -> Metric:
    return calibration_error(values) if name.startswith("calibration_error") else over_tasks(values)


def _steps(learner: nn.Module, steps: int | Sequence[int] | None) -> list[int] | None:
    """Return the numbers of steps to measure after; None for a learner without an inner loop."""
    own = getattr(learner, "steps", None)
    if not isinstance(own, int):
        if steps is not None:
            raise ValueError(
                f"steps={steps!r}: {type(learner).__name__} adapts without gradient steps; leave steps out"
            )
        return None
    return _several("steps", (0, 1, own, 10) if steps is None else steps)


def _several(name: str, numbers: int | Sequence[int]) -> list[int]:
    listed = list(numbers) if isinstance(numbers, Iterable) and not isinstance(numbers, str) else [numbers]
    if not listed:
        raise ValueError(f"{name} is empty; give at least one number")
    return sorted({check_whole(name, number, 0) for number in listed})

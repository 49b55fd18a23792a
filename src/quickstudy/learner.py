"""The contracts between learners, predictors and task families. A learner turns a support set into a predictor.

These are Protocols: a class of your own needs the methods, and inherits nothing.
"""

import inspect
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Integral
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from quickstudy.checks import check_made, check_tasks, check_whole, shown
from quickstudy.data import Examples, Tasks

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@runtime_checkable
class Predictive(Protocol):
    """A belief about the outputs at `M` query points of `T` tasks."""

    @property
    def mean(self) -> Tensor:
        """`[T, M, *dy]`; for classification the class probabilities, `[T, M, C, *positions]`."""

    @property
    def variance(self) -> Tensor:
        """The variance of an observation, noise included, shaped as `mean`."""

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Tensor:
        """`n` draws `[n, T, M, *dy]`, joint over the points of a task; `noise=False` leaves observation noise out."""

    def log_prob(self, y: Tensor, mask: Tensor | None = None, joint: bool = False) -> Tensor:
        """Log density of `y [T, M, *dy]`: `[T, M]`, summed over dy (labels: the mean over positions), 0 where masked.

        `joint=True` gives `[T]`: one joint density per task, not divided by M.
        """


class Interval(NamedTuple):
    """The ends of a central interval, `[T, M, *dy]`, or `[P, T, M, *dy]` of several; both belong to it."""

    lower: Tensor
    upper: Tensor


@runtime_checkable
class Quantiles(Predictive, Protocol):
    """A belief that also has quantiles, for each point and output by itself, in the units of the predictor.

    A `Predictive` need not have them: class labels have no order, and a class of your own may lack these methods. That
    of whole numbers, such as counts, has an attribute `discrete`, which is True.
    """

    def cdf(self, y: Any) -> Tensor:
        """The probability of an outcome of at most `y [T, M, *dy]`, shaped as `y`. A number `y` holds everywhere."""

    def quantile(self, p: Any) -> Tensor:
        """The smallest outcome whose `cdf` is at least `p`: `[T, M, *dy]`; for several `p`, `[P, T, M, *dy]`.

        `p` is a number from 0 to 1, or a sequence or a tensor with one axis. At 0 and 1 it is the end of the range of
        outcomes, -inf and inf for real ones. Raises ValueError for other numbers, and TypeError for other things.
        """

    def interval(self, level: Any) -> Interval:
        """The quantiles at (1 - level) / 2 and (1 + level) / 2: the central interval of probability `level`."""


class Functions(Sequence[Callable[[Tensor], Tensor]]):
    """`n` functions drawn from a predictor's belief. Each is consistent: the same `x` gives the same values.

    `functions(x [T, M, dx])` evaluates all of them at once, `[n, T, M, dy]`; `functions[i](x)` is one, `[T, M, dy]`.

    Args:
        evaluate: maps `(x, members)` to values `[len(members), T, M, dy]`.
        n: number of functions.
    """

    def __init__(self, evaluate: Callable[[Tensor, list[int]], Tensor], n: int):
        self._evaluate, self._n = evaluate, check_whole("n", n)

    def __call__(self, x: Tensor) -> Tensor:
        """All functions at `x [T, M, dx]`: `[n, T, M, dy]`."""
        return self._evaluate(x, list(range(self._n)))

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(self._n))]
        if not -self._n <= i < self._n:
            raise IndexError(f"function {i} of {self._n}")
        return lambda x: self._evaluate(x, [i % self._n])[0]

    def __iter__(self) -> Iterator[Callable[[Tensor], Tensor]]:
        return (self[i] for i in range(self._n))


@runtime_checkable
class Predictor(Protocol):
    """The result of adapting to a support set: a map from inputs to beliefs, for all `T` tasks at once."""

    def __call__(self, x: Tensor) -> Predictive:
        """The belief at `x [T, M, *dx]`.

        There is no mask here: replace NaN in padding by zeros with `tasks.query.clean().x`, and pass the mask to
        `log_prob`.
        """

    def append(self, examples: Examples) -> Self:
        """The predictor for the union of the support set and `examples`."""

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """`n` functions of `x`, each consistent across calls. Raises NotImplementedError where there are none."""

    def task(self, i: int) -> nn.Module:
        """Task `i`'s adapted model as a plain module `[M, *dx] -> [M, dy]`; NotImplementedError if there is none."""


@runtime_checkable
class Learner(Protocol):
    """An `nn.Module` whose `parameters()` are what meta-training learns."""

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the mean over each task's real query points."""

    def adapt(
        self,
        support: Examples,
        *,
        steps: int | None = None,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> Predictor:
        """The predictor for `support`. `steps=0` and an empty support set give the prior."""


@runtime_checkable
class TaskFamily(Protocol):
    """A distribution over tasks, to sample from."""

    def sample(
        self,
        num_tasks: int,
        *,
        support: int,
        query: int,
        split: Split = "train",
        generator: torch.Generator | None = None,
    ) -> Tasks:
        """`num_tasks` tasks on the generator's device, in the default dtype; a pure function of its state."""


USUAL: Mapping[str, Any] = MappingProxyType({"lr": 1e-3, "schedule": "constant", "clip": None})
"""What `fit` uses for learners without `training_defaults`."""


def training_defaults(learner: Any) -> Mapping[str, Any]:
    """The `lr`, `schedule` and `clip` that `fit` uses where the caller gives none.

    They are those in `learner.training_defaults`, a mapping that may lack some of them, and otherwise `USUAL`.

    Raises:
        TypeError: if `training_defaults` is no mapping, or holds another argument.

    >>> import quickstudy as qs
    >>> dict(training_defaults(qs.CNP()))
    {'lr': 0.001, 'schedule': 'cosine', 'clip': 1.0}
    """
    own = getattr(learner, "training_defaults", USUAL)
    if not isinstance(own, Mapping) or not set(own) <= set(USUAL):
        raise TypeError(
            f"{type(learner).__name__}.training_defaults is {shown(own)}; expected a mapping with some of the keys "
            f"{', '.join(USUAL)}"
        )
    return {**USUAL, **own}


def check_steps(steps: Any, name: str = "steps") -> int:
    """`steps`, or ValueError unless it is a whole number of at least 0."""
    if not isinstance(steps, Integral) or isinstance(steps, bool) or steps < 0:
        raise ValueError(f"{name}={shown(steps)}; expected a whole number of inner steps, at least 0")
    return int(steps)


def check_task(i: Any, num_tasks: int) -> int:
    """The index `i` of a task in a batch, counted from 0; IndexError if there is no such task."""
    place = operator.index(i) if hasattr(i, "__index__") else num_tasks
    if not -num_tasks <= place < num_tasks:
        raise IndexError(f"task({shown(i)}): this predictor has tasks 0 to {num_tasks - 1}")
    return place % num_tasks


def check_generator(generator: Any, device: torch.device | None = None) -> None:
    """Raise TypeError unless `generator` is a `torch.Generator` or None, and ValueError if it is not on `device`."""
    if generator is None:
        return
    if not isinstance(generator, torch.Generator):
        own = f"{type(generator).__module__}.{type(generator).__qualname__}".removeprefix("builtins.")
        raise TypeError(
            f"generator must be a torch.Generator or None, not {own}; use torch.Generator().manual_seed(...)"
        )
    if device is not None and device.type not in (generator.device.type, "meta"):
        raise ValueError(
            f"the generator is on {generator.device} and the data on {device}; use "
            f"torch.Generator('{device.type}').manual_seed(...)"
        )


def check_split(split: str) -> None:
    """Raise ValueError for an unknown split."""
    if not isinstance(split, str) or split not in SPLITS:
        raise ValueError(f"unknown split {shown(split)}; choose one of {', '.join(SPLITS)}")


def check_counts(num_tasks: int, support: int, query: int) -> None:
    """Raise ValueError unless at least one task with one query point and no negative support is asked for."""
    for name, value, least in (("num_tasks", num_tasks, 1), ("support", support, 0), ("query", query, 1)):
        check_whole(name, value, least)


def check_learner(learner: Any) -> None:
    """Raise TypeError unless `learner` is a module with `meta_loss` and `adapt`."""
    check_made("learner", learner)
    if not isinstance(learner, nn.Module) or not all(hasattr(learner, m) for m in ("meta_loss", "adapt")):
        raise TypeError(
            f"learner is a {type(learner).__name__}; expected a torch.nn.Module with meta_loss and adapt, "
            "such as quickstudy.MAML(network)"
        )


def check_adapt(learner: Any, *names: str) -> None:
    """Raise TypeError unless `adapt` takes these keywords of the contract besides the support set."""
    try:
        inspect.signature(learner.adapt).bind(None, **dict.fromkeys(names))
    except TypeError as error:
        raise TypeError(
            f"{type(learner).__name__}.adapt cannot be called with (support, *, {', '.join(names)}): {error}; "
            "define it as adapt(self, support, *, steps=None, create_graph=False, generator=None)"
        ) from None


def check_trainable(learner: nn.Module) -> None:
    """Raise ValueError unless the learner has something to train."""
    if not any(p.requires_grad for p in learner.parameters()):
        raise ValueError(f"{type(learner).__name__} has no parameter that requires grad, so there is nothing to train")


def check_family(family: Any) -> None:
    """Raise TypeError unless `family` can sample tasks."""
    check_made("family", family, "")
    if not callable(getattr(family, "sample", None)):
        raise TypeError(
            f"family is a {type(family).__name__}; expected something with sample(num_tasks, support=, query=, ...), "
            "such as quickstudy.tasks.Sinusoid()"
        )
    try:
        inspect.signature(family.sample).bind(1, support=1, query=1, split="train", generator=None)
    except TypeError as error:
        raise TypeError(
            f"{type(family).__name__}.sample cannot be called with (num_tasks, *, support, query, split, generator): "
            f"{error}; give it these arguments"
        ) from None


def allows_missing(learner: Any) -> bool:
    """Whether NaN in an outcome means, for this learner, that an output was not observed."""
    return getattr(getattr(learner, "head", None), "missing", False)


def check_drawn(tasks: Any, count: int, learner: Any = None) -> None:
    """Raise an error unless `tasks` are `count` tasks that keep the contract; `learner` may allow missing outputs."""
    check_tasks(tasks, missing=allows_missing(learner))
    if tasks.num_tasks != count:
        raise ValueError(f"the family drew {tasks.num_tasks} tasks where {count} were asked for; correct its sample()")

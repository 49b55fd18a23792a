"""Evaluation mode, and what BatchNorm does in it: batch statistics on request, a warning about running statistics."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from weakref import WeakSet

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from quickstudy.gradient.pretrained import Pretrained
from quickstudy.inner.loop import InnerLoop
from quickstudy.nets.step_norm import StepNorm

_warned: WeakSet[nn.Module] = WeakSet()


@contextmanager
def batch_statistics(learner: nn.Module) -> Iterator[None]:
    """While entered, BatchNorm layers normalise each batch by its own statistics, and record none."""
    norms: list[Any] = [m for m in learner.modules() if isinstance(m, _BatchNorm | StepNorm)]
    before = [(norm.training, norm.track_running_stats) for norm in norms]
    try:
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, (training, tracked) in zip(norms, before, strict=True):
            norm.training, norm.track_running_stats = training, tracked


def warn_of_running_statistics(learner: nn.Module) -> None:
    """Warn, once for each learner, if its network trains on batch statistics and will be adapted on running ones.

    Call it before the learner goes into eval mode. There is no warning for `Pretrained`, which learns its running
    statistics as any plain network does, nor for BatchNorm that is in eval mode while the learner trains.
    """
    adapts = any(isinstance(value, InnerLoop) for value in vars(learner).values())
    if learner in _warned or not adapts or isinstance(learner, Pretrained):
        return
    names = [
        name
        for name, module in learner.named_modules()
        if isinstance(module, _BatchNorm)
        and module.running_mean is not None
        and (module.training or not learner.training)
    ]
    if not names:
        return
    _warned.add(learner)
    rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
    warnings.warn(
        f"{type(learner).__name__} is judged in eval mode, where BatchNorm ({names[0]}{rest}) normalises by running "
        "statistics: means over tasks, which do not fit the activations of adapted weights, so scores may fall to "
        "chance. Take qs.nets.replace_batch_norm(network, 'task'), 'meta' or 'group' before training, or measure with "
        "qs.evaluate(..., transductive=True)",
        RuntimeWarning,
        stacklevel=5,
    )


@contextmanager
def evaluating(learner: nn.Module, *, transductive: bool = False) -> Iterator[None]:
    """While entered, the learner is in eval mode; afterwards every part of it is in its former mode.

    Args:
        transductive: BatchNorm layers normalise by batch statistics instead of running ones.
    """
    if not transductive:
        warn_of_running_statistics(learner)
    modes = {module: module.training for module in learner.modules()}
    learner.eval()
    try:
        with batch_statistics(learner) if transductive else nullcontext():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode

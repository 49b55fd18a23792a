"""Eval mode for evaluations: batch statistics for BatchNorm on request, and a warning about running statistics."""

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
    """Make BatchNorm layers normalise each batch by its own statistics, and record none."""
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
    """Warn, once for each learner, if its network is trained on batch statistics but adapted on running statistics.

    Call it before the learner is set to eval mode. There is no warning for `Pretrained`, whose running statistics are
    learned as in any plain network, nor for BatchNorm layers that are in eval mode while the learner trains.
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
        "chance. Use qs.nets.replace_batch_norm(network, 'task'), 'meta' or 'group' before training, or measure with "
        "qs.evaluate(..., transductive=True)",
        RuntimeWarning,
        stacklevel=6,
    )


@contextmanager
def evaluating(learner: nn.Module, *, transductive: bool = False) -> Iterator[None]:
    """Set the learner to eval mode, and restore the mode of each of its modules at the end.

    Args:
        learner: the learner.
        transductive: whether BatchNorm layers normalise by batch statistics instead of running ones.
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

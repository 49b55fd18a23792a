"""Replacement of a network's BatchNorm layers by another normalisation."""

import copy
from collections.abc import Callable
from typing import Any, Literal

from torch import nn

from quickstudy.checks import check_choice, check_whole, shown
from quickstudy.nets.meta_batch_norm import MetaBatchNorm
from quickstudy.nets.task_norm import TaskNorm

Kind = Literal["task", "meta", "group", "transductive"]
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def replace_batch_norm(network: nn.Module, kind: Kind, *, groups: int | None = None) -> nn.Module:
    """A copy of `network` in which another normalisation replaces every BatchNorm layer; weights and biases are kept.

    Args:
        network: is not changed. A layer that occurs several times is replaced by one layer that occurs as often. Hooks
            of the replaced layers are not copied.
        kind: the replacement, and with it the data that normalise a query point. "task" is `TaskNorm` (of kind "layer"
            for `BatchNorm1d`, else "instance"): the support points and the point itself. "meta" is `MetaBatchNorm`: the
            support points. "group" is `torch.nn.GroupNorm`: the point itself. "transductive" is BatchNorm without
            running statistics: all query points of the task, as in published transductive scores.
        groups: number of groups for "group"; by default at most 32, with at least 16 channels each (Wu and He 2018,
            arXiv 1803.08494, use 32 groups, or groups of 16 channels).

    Raises:
        ValueError: for an unknown kind, a network without BatchNorm layers, or groups that do not divide the channels.

    >>> network = torch.nn.Sequential(torch.nn.Conv2d(1, 32, 3), torch.nn.BatchNorm2d(32), torch.nn.ReLU())
    >>> replace_batch_norm(network, "group")[1].num_groups
    2
    """
    check_choice("kind", kind, _MAKERS)
    if groups is not None and kind != "group":
        raise ValueError(f"groups={shown(groups)} belongs to kind='group', not to {kind!r}; leave it out")
    changed = copy.deepcopy(network)
    norms = [module for module in changed.modules() if isinstance(module, BATCH_NORMS)]
    found: dict[Any, nn.Module] = {norm: _replacement(norm, kind, groups) for norm in norms}
    if not found:
        raise ValueError(f"{type(network).__name__} has no BatchNorm layer to replace; use the network as it is")
    for module in list(changed.modules()):
        for name, child in module._modules.items():
            if child in found:
                module._modules[name] = found[child]
    return found.get(changed, changed)


def _replacement(norm: Any, kind: str, groups: int | None) -> nn.Module:
    """The replacement of `norm`, with the same weight, bias and training mode."""
    given = {} if groups is None else {"groups": groups}
    made = _MAKERS[kind](norm, **given)
    if norm.affine:
        made.weight, made.bias = norm.weight, norm.bias
        made.to(norm.weight)
    elif norm.running_mean is not None:
        made.to(norm.running_mean)
    return made.train(norm.training)


def _task(norm: Any) -> nn.Module:
    own: Literal["instance", "layer"] = "layer" if isinstance(norm, nn.BatchNorm1d) else "instance"
    return TaskNorm(norm.num_features, kind=own, eps=norm.eps, affine=norm.affine)


def _meta(norm: Any) -> nn.Module:
    return MetaBatchNorm(norm.num_features, eps=norm.eps, affine=norm.affine)


def _group(norm: Any, groups: int | None = None) -> nn.Module:
    channels = norm.num_features
    if groups is None:
        groups = max(g for g in range(1, 33) if channels % g == 0 and (g == 1 or channels // g >= 16))
    elif channels % check_whole("groups", groups, 1):
        raise ValueError(f"groups={groups} does not divide a layer's {channels} channels; choose a divisor of all")
    return nn.GroupNorm(groups, channels, eps=norm.eps, affine=norm.affine)


def _transductive(norm: Any) -> nn.Module:
    norm.track_running_stats = False
    norm.running_mean = norm.running_var = norm.num_batches_tracked = None
    return norm


_MAKERS: dict[str, Callable[..., Any]] = {"task": _task, "meta": _meta, "group": _group, "transductive": _transductive}

"""Everything of a module, and every source of random numbers, as it stands: to be compared to the bit."""

import random
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


def of_module(network: nn.Module, *, buffers: bool = True) -> dict[str, Any]:
    """Names to what is there: tensors (values, identity, `grad`), modes, hooks, attributes, containers."""
    found: dict[str, Any] = {"keys": list(network.state_dict())}
    for path, module in network.named_modules():
        for key, value in module.__dict__.items():
            if key == "_buffers" and not buffers:
                continue
            is_tree = key == "_modules"
            found[f"{path}:{key}"] = [(k, type(m), id(m)) for k, m in value.items()] if is_tree else frozen(value)
    return found


def frozen(value: Any, depth: int = 6) -> Any:
    """A value that does not change when what it was made of does, and that `==` compares to the bit."""
    if isinstance(value, Tensor):
        grad = None if value.grad_fn is not None or value.grad is None else frozen(value.grad)
        bits = value.detach().cpu().numpy().tobytes()
        return "tensor", id(value), value.requires_grad, str(value.dtype), tuple(value.shape), bits, grad
    if isinstance(value, torch.Generator):
        return "generator", id(value), value.get_state().numpy().tobytes()
    if isinstance(value, np.ndarray):
        return "array", id(value), value.tobytes()
    if isinstance(value, np.random.Generator):
        return "generator", id(value), str(value.bit_generator.state)
    if isinstance(value, random.Random):
        return "generator", id(value), value.getstate()
    if isinstance(value, nn.Module):
        return "module", id(value), tuple(of_module(value).items())
    if depth == 0 or isinstance(value, bool | int | float | str | bytes | type(None)):
        return value
    if isinstance(value, Mapping | OrderedDict):
        return "mapping", id(value), tuple((k, frozen(v, depth - 1)) for k, v in value.items())
    if isinstance(value, list | tuple):
        return type(value).__name__, tuple(frozen(v, depth - 1) for v in value)
    if is_dataclass(value) and not isinstance(value, type):
        return "dataclass", id(value), tuple(frozen(getattr(value, f.name), depth - 1) for f in fields(value))
    if isinstance(value, SimpleNamespace):
        return "namespace", id(value), frozen(vars(value), depth - 1)
    return "object", id(value)


def of_surroundings() -> dict[str, Any]:
    """Random numbers and settings that the whole process shares."""
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": str(np.random.get_state()),
        "random": random.getstate(),
        **settings(),
    }


def settings() -> dict[str, Any]:
    """Of the process, without random numbers."""
    kernels = ("flash", "mem_efficient", "math", "cudnn")
    functions = (F.linear, F.conv1d, F.conv2d, F.embedding, F.layer_norm, torch.utils.checkpoint.checkpoint)
    return {
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "attention": [getattr(torch.backends.cuda, f"{k}_sdp_enabled")() for k in kernels],
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "functions": [id(f) for f in functions],
    }


def difference(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The names of what is not as it was."""
    return [k for k in before.keys() | after.keys() if k not in before or k not in after or before[k] != after[k]]

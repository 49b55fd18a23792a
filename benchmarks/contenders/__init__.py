"""One way of computing a meta-gradient a file; each builds a `Contender` from a `Problem`, or says why it cannot."""

from collections.abc import Callable
from importlib import import_module

from benchmarks.problems import Contender, Problem

# name in the tables -> (file, how it is built)
_HOME = {
    "python loop": ("loop", "build"),
    "higher": ("higher_package", "build"),
    "torchopt": ("torchopt_package", "build"),
    "vmap(grad)": ("vmap_grad", "build"),
    "dense, compiled": ("dense", "build"),
    "JAX jit+vmap": ("jax_jit", "build"),
    "ours, eager": ("ours", "eager"),
    "ours, compiled": ("ours", "compiled"),
    "ours, in fit": ("ours", "in_fit"),
}

NAMES = tuple(_HOME)


def builder(name: str) -> Callable[[Problem], Contender]:
    """The function that builds the contender called `name`.

    Raises:
        ImportError: where the package it measures is not installed.
    """
    file, function = _HOME[name]
    return getattr(import_module(f"benchmarks.contenders.{file}"), function)

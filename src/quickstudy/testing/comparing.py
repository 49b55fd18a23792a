"""Comparisons whose messages hold the values that differ, where, and what to do about it."""

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import torch
from torch import Tensor

EXACT = {torch.float64: (1e-7, 1e-7), torch.float32: (1.3e-6, 1e-5)}  # relative and absolute, as torch.testing has them


def expect(holds: object, what: str, cure: str = "") -> None:
    """Raise AssertionError unless `holds`, with what is wrong and what to do about it."""
    if not holds:
        fail(what, cure)


def fail(what: str, cure: str = "") -> NoReturn:
    """The property does not hold."""
    raise AssertionError(failing(what, cure))


def failing(what: str, cure: str) -> str:
    """What is wrong, and what to do about it in a sentence of its own."""
    return f"{what}. {cure[0].upper()}{cure[1:]}" if cure else what


def expect_tensor(found: Any, name: str) -> None:
    """Raise AssertionError unless `found` is a tensor."""
    expect(isinstance(found, Tensor), f"{name} is a {type(found).__name__}; expected a torch.Tensor")


def expect_shape(found: Any, shape: Iterable[int], name: str) -> None:
    """Raise AssertionError unless `found` is a tensor of that shape."""
    wanted = list(shape)
    expect_tensor(found, name)
    expect(list(found.shape) == wanted, f"{name} has shape {list(found.shape)}; expected {wanted}")


def expect_close(found: Tensor, wanted: Tensor, what: str, cure: str) -> None:
    """Raise AssertionError unless two tensors agree to rounding.

    Args:
        found, wanted: tensors.
        what: a sentence about the difference; the values are added.
        cure: what to do about it.
    """
    _expect_alike(found, wanted, what, cure)
    relative, absolute = EXACT.get(found.dtype, (1.3e-6, 1e-5))
    if not torch.allclose(found, wanted.to(found), rtol=relative, atol=absolute):
        fail(f"{what}: {difference(found, wanted)}", cure)


def expect_equal(found: Tensor, wanted: Tensor, what: str, cure: str) -> None:
    """Raise AssertionError unless two tensors are the same to the last bit."""
    _expect_alike(found, wanted, what, cure)
    if not torch.equal(found, wanted):
        fail(f"{what}: {difference(found, wanted)}", cure)


def _expect_alike(found: Tensor, wanted: Tensor, what: str, cure: str) -> None:
    if found.shape != wanted.shape:
        fail(f"{what}: shape {list(found.shape)} in place of {list(wanted.shape)}", cure)


def difference(found: Tensor, wanted: Tensor) -> str:
    """The two values that differ most, and their place."""
    found, wanted = found.detach(), wanted.detach()
    if found.dim() == 0:
        return f"{value(found)} in place of {value(wanted)}"
    gap = (found.double() - wanted.double()).abs()
    gap = torch.where(gap.isnan(), torch.inf, gap)
    gap = torch.where(found == wanted, 0.0, gap)
    place = tuple(int(i) for i in torch.unravel_index(gap.argmax(), gap.shape))
    return f"{value(found[place])} in place of {value(wanted[place])} at {list(place)}"


def value(number: Tensor) -> str:
    """A number as it is read."""
    return f"{number.item():.6g}" if number.is_floating_point() else str(number.item())


def expect_refused(
    call: Callable[[], Any], kinds: type[Exception] | tuple[type[Exception], ...], what: str, cure: str
) -> Exception:
    """The exception that `call` raises; AssertionError if it raises none, or another kind.

    Args:
        call: without arguments.
        kinds: the exceptions that are expected.
        what: is passed to which function, in words.
        cure: what to do about it.
    """
    names = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
    try:
        call()
    except kinds as refusal:
        expect(str(refusal), f"{what} raises {type(refusal).__name__} without a message", cure)
        return refusal
    except Exception as other:
        words = f"{what} raises {type(other).__name__} ({other}); expected {names}"
        raise AssertionError(failing(words, cure)) from other
    fail(f"{what} raises nothing; expected {names}", cure)


def same_tensors(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """Whether two dictionaries hold the same tensors, to the last bit."""
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)

"""Comparisons whose messages say which values differ, where, and what to do about it."""

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import torch
from torch import Tensor

EXACT = {torch.float64: (1e-7, 1e-7), torch.float32: (1.3e-6, 1e-5)}  # relative and absolute, as in torch.testing


def expect(holds: object, what: str, cure: str = "") -> None:
    """Raise AssertionError unless `holds`.

    Args:
        holds: the condition.
        what: says what is wrong.
        cure: says what to do about it.
    """
    if not holds:
        fail(what, cure)


def fail(what: str, cure: str = "") -> NoReturn:
    """Raise AssertionError with this message."""
    raise AssertionError(failing(what, cure))


def failing(what: str, cure: str) -> str:
    """Return a message that says what is wrong, and what to do about it in a second sentence."""
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
        what: says what differs; the values are added.
        cure: says what to do about it.
    """
    _expect_alike(found, wanted, what, cure)
    relative, absolute = EXACT.get(found.dtype, (1.3e-6, 1e-5))
    if not torch.allclose(found, wanted.to(found), rtol=relative, atol=absolute):
        fail(f"{what}: {difference(found, wanted)}", cure)


def expect_equal(found: Tensor, wanted: Tensor, what: str, cure: str) -> None:
    """Raise AssertionError unless two tensors are exactly equal."""
    _expect_alike(found, wanted, what, cure)
    if not torch.equal(found, wanted):
        fail(f"{what}: {difference(found, wanted)}", cure)


def _expect_alike(found: Tensor, wanted: Tensor, what: str, cure: str) -> None:
    if found.shape != wanted.shape:
        fail(f"{what}: shape {list(found.shape)} in place of {list(wanted.shape)}", cure)


def difference(found: Tensor, wanted: Tensor) -> str:
    """Return a text with the two values that differ most, and their place."""
    found, wanted = found.detach(), wanted.detach()
    if found.dim() == 0:
        return f"{value(found)} in place of {value(wanted)}"
    gap = (found.double() - wanted.double()).abs()
    gap = torch.where(gap.isnan(), torch.inf, gap)
    gap = torch.where(found == wanted, 0.0, gap)
    place = tuple(int(i) for i in torch.unravel_index(gap.argmax(), gap.shape))
    return f"{value(found[place])} in place of {value(wanted[place])} at {list(place)}"


def value(number: Tensor) -> str:
    """Format a number."""
    return f"{number.item():.6g}" if number.is_floating_point() else str(number.item())


def expect_raises(
    call: Callable[[], Any], kinds: type[Exception] | tuple[type[Exception], ...], what: str, cure: str
) -> Exception:
    """Return the exception that `call` raises. Raises AssertionError if it raises none, or another kind.

    Args:
        call: a function without arguments.
        kinds: the expected exceptions.
        what: describes the call.
        cure: says what to do if the exception is not raised.
    """
    names = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
    try:
        call()
    except kinds as error:
        expect(str(error), f"{what} raises {type(error).__name__} without a message", cure)
        return error
    except Exception as other:
        words = f"{what} raises {type(other).__name__} ({other}); expected {names}"
        raise AssertionError(failing(words, cure)) from other
    fail(f"{what} raises nothing; expected {names}", cure)


def same_tensors(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """Return whether two dictionaries hold exactly equal tensors."""
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)

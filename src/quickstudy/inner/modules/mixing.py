"""Whether a network or its loss mixes the points of a batch, as batch statistics and attention over points do.

This is found by following every operation of a forward pass, as `torch.vmap` does. The outputs of a network would show
a mixture only for some points and some weights; its operations show it for all.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from quickstudy.data import Examples
from quickstudy.inner.modules.copies import copy_apart, copy_with
from quickstudy.inner.modules.operations import (
    Axis,
    Op,
    differ,
    draw_numbers,
    mixture,
    numbers_there,
    place_of,
    plain_arguments,
    storage_of,
    written,
)
from quickstudy.inner.modules.outputs import map_outputs
from quickstudy.inner.modules.purity import reseed, untouched
from quickstudy.inner.modules.settings import Settings
from quickstudy.inner.modules.tree import loose_tensors, named_tensors, owned_tensors
from quickstudy.inner.problem import Problem, owner_of

FEW, MORE = 3, 4  # numbers of points: an axis that grows in this proportion is an axis of points
_SIZES = frozenset(("size", "sizes", "input_size", "input_sizes", "self_size", "split_sizes", "repeats", "end", "N"))
_EMPTY = frozenset(("empty", "new_empty", "empty_strided", "new_empty_strided", "empty_like"))  # uninitialised


class Mixing:
    """Decides whether points mix, and remembers it for each setting of the network and the losses.

    In doubt the answer is yes: tasks of unequal size then run in groups of equal size, slower and always right.
    """

    def __init__(self) -> None:
        self.settings = Settings()
        self.found: dict[Any, set[int] | None] = {}  # sizes of tasks at which points do not mix; None: they mix

    def __call__(self, problem: Problem, examples: Examples, *, judged: bool = True) -> bool:
        """Whether the output at a point depends on other points, or on their number.

        Args:
            problem: its network and losses.
            examples: the points.
            judged: whether losses of the outputs are computed; with the user's own objective they are not.
        """
        losses: list[Any] = [f for f in (problem.loss, problem.inner_loss) if f is not None]
        losses = losses if judged and problem.objective is None else []
        key = self.settings(problem.network, *losses)
        known = self.found.get(key, set())
        if known is None:
            return True
        sizes = {examples.num_points, *examples.sizes().tolist()} - known - {0}
        if not sizes:
            return False
        inputs = {k: v.detach() for k, v in problem.inputs.items()}
        try:
            tried = key in self.found
            mixes = any(
                mixes_points(problem.network, examples, sizes, inputs, loss, tried=tried)
                for loss in (losses or (None,))
            )
        except Exception:  # plain PyTorch will raise an error of the user's again
            return True
        self.found[key] = None if mixes else known | sizes
        return mixes

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Mixing, ()


def mixes_points(
    network: nn.Module,
    examples: Examples,
    sizes: Iterable[int],
    inputs: Mapping[str, Tensor] | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    *,
    tried: bool = False,
) -> bool:
    """Whether a point's output can depend on other points or on their number, for any weights and points.

    Each operation of a pass is tried by itself on random inputs: if one point of an input changes, only the same point
    of the result may change. A network that reads a value (`if x.max() > 1`), or whose operations depend on the number
    of points other than through sizes, counts as mixing.

    Args:
        network: the module.
        examples: points for trial passes.
        sizes: numbers of points of the tasks.
        inputs: extra inputs of the network.
        loss: `(output, y) -> [N]`; if given, its values are examined instead of the outputs.
        tried: whether the operations are known not to mix, so that only the sizes need to be tried.
    """
    points = [t[examples.real()] for t in ((examples.x,) if loss is None else (examples.x, examples.y))]
    order = torch.randperm(len(points[0]), generator=torch.Generator().manual_seed(0))  # labels can be sorted
    points = [t[order.to(t.device)] for t in points]

    def copied() -> tuple[Callable[..., Any], list[Tensor]]:
        return _copy(network, inputs, loss)

    with torch.enable_grad(), untouched(network, loss):  # the network may take derivatives of its own
        loose = [*loose_tensors(network), *_tensors_of_loss(loss)]
        try:
            few = _Pass(copied, loose, points, FEW, None)
            if not tried:
                _Pass(copied, loose, points, MORE, few, tries=True)
            for size in sizes:
                if size == 1:  # torch itself uses other operations for one point
                    few.same_for_one(copied, points)
                elif size not in (FEW, MORE):
                    _Pass(copied, loose, points, size, few)
        except _Mixed:
            return True
    return False


class _Mixed(Exception):
    """Raised where points mix, or may mix."""


class _Pass(TorchDispatchMode):
    """One pass over `size` points, whose operations are compared with those of a pass over `FEW` other points.

    Args:
        copied: makes a copy of the model, and returns it with its tensors.
        loose: other tensors that the model reads.
        points: inputs, and outcomes for the loss; the same points are taken from each tensor.
        size: number of points.
        beside: the pass over `FEW` points; None if this is that pass.
        tries: whether to try each operation on random inputs.

    Raises:
        _Mixed: if points mix.
    """

    def __init__(
        self,
        copied: Callable[[], tuple[Callable[..., Any], list[Tensor]]],
        loose: list[Tensor],
        points: list[Tensor],
        size: int,
        beside: "_Pass | None",
        tries: bool = False,
    ):
        super().__init__()
        self.size, self.beside, self.tries = size, beside, tries
        self.ops: list[Op] = []
        self.kept: list[Any] = []
        self.axes: dict[Any, Axis] = {}
        self.known: set[int] = set()  # storages of the given tensors, and of results of operations
        self.shared: set[int] = set()  # storages of tensors that depend on all points
        self.chance = torch.Generator().manual_seed(0)
        first = 0 if beside is None else FEW  # other points, so that what depends on their values differs
        given = [t[(torch.arange(size, device=t.device) + first) % len(t)].clone() for t in points]
        model, own = copied()
        self.known.update(map(storage_of, [*given, *own, *loose]))
        with self:
            self.outputs = _run(model, given)
        self._end(own)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # views, since an operation can change the shape of the tensor itself
        read = [t.detach() for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        op = Op(func, plain_arguments(func, args, kwargs), read, [])
        if self.beside is None:
            op = op._replace(read=[t if storage_of(t) in self.known else t.clone() for t in read])
        tried = list(self._tried(op, args, kwargs)) if self.tries else []
        out = func(*args, **kwargs)
        gave = [t for t in tree_leaves(out) if isinstance(t, Tensor)] + written(func, args, kwargs)
        if read and not gave and tree_leaves(out):
            raise _Mixed("a value is read, and its use cannot be followed")
        self.kept.append(gave)  # kept alive, so that their storages stay distinct
        op.gave.extend(t.clone() if self.beside is None else t.detach() for t in gave)
        self._seen(op, tried)
        self.known.update(map(storage_of, gave))
        return out

    def _seen(self, op: Op, tried: list[list[list[Tensor]]]) -> None:
        """Record one operation, and compare it."""
        self.ops.append(op)
        if self.beside is not None:
            self._compare()
            if tried:
                self._judge(op, tried)

    def _axis(self, tensor: Tensor, other: Tensor) -> "Axis | None":
        """The axis of points of a tensor whose counterpart for `FEW` points is `other`; None if it has none.

        Raises:
            ValueError: if the sizes differ in another way.
        """
        if tensor.dim() != other.dim():
            raise ValueError
        dims = [d for d, (a, b) in enumerate(zip(tensor.shape, other.shape, strict=True)) if a != b]
        if not dims:
            return None
        dim = dims[0]
        if len(dims) > 1 or tensor.shape[dim] * FEW != other.shape[dim] * self.size:
            raise ValueError
        return self.axes.get(place_of(tensor), Axis(dim, tensor.shape[dim] // self.size))

    def _kind(self, tensor: Tensor, other: Tensor) -> "Axis | bool":
        """The axis of points; for a tensor without one, whether it depends on all points."""
        try:
            axis = self._axis(tensor, other)
        except ValueError:
            return True
        return storage_of(tensor) in self.shared if axis is None else axis

    def _compare(self) -> None:
        """Compare the last operation with its counterpart: arguments that are no tensors may differ only in sizes."""
        op, other = self.ops[-1], self._counterpart(self.ops[-1], len(self.ops) - 1)
        if other is None or len(op.gave) != len(other.gave):
            raise _Mixed("the operations depend on the points or their number")
        for tensor, counterpart in zip(op.read, other.read, strict=True):
            if storage_of(tensor) not in self.known:  # it was created outside torch's operations
                self._same_for_few(tensor, counterpart)
                self.known.add(storage_of(tensor))
        others = dict(other.plain)
        differ = {name for name, value in op.plain if others.get(name) != value}
        name = op.function.overloadpacket.__name__
        if not differ or name in _EMPTY:
            return
        over_points = any(isinstance(self._kind(t, c), Axis) for t, c in zip(op.read, other.read, strict=True))
        if over_points and not differ <= _SIZES:
            raise _Mixed("an operation depends on the number of points")
        for tensor, counterpart in zip(op.gave, other.gave, strict=True):
            if not isinstance(self._kind(tensor, counterpart), Axis):
                raise _Mixed("an operation depends on the number of points")
            if not over_points and torch.Tag.nondeterministic_seeded not in op.function.tags:
                self._same_for_few(tensor, counterpart)

    def _same_for_few(self, tensor: Tensor, other: Tensor) -> None:
        """Raise unless the numbers for more points begin with those for fewer points."""
        kind = self._kind(tensor, other)
        if isinstance(kind, Axis):
            one, two = tensor.movedim(kind.dim, 0), other.movedim(kind.dim, 0)
            least = min(len(one), len(two))
            if torch.equal(one[:least], two[:least]):
                return
        elif not kind and torch.equal(tensor, other):
            return
        raise _Mixed("numbers depend on the points or their number")

    def _counterpart(self, op: Op, number: int) -> Op | None:
        """The operation with the same number in the other pass; None if there is no such one."""
        ops = self.beside.ops if self.beside is not None else []
        other = ops[number] if number < len(ops) else None
        same = other is not None and other.function is op.function and len(other.read) == len(op.read)
        return other if same else None

    def _tried(self, op: Op, args: Any, kwargs: Any) -> Iterator[list[list[Tensor]]]:
        """Results of an operation for random inputs: unchanged, with each point changed, with shared inputs changed.

        There are none if the operation does not depend on the points.
        """
        func, read, other = op.function, op.read, self._counterpart(op, len(self.ops))
        if other is None or func.overloadpacket.__name__ in _EMPTY:
            return
        kinds = [self._kind(t, c) for t, c in zip(read, other.read, strict=True)]
        if not any(kinds):
            return

        def run(drawn: list[Tensor], moved: list[Tensor], which: int | None) -> list[Tensor]:
            """Run with the point `which` changed; -1 changes the inputs that depend on all points."""
            rest = iter(mixture(drawn, moved, kinds, which, self.size))
            some, named = tree_map(lambda a: next(rest) if isinstance(a, Tensor) else a, (args, kwargs))
            reseed(0)
            out = func(*some, **named)
            return [t for t in tree_leaves(out) if isinstance(t, Tensor)] + written(func, some, named)

        places = [None, *range(self.size), *([-1] if any(k is True for k in kinds) else [])]
        moves = False
        for turn in range(2):
            found = None
            for draw in (draw_numbers, numbers_there):
                try:
                    pairs = [draw(t, k, turn, self.chance) for t, k in zip(read, kinds, strict=True)]
                    found = [run([a for a, _ in pairs], [b for _, b in pairs], place) for place in places]
                    moves = moves or all(
                        _moves(a, b) for (a, b), k in zip(pairs, kinds, strict=True) if isinstance(k, Axis)
                    )
                    break
                except (RuntimeError, IndexError, ValueError):  # the operation does not accept these numbers
                    continue
            if found is None:
                raise _Mixed("an operation cannot be tried")
            yield found
        if not moves:  # all points are equal, such as labels of one class
            raise _Mixed("an operation cannot be tried")

    def _judge(self, op: Op, tried: list[list[list[Tensor]]]) -> None:
        """Find which points of the results depend on which points of the inputs."""
        counterpart = self._counterpart(op, len(self.ops) - 1)
        assert counterpart is not None  # `_compare` saw it
        for place, (tensor, other) in enumerate(zip(op.gave, counterpart.gave, strict=True)):
            changes = [[differ(turn[0][place], after[place]) for after in turn[1:]] for turn in tried]
            by_point = [turn[: self.size] for turn in changes]
            by_shared = [c for turn in changes for c in turn[self.size :]]
            kind = self._kind(tensor, other)
            if not isinstance(kind, Axis):
                if any(bool(c.any()) for turn in changes for c in turn):
                    self.shared.add(storage_of(tensor))
                continue
            if any(bool(c.any()) for c in by_shared):
                raise _Mixed("a tensor that depends on all points enters each of them")
            self.axes[place_of(tensor)] = self._apart(kind.dim, tensor.shape[kind.dim], by_point)

    def _apart(self, dim: int, length: int, changes: list[list[Tensor]]) -> Axis:
        """The axis of points, if each point of the result depends on one point of the input."""
        belongs = torch.arange(length)
        along = [[c.movedim(dim, 0).reshape(length, -1).any(1).cpu() for c in turn] for turn in changes]
        most = length // self.size
        for inner in sorted((i for i in range(1, most + 1) if most % i == 0), reverse=True):
            mine = [(belongs // inner) % self.size == i for i in range(self.size)]
            if all(not bool((c & ~mine[i]).any()) for turn in along for i, c in enumerate(turn)):
                return Axis(dim, inner)
        raise _Mixed("points depend on others")

    def same_for_one(self, copied: Callable[[], tuple[Callable[..., Any], list[Tensor]]], points: list[Tensor]) -> None:
        """Raise unless one point alone has the same output as among `FEW` points."""
        alone = _run(copied()[0], [t[:1].clone() for t in points])
        drawn = any(torch.Tag.nondeterministic_seeded in op.function.tags for op in self.ops)
        for one, among in zip(alone, self.outputs, strict=True):
            first, allowed = among[:1], 1e-4 * float(among.abs().max())
            if one.shape != first.shape or not (drawn or torch.allclose(one, first, 1e-4, allowed, equal_nan=True)):
                raise _Mixed("an output depends on the number of points")

    def _end(self, own: list[Tensor]) -> None:
        """Raise unless points are the first axis of all outputs, and no tensor of the network depends on all points."""
        found = self.outputs
        if not found or any(t.dim() == 0 or len(t) != self.size for t in found):
            raise _Mixed("an output has no axis of points")
        if self.beside is None:
            return
        if len(self.ops) != len(self.beside.ops) or len(found) != len(self.beside.outputs):
            raise _Mixed("the operations depend on the points or their number")
        if self.tries:
            kinds = [self._kind(t, c) for t, c in zip(found, self.beside.outputs, strict=True)]
            if any(k != Axis(0, 1) for k in kinds) or self.shared & set(map(storage_of, own)):
                raise _Mixed("an output, or a buffer, depends on all points")


def _copy(
    network: nn.Module, inputs: Mapping[str, Tensor] | None, loss: Callable[[Tensor, Tensor], Tensor] | None
) -> tuple[Callable[..., Any], list[Tensor]]:
    """A copy of the network with its extra inputs filled in, followed by the loss; and the copied tensors."""
    own = {k: t.detach().clone() for k, t in named_tensors(network).items()}
    given = {k: v.clone() for k, v in (inputs or {}).items()}
    model = copy_with(copy_apart(network), own, named_tensors(network))

    def judged(x: Tensor, *y: Tensor) -> Any:
        out = model(x, **given)
        if loss is None:
            return out
        found = loss(out, *y)
        return found if found.dim() else out  # a loss of one number raises an error later if there is padding

    return judged, [*own.values(), *given.values()]


def _moves(one: Tensor, other: Tensor) -> bool:
    """Whether the inputs change; always True for bools, which change in at least one of the two turns."""
    return one.dtype == torch.bool or not one.numel() or not torch.equal(one, other)


def _tensors_of_loss(loss: Any) -> list[Tensor]:
    owner = owner_of(loss)
    return [] if owner is None else owned_tensors(owner)


def _run(model: Callable[..., Any], points: list[Tensor]) -> list[Tensor]:
    """All outputs, with the same random numbers in every run."""
    reseed(0)
    found: list[Tensor] = []
    map_outputs(lambda t: found.append(t.detach()), model(*points))
    return found

"""Whether a network, or its loss, mixes the points of a batch: by batch statistics, attention, a maximum over points.

Found by following every operation of a pass, as `torch.vmap` does, and not by what comes out of it: what a network
puts out shows a mixture only for some points and some weights, its operations show it for all.
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

FEW, MORE = 3, 4  # points: what grows from one to the other, in this proportion, has an axis of points
_SIZES = frozenset(("size", "sizes", "input_size", "input_sizes", "self_size", "split_sizes", "repeats", "end", "N"))
_EMPTY = frozenset(("empty", "new_empty", "empty_strided", "new_empty_strided", "empty_like"))  # whatever was there


class Mixing:
    """Remembers what was found, for each way the network and the losses are set; in doubt they mix.

    Unequal tasks then run grouped by size, which costs time and is always right.
    """

    def __init__(self) -> None:
        self.settings = Settings()
        self.found: dict[Any, set[int] | None] = {}  # sizes of tasks whose points are apart; None: they are not

    def __call__(self, problem: Problem, examples: Examples, *, judged: bool = True) -> bool:
        """Whether an output depends on other points than its own, or on how many there are.

        Args:
            judged: whether the losses are taken of the outputs; with an objective of the user's own they are not.
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
        except Exception:  # whatever it is, plain PyTorch on a task's own points says it again; until then in doubt
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
    """Whether a point's output can depend on other points, or on how many there are, whatever weights and points are.

    Each operation of a pass is tried by itself, on numbers drawn for it: where one point of what it reads is moved,
    only that point of what it gives may change. A network that reads a value (`if x.max() > 1`), or whose operations
    depend on the number of points in another way than by sizes, counts as one that mixes.

    Args:
        examples: where points are taken from.
        sizes: how many points tasks have.
        inputs: further inputs of the network.
        loss: `(output, y) -> [N]`, whose values are looked at in the place of the outputs.
        tried: whether the operations were, so that only the sizes are new.
    """
    points = [t[examples.real()] for t in ((examples.x,) if loss is None else (examples.x, examples.y))]
    order = torch.randperm(len(points[0]), generator=torch.Generator().manual_seed(0))  # labels may come sorted
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
                if size == 1:  # where torch itself goes other ways
                    few.same_for_one(copied, points)
                elif size not in (FEW, MORE):
                    _Pass(copied, loose, points, size, few)
        except _Mixed:
            return True
    return False


class _Mixed(Exception):
    """What was found, or cannot be excluded."""


class _Pass(TorchDispatchMode):
    """One pass over so many points, operation by operation beside a pass over `FEW` others.

    Args:
        copied: makes a model of copies, and gives their tensors.
        loose: tensors that the model reads besides.
        points: of which some are taken, all alike of each tensor.
        size: how many.
        beside: that pass; None for itself.
        tries: each operation, on numbers of its own.

    Raises:
        _Mixed: where points are not apart.
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
        self.known: set[int] = set()  # storages whose tensors were given, or came from an operation
        self.shared: set[int] = set()  # storages of what was made over the points
        self.chance = torch.Generator().manual_seed(0)
        first = 0 if beside is None else FEW  # other points: what follows from their values unseen is not the same
        given = [t[(torch.arange(size, device=t.device) + first) % len(t)].clone() for t in points]
        model, own = copied()
        self.known.update(map(storage_of, [*given, *own, *loose]))
        with self:
            self.outputs = _run(model, given)
        self._end(own)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # other tensors of the same storages: an operation may give the very tensor another shape
        read = [t.detach() for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        op = Op(func, plain_arguments(func, args, kwargs), read, [])
        if self.beside is None:
            op = op._replace(read=[t if storage_of(t) in self.known else t.clone() for t in read])
        tried = list(self._tried(op, args, kwargs)) if self.tries else []
        out = func(*args, **kwargs)
        gave = [t for t in tree_leaves(out) if isinstance(t, Tensor)] + written(func, args, kwargs)
        if read and not gave and tree_leaves(out):
            raise _Mixed("a value is read, and what is done with it cannot be seen")
        self.kept.append(gave)  # as long as they live, their storages are told apart
        op.gave.extend(t.clone() if self.beside is None else t.detach() for t in gave)
        self._seen(op, tried)
        self.known.update(map(storage_of, gave))
        return out

    def _seen(self, op: Op, tried: list[list[list[Tensor]]]) -> None:
        """One operation more."""
        self.ops.append(op)
        if self.beside is not None:
            self._compare()
            if tried:
                self._judge(op, tried)

    def _axis(self, tensor: Tensor, other: Tensor) -> "Axis | None":
        """The axis of points of a tensor whose counterpart for `FEW` is `other`; None if it has none.

        Raises:
            ValueError: where sizes differ in another way.
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
        """The axis of points; without one, whether the tensor was made over the points."""
        try:
            axis = self._axis(tensor, other)
        except ValueError:
            return True
        return storage_of(tensor) in self.shared if axis is None else axis

    def _compare(self) -> None:
        """The last operation with its counterpart: the same, and what is no tensor may differ in sizes alone."""
        op, other = self.ops[-1], self._counterpart(self.ops[-1], len(self.ops) - 1)
        if other is None or len(op.gave) != len(other.gave):
            raise _Mixed("what is done depends on the points, or on how many there are")
        for tensor, counterpart in zip(op.read, other.read, strict=True):
            if storage_of(tensor) not in self.known:  # it came from outside torch
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
        """What is made for more points begins with what is made for fewer."""
        kind = self._kind(tensor, other)
        if isinstance(kind, Axis):
            one, two = tensor.movedim(kind.dim, 0), other.movedim(kind.dim, 0)
            least = min(len(one), len(two))
            if torch.equal(one[:least], two[:least]):
                return
        elif not kind and torch.equal(tensor, other):
            return
        raise _Mixed("numbers depend on the points, or on how many there are")

    def _counterpart(self, op: Op, number: int) -> Op | None:
        """The operation in its place in the other pass."""
        ops = self.beside.ops if self.beside is not None else []
        other = ops[number] if number < len(ops) else None
        same = other is not None and other.function is op.function and len(other.read) == len(op.read)
        return other if same else None

    def _tried(self, op: Op, args: Any, kwargs: Any) -> Iterator[list[list[Tensor]]]:
        """What an operation makes of numbers drawn for it: as they are, with each point moved, with the rest moved.

        Nothing where it reads nothing of the points.
        """
        func, read, other = op.function, op.read, self._counterpart(op, len(self.ops))
        if other is None or func.overloadpacket.__name__ in _EMPTY:
            return
        kinds = [self._kind(t, c) for t, c in zip(read, other.read, strict=True)]
        if not any(kinds):
            return

        def run(drawn: list[Tensor], moved: list[Tensor], which: int | None) -> list[Tensor]:
            """`which` point is moved; -1 for what was made over the points."""
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
                except (RuntimeError, IndexError, ValueError):  # numbers that the operation does not take
                    continue
            if found is None:
                raise _Mixed("an operation cannot be tried")
            yield found
        if not moves:  # all points are alike, as labels of one class
            raise _Mixed("an operation cannot be tried")

    def _judge(self, op: Op, tried: list[list[list[Tensor]]]) -> None:
        """Which points of what an operation gave depend on which."""
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
                raise _Mixed("what was made over the points goes into each of them")
            self.axes[place_of(tensor)] = self._apart(kind.dim, tensor.shape[kind.dim], by_point)

    def _apart(self, dim: int, length: int, changes: list[list[Tensor]]) -> Axis:
        """How the points lie along an axis, where each changes by itself alone."""
        belongs = torch.arange(length)
        along = [[c.movedim(dim, 0).reshape(length, -1).any(1).cpu() for c in turn] for turn in changes]
        most = length // self.size
        for inner in sorted((i for i in range(1, most + 1) if most % i == 0), reverse=True):
            mine = [(belongs // inner) % self.size == i for i in range(self.size)]
            if all(not bool((c & ~mine[i]).any()) for turn in along for i, c in enumerate(turn)):
                return Axis(dim, inner)
        raise _Mixed("points depend on others")

    def same_for_one(self, copied: Callable[[], tuple[Callable[..., Any], list[Tensor]]], points: list[Tensor]) -> None:
        """A point alone is given what it was given among `FEW`."""
        alone = _run(copied()[0], [t[:1].clone() for t in points])
        drawn = any(torch.Tag.nondeterministic_seeded in op.function.tags for op in self.ops)
        for one, among in zip(alone, self.outputs, strict=True):
            first, allowed = among[:1], 1e-4 * float(among.abs().max())
            if one.shape != first.shape or not (drawn or torch.allclose(one, first, 1e-4, allowed, equal_nan=True)):
                raise _Mixed("an output depends on the number of points")

    def _end(self, own: list[Tensor]) -> None:
        """Every output has its own points first, and nothing of the network's depends on all of them."""
        found = self.outputs
        if not found or any(t.dim() == 0 or len(t) != self.size for t in found):
            raise _Mixed("an output is not one of each point")
        if self.beside is None:
            return
        if len(self.ops) != len(self.beside.ops) or len(found) != len(self.beside.outputs):
            raise _Mixed("what is done depends on the points, or on how many there are")
        if self.tries:
            kinds = [self._kind(t, c) for t, c in zip(found, self.beside.outputs, strict=True)]
            if any(k != Axis(0, 1) for k in kinds) or self.shared & set(map(storage_of, own)):
                raise _Mixed("an output, or a buffer, depends on all points")


def _copy(
    network: nn.Module, inputs: Mapping[str, Tensor] | None, loss: Callable[[Tensor, Tensor], Tensor] | None
) -> tuple[Callable[..., Any], list[Tensor]]:
    """The network on copies of its tensors, with its further inputs filled in, and its loss; and those tensors."""
    own = {k: t.detach().clone() for k, t in named_tensors(network).items()}
    given = {k: v.clone() for k, v in (inputs or {}).items()}
    model = copy_with(copy_apart(network), own, named_tensors(network))

    def judged(x: Tensor, *y: Tensor) -> Any:
        out = model(x, **given)
        if loss is None:
            return out
        found = loss(out, *y)
        return found if found.dim() else out  # one number for a task with padding is an error that comes later

    return judged, [*own.values(), *given.values()]


def _moves(one: Tensor, other: Tensor) -> bool:
    """Whether numbers are put in the place of others; of truth values, one of two turns may leave them."""
    return one.dtype == torch.bool or not one.numel() or not torch.equal(one, other)


def _tensors_of_loss(loss: Any) -> list[Tensor]:
    owner = owner_of(loss)
    return [] if owner is None else owned_tensors(owner)


def _run(model: Callable[..., Any], points: list[Tensor]) -> list[Tensor]:
    """Everything that comes out, drawing the same random numbers each time."""
    reseed(0)
    found: list[Tensor] = []
    map_outputs(lambda t: found.append(t.detach()), model(*points))
    return found

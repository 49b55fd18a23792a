"""Whether a network mixes the points of a batch, as through batch statistics, attention or a maximum over points."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.data import Examples
from quickstudy.inner.modules.copies import copy_apart, copy_with, named_tensors
from quickstudy.inner.modules.outputs import map_outputs
from quickstudy.inner.modules.purity import untouched
from quickstudy.inner.modules.settings import settings_of
from quickstudy.inner.problem import Problem

POINTS = 6  # tried at a time
SHAKES = 4  # of the weights; a layer that starts at zero, and a unit that is dead, hide what lies before them


class Mixing:
    """Remembers what was found, for each way the network is set; in doubt a network mixes.

    Unequal tasks then run grouped by size, which costs time and is always right.
    """

    def __init__(self) -> None:
        self.found: dict[Any, bool] = {}

    def __call__(self, problem: Problem, examples: Examples) -> bool:
        """Whether an output depends on other points than its own."""
        key = settings_of(problem.network)
        if key not in self.found:
            inputs = {k: v.detach() for k, v in problem.inputs.items()}
            try:
                found = mixes_points(problem.network, examples, inputs)
            except Exception:  # whatever it is, plain PyTorch on a task's own points says it again; until then in doubt
                found = None
            if found is None:
                return True
            self.found[key] = found
        return self.found[key]

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Mixing, ()


def mixes_points(network: nn.Module, examples: Examples, inputs: Mapping[str, Tensor] | None = None) -> bool | None:
    """Whether a point's output depends on other points.

    Found by trying: each of some points is replaced by others, and the outputs of the rest must not change, with the
    weights as they are and shaken. A trial counts where every point's own output changes with it. In doubt the answer
    is None.

    Args:
        examples: where the points are taken from.
        inputs: further inputs of the network.
    """
    points = examples.x[examples.real()]
    points = points[torch.linspace(0, len(points) - 1, POINTS, device=points.device).long()] if len(points) else points
    if len(points) < 2 or not bool((points != points[:1]).any()):
        return None
    told = False
    with torch.enable_grad(), untouched(network):  # the network may take derivatives of its own
        for shake, state in enumerate(_shaken(network)):
            base = _outputs(network, state, points, inputs)
            reacts = []
            for place in range(len(points)):
                other = _outputs(network, state, _replaced(points, place, shake), inputs)
                if base is None or other is None or base.shape != other.shape:
                    return True
                changed = _changed(base, other)
                reacts.append(bool(changed[place]))
                changed[place] = False
                if bool(changed.any()):
                    return True
            told = told or all(reacts)
    return False if told else None


def _shaken(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """The network's tensors: as they are, and with more and more noise."""
    chance = torch.Generator().manual_seed(0)
    for shake in range(SHAKES):
        state = {k: t.detach().clone() for k, t in named_tensors(network).items()}
        for name, p in network.named_parameters():
            if shake and p.is_floating_point() and p.numel():
                scale = 0.2 * shake * (0.5 + float(p.detach().abs().mean()))
                state[name] += scale * torch.randn(p.shape, generator=chance).to(p)
        yield state


def _replaced(points: Tensor, place: int, shake: int) -> Tensor:
    """One point replaced by another that differs."""
    others = [p for p in torch.roll(points, -place - 1, 0) if bool((p != points[place]).any())]
    line = points.clone()
    line[place] = others[shake % len(others)]
    return line


def _changed(base: Tensor, other: Tensor) -> Tensor:
    """Which points' outputs differ by more than rounding."""
    close = 1e-5 if base.dtype in (torch.float32, torch.float64) else 1e-2
    apart = (base - other).abs().flatten(1).amax(1).cpu()
    return ~(apart <= close * float(base.abs().max()) + 1e-12)


def _outputs(network: nn.Module, state: dict[str, Tensor], points: Tensor, inputs: Any) -> Tensor | None:
    """Everything the network puts out for every point, `[points, *]`; None where it is not that many."""
    torch.manual_seed(0)  # the same dropout each time
    own = {k: t.clone() for k, t in state.items()}
    value = copy_with(copy_apart(network), own, named_tensors(network))(points, **(inputs or {}))
    found: list[Tensor] = []
    map_outputs(lambda t: found.append(t.detach()), value)
    if not found or any(t.dim() == 0 or len(t) != len(points) for t in found):
        return None
    return torch.cat([t.reshape(len(points), -1).to(found[0].dtype) for t in found], 1)

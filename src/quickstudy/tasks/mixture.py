"""Families mixed: each task is drawn from one of several."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self, final

import torch
from torch import Tensor

from quickstudy.data import Examples, Tasks
from quickstudy.learner import Split, TaskFamily, check_family
from quickstudy.tasks.gaussian_process import GaussianProcess
from quickstudy.tasks.sampling import Batch
from quickstudy.tasks.sawtooth import Sawtooth


@final
@dataclass(frozen=True)
class Mixture:
    """Each task comes from one of several families, with equal odds.

    Args:
        families: at least two families whose inputs are vectors of one length, and whose outputs too.

    Raises:
        TypeError: for what is no family.
        ValueError: for fewer than two families, or families with different numbers of features.

    >>> family = Mixture.bruinsma2023()
    >>> tasks = family.sample(100, support=10, query=20, generator=torch.Generator().manual_seed(0))
    >>> tasks.query.y.shape, tasks.info["family"].unique()  # the place in `families` of each task's
    (torch.Size([100, 20, 1]), tensor([0, 1, 2, 3]))
    """

    families: Sequence[TaskFamily]

    def __post_init__(self) -> None:
        if not isinstance(self.families, Iterable):
            raise TypeError(f"families is a {type(self.families).__name__}; expected several families, in a list")
        object.__setattr__(self, "families", tuple(self.families))
        for family in self.families:
            check_family(family)
        if len(self.families) < 2:
            raise ValueError(f"families has {len(self.families)} entries; expected at least two")
        sizes = {(family.dx, family.dy) for family in self._own()}
        if len(sizes) > 1:
            raise ValueError(f"the families have different sizes (dx, dy): {sorted(sizes)}; expected the same for all")

    @classmethod
    def bruinsma2023(cls, *, dx: int = 1) -> Self:
        """The mixture of Bruinsma et al. 2023 (Autoregressive CNPs): three Gaussian processes and the sawtooth.

        The Gaussian processes are `GaussianProcess.fixed` with the kernels rbf, matern52 and weakly_periodic, whose
        observations have noise; the sawtooth has none.
        """
        kernels = (GaussianProcess.fixed(k, dx=dx) for k in ("rbf", "matern52", "weakly_periodic"))
        return cls((*kernels, Sawtooth.named("bruinsma2023", dx=dx)))

    @property
    def dx(self) -> int:
        """The number of features of an input."""
        return int(self._own()[0].dx)

    @property
    def dy(self) -> int:
        """The number of outputs."""
        return int(self._own()[0].dy)

    def sample(
        self,
        num_tasks: int,
        *,
        support: int,
        query: int,
        split: Split = "train",
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Tasks:
        """Draw tasks; `options` (such as `grid`) go to every family, other arguments are those of `Sinusoid.sample`.

        Returns:
            Tasks with `info` family `[T]`, the place of each task's family, and the values that `info` has in all
            families.
        """
        batch = Batch(num_tasks, support, query, split, generator)
        kinds = (batch.draw(torch.rand, (num_tasks, 1), axis=0) * len(self.families)).long().squeeze(1)
        kinds.clamp_(max=len(self.families) - 1)  # a share just under 1 may round up
        counts = kinds.bincount(minlength=len(self.families)).tolist()
        drawn = [  # also of families without a task in this batch, since info must not depend on it
            family.sample(max(count, 1), support=support, query=query, split=split, generator=batch.stream(), **options)
            for family, count in zip(self.families, counts, strict=True)
        ]
        parts = [part.select(slice(count)) for part, count in zip(drawn, counts, strict=True)]
        back = kinds.argsort(stable=True).argsort()  # from the tasks in the order of the families to that of `kinds`
        shared = [key for key in parts[0].info if _is_shared(key, parts)]
        info = {key: torch.cat([part.info[key] for part in parts])[back] for key in shared}
        given, asked = (_joined([getattr(part, name) for part in parts], back) for name in ("support", "query"))
        return Tasks(given, asked, info | {"family": kinds})

    def _own(self) -> Sequence[Any]:
        """The families, which have `dx` and `dy`."""
        return self.families


def _is_shared(key: str, parts: Sequence[Tasks]) -> bool:
    """Whether `info` has tensors of one shape under this name in all parts."""
    values: list[Any] = [part.info.get(key) for part in parts]
    return all(isinstance(value, Tensor) for value in values) and len({value.shape[1:] for value in values}) == 1


def _joined(parts: Sequence[Examples], order: Tensor) -> Examples:
    """The tasks of all parts, in another order."""
    mask = None if all(part.mask is None for part in parts) else torch.cat([part.real() for part in parts])[order]
    x, y = torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts])
    return Examples(x[order], y[order], mask)

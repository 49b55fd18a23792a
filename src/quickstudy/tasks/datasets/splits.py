"""Splits of a fixed set of tasks into train, validation and test."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from quickstudy.learner import SPLITS, check_split


def split_tasks(
    names: Sequence[Any],
    *,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    splits: Mapping[str, Sequence[Any]] | None = None,
) -> dict[str, tuple[int, ...]]:
    """The indices in `names` of the tasks of each split.

    Args:
        names: the name of each task.
        fractions: shares of train, validation and test, chosen at random; a share above 0 gets at least one task.
        seed: seed of this choice.
        splits: the names of the tasks of each split, in place of `fractions`. Tasks in no split are left out.

    Raises:
        ValueError: for shares that do not sum to 1, too few tasks, unknown or repeated names.

    >>> split_tasks("abcde", splits={"train": "ab", "test": "e"})
    {'train': (0, 1), 'validation': (), 'test': (4,)}
    """
    if splits is not None:
        return _explicit(names, splits)
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6 or fractions[0] == 0:
        raise ValueError(f"fractions={fractions}; expected shares of train, validation and test that sum to 1")
    least = sum(share > 0 for share in fractions)
    if len(names) < least:
        raise ValueError(
            f"{len(names)} tasks cannot fill {least} splits; give at least {least} tasks, or set a share to 0"
        )
    counts = [max(1, round(share * len(names))) if share > 0 else 0 for share in fractions[1:]]
    while sum(counts) >= len(names):
        counts[counts.index(max(counts))] -= 1
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed), device="cpu").tolist()
    validation, test = order[: counts[0]], order[counts[0] : sum(counts)]
    train = order[sum(counts) :]
    return {k: tuple(sorted(v)) for k, v in zip(SPLITS, (train, validation, test), strict=True)}


def _explicit(names: Sequence[Any], splits: Mapping[str, Sequence[Any]]) -> dict[str, tuple[int, ...]]:
    for name in splits:
        check_split(name)
    # Names are compared as text, so that 308 from a frame and "308" from a file are the same group.
    places = {str(name): i for i, name in enumerate(names)}
    found: dict[str, tuple[int, ...]] = {}
    seen: dict[str, str] = {}
    for split in SPLITS:
        chosen = [str(name) for name in splits.get(split, ())]
        for name in chosen:
            if name not in places:
                raise ValueError(f"splits[{split!r}] names task {name!r}, which is not in the data")
            if name in seen:
                raise ValueError(f"splits names task {name!r} twice ({seen[name]} and {split}); name it once")
            seen[name] = split
        found[split] = tuple(places[name] for name in chosen)
    if not found["train"]:
        raise ValueError("splits has no training task; name at least one under 'train'")
    return found

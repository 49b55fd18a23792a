"""What is kept of a table beside a trained learner: its columns, a digest of each group, the folds and the scaling."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from quickstudy.learner import SPLITS
from quickstudy.tasks.datasets.columns import GroupedRows
from quickstudy.tasks.datasets.scaling import Scaling
from quickstudy.tasks.datasets.table import Table

_NAMED = 5  # most groups that a message names


class Fold(NamedTuple):
    """The names of the groups of each split, and the scaling by those of training."""

    splits: Mapping[str, tuple[str, ...]]
    scaling: Scaling


class TableRecord(NamedTuple):
    """A record of one table, or of the folds of a cross-validation on it.

    With it, other data are told from those of training, and predictions are converted to the units of the table without
    reading it again.

    Args:
        task, x, y: names of the columns.
        digests: a short hash of the rows of each group, by its name; see `GroupedRows.digests`.
        folds: at least one.
    """

    task: str
    x: tuple[str, ...]
    y: tuple[str, ...]
    digests: Mapping[str, str]
    folds: tuple[Fold, ...]

    @classmethod
    def of(cls, tables: Sequence[Table]) -> "TableRecord":
        """The record of tables that differ only in their splits."""
        rows = tables[0].rows
        folds = tuple(
            Fold({split: tuple(map(str, table.groups(split))) for split in SPLITS}, table.scaling) for table in tables
        )
        return cls(rows.task, rows.x, rows.y, rows.digests(), folds)

    def changes(self, rows: GroupedRows) -> str:
        """How the groups in `rows` differ from those of the record, in words; empty if they are the same.

        The order of rows and of groups does not count.
        """
        found = rows.digests()
        added = [name for name in found if name not in self.digests]
        gone = [name for name in self.digests if name not in found]
        other = [name for name in found if self.digests.get(name, found[name]) != found[name]]
        parts = [
            *([f"{_named(added)} {'were' if len(added) > 1 else 'was'} added"] if added else []),
            *([f"{_named(gone)} {'are' if len(gone) > 1 else 'is'} missing"] if gone else []),
            *([f"the rows of {_named(other)} differ"] if other else []),
        ]
        return ", and ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The record as JSON."""
        folds = [
            {"splits": {k: list(v) for k, v in fold.splits.items()}, "scaling": fold.scaling.to_json()}
            for fold in self.folds
        ]
        columns = {"task": self.task, "x": list(self.x), "y": list(self.y)}
        return {**columns, "groups": dict(self.digests), "folds": folds}

    @classmethod
    def from_json(cls, values: Any) -> "TableRecord":
        """The record that `to_json` wrote. Raises ValueError if it is damaged."""
        try:
            folds = tuple(
                Fold(
                    {split: tuple(map(str, fold["splits"][split])) for split in SPLITS},
                    Scaling.from_json(fold["scaling"]),
                )
                for fold in values["folds"]
            )
            x, y = (tuple(map(str, values[name])) for name in ("x", "y"))
            return cls(str(values["task"]), x, y, {str(k): str(v) for k, v in values["groups"].items()}, folds)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the record of the table is damaged ({error!r}); restore the file from a copy") from None


def _named(names: Sequence[str]) -> str:
    """The names in words: "group 'a'", or "3 groups ('a', 'b', 'c')"."""
    if len(names) == 1:
        return f"group {names[0]!r}"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} groups ({', '.join(map(repr, names[:_NAMED]))}{more})"

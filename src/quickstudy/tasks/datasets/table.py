"""Tasks from a table: one task per group of rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, NamedTuple, Self, TypedDict, TypeVar, Unpack, final

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.data import Tasks, pad
from quickstudy.learner import SPLITS, Split, check_split
from quickstudy.predictive import DenseGaussian
from quickstudy.tasks.datasets.columns import Columns, check_names, complete_rows, group_rows, numbers, read_csv
from quickstudy.tasks.datasets.point_sets import Order, PointSets, check_order
from quickstudy.tasks.datasets.splits import split_tasks

Belief = TypeVar("Belief")


class TableOptions(TypedDict, total=False):
    """The shared options of `Table.from_columns`, `from_pandas` and `from_csv`, documented in `from_columns`."""

    splits: Mapping[str, Sequence[Any]] | None
    fractions: tuple[float, float, float]
    seed: int
    order: Order
    missing: Literal["error", "drop"]
    short: Literal["error", "drop"]


class Dropped(NamedTuple):
    """What a table leaves out: `rows` that lack a value, and `groups` that have a single row."""

    rows: int
    groups: int


@final
@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """One task per group of a table. Build it with `from_pandas`, `from_csv` or `from_columns`.

    Sampled values are standardised: mean 0 and standard deviation 1 over the rows of the training groups. `in_units`
    converts predictions back to the table's units. `dropped` counts what `missing="drop"` and `short="drop"` left out.

    >>> days = {"subject": list("aaabbbcccddd"), "day": [0, 1, 2] * 4, "speed": [float(i) for i in range(12)]}
    >>> table = Table.from_columns(days, task="subject", x=["day"], y="speed")
    >>> table.held_out("test", support=1).query.x.shape, table.groups("test")
    (torch.Size([1, 2, 1]), ('b',))
    """

    task: str
    x: tuple[str, ...]
    y: tuple[str, ...]
    names: tuple[Any, ...]
    points: PointSets
    center: Float[Tensor, " dx+dy"]
    spread: Float[Tensor, " dx+dy"]
    dropped: Dropped

    @classmethod
    def from_columns(
        cls,
        columns: Columns,
        *,
        task: str,
        x: str | Sequence[str],
        y: str | Sequence[str],
        splits: Mapping[str, Sequence[Any]] | None = None,
        fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
        seed: int = 0,
        order: Order = "random",
        missing: Literal["error", "drop"] = "error",
        short: Literal["error", "drop"] = "error",
    ) -> Self:
        """A family from a mapping of column names to sequences of equal length.

        Args:
            columns: the table.
            task: the column with the group of each row.
            x: the input columns; the rows of a group are sorted by the first of them.
            y: the output column or columns.
            splits: the groups of "train", "validation" and "test"; groups in no split are left out.
            fractions: without `splits`, the shares of groups for train, validation and test, chosen at random.
            seed: seed of this choice.
            order: for `sample`: "random" draws distinct rows as support and query; "first" takes the first rows (by
                the first x) as support, and draws the query from the rest.
            missing: "error" raises for a row with a missing value, "drop" leaves the row out.
            short: "error" raises for a group with a single row, "drop" leaves the group out.

        Raises:
            ValueError: for unknown columns, missing values, text in place of numbers, groups with a single row, and
                fewer than three groups.
        """
        inputs, outputs = _as_names(x), _as_names(y)
        check_names(columns, task, inputs, outputs)
        check_order(order)
        rows = complete_rows(columns, [task, *inputs, *outputs], missing)
        labels = [columns[task][i] for i in rows]
        groups = group_rows(labels, short)
        dropped = Dropped(len(columns[task]) - len(rows), len(set(labels)) - len(groups))
        if len(groups) < 3:
            raise ValueError(
                f"groups in column {task!r}: {len(groups)}; expected at least three, for train, validation and test: "
                "check that this column names the group of each row"
            )
        values = torch.tensor([numbers(columns, name, rows) for name in (*inputs, *outputs)], dtype=torch.float64).T
        sets = [values[places] for places in groups.values()]
        sets = [rows[rows[:, 0].argsort(stable=True)] for rows in sets]
        chosen = split_tasks(list(groups), fractions=fractions, seed=seed, splits=splits)
        training = torch.cat([sets[i] for i in chosen["train"]])
        center, spread = training.mean(0), training.std(0, correction=0)
        spread = torch.where(spread > 0, spread, 1.0)  # a column that is constant in training is not scaled
        scaled = [((rows - center) / spread).split([len(inputs), len(outputs)], 1) for rows in sets]
        points = PointSets(points=pad([(a, b) for a, b in scaled]), splits=chosen, order=order)
        return cls(task, inputs, outputs, tuple(groups), points, center, spread, dropped)

    @classmethod
    def from_pandas(
        cls, frame: Any, *, task: str, x: str | Sequence[str], y: str | Sequence[str], **options: Unpack[TableOptions]
    ) -> Self:
        """A family from a pandas (or polars) data frame; `options` are those of `from_columns`."""
        if not hasattr(frame, "columns"):
            raise TypeError(
                f"expected a data frame, not {type(frame).__name__}; use Table.from_columns for a dict of columns, "
                "Table.from_csv for a file"
            )
        columns = {name: list(frame[name]) for name in frame.columns}
        return cls.from_columns(columns, task=task, x=x, y=y, **options)

    @classmethod
    def from_csv(
        cls,
        path: str | PathLike[str],
        *,
        task: str,
        x: str | Sequence[str],
        y: str | Sequence[str],
        delimiter: str = ",",
        **options: Unpack[TableOptions],
    ) -> Self:
        """A family from a CSV file in UTF-8 with a header line; `options` are those of `from_columns`."""
        return cls.from_columns(read_csv(path, delimiter=delimiter), task=task, x=x, y=y, **options)

    @property
    def dx(self) -> int:
        """The number of input columns."""
        return len(self.x)

    @property
    def dy(self) -> int:
        """The number of output columns."""
        return len(self.y)

    def groups(self, split: Split) -> tuple[Any, ...]:
        """The names of the groups of a split, in the order of `held_out`."""
        check_split(split)
        return tuple(self.names[i] for i in self.points.splits[split])

    def sample(
        self,
        num_tasks: int,
        *,
        support: int,
        query: int,
        split: Split = "train",
        generator: torch.Generator | None = None,
    ) -> Tasks:
        """Draw groups of the split with replacement, and distinct rows of each; see `PointSets.sample`.

        Returns:
            Tasks in standardised units, with `info` group `[T]`, the index of each group in `names`.
        """
        tasks = self.points.sample(num_tasks, support=support, query=query, split=split, generator=generator)
        return tasks._replace(info={"group": tasks.info["task"]})

    def held_out(self, split: Split = "test", *, support: int = 4) -> Tasks:
        """Every group of the split once: its first `support` rows by the first x as support, all others as query.

        A group with at most `support` rows has a smaller support set, and one row as query.
        """
        tasks = self.points.held_out(split, support=support)
        return tasks._replace(info={"group": tasks.info["task"]})

    def in_units(self, belief: Belief) -> Belief:
        """A predictive distribution of standardised outputs, converted to the table's units.

        Raises:
            ValueError: for a joint Gaussian over several outputs, which has the same noise for all of them, and for
                another number of outputs than the table's.
        """
        self._check_width("belief.mean", belief.mean, self.y, "y")  # type: ignore[attr-defined]
        if self.dy == 1:
            return belief.rescale(float(self.center[-1]), float(self.spread[-1]))  # type: ignore[attr-defined]
        if isinstance(belief, DenseGaussian):
            raise ValueError(
                f"a DenseGaussian over {self.dy} outputs has the same noise for all of them, so they cannot have "
                "different units; use a table with one y"
            )
        like: Tensor = belief.mean  # type: ignore[attr-defined]
        shift, scale = (part[self.dx :].to(like) for part in (self.center, self.spread))
        return belief.rescale(shift, scale)  # type: ignore[attr-defined]

    def scale_x(self, x: Float[Tensor, "*points dx"]) -> Float[Tensor, "*points dx"]:
        """Inputs in the table's units, converted to standardised units."""
        self._check_width("x", x, self.x, "x")
        return (x - self.center[: self.dx].to(x)) / self.spread[: self.dx].to(x)

    def unscale_x(self, x: Float[Tensor, "*points dx"]) -> Float[Tensor, "*points dx"]:
        """Standardised inputs, converted to the table's units."""
        self._check_width("x", x, self.x, "x")
        return x * self.spread[: self.dx].to(x) + self.center[: self.dx].to(x)

    def scale_y(self, y: Float[Tensor, "*points dy"]) -> Float[Tensor, "*points dy"]:
        """Outputs in the table's units, converted to standardised units."""
        self._check_width("y", y, self.y, "y")
        return (y - self.center[self.dx :].to(y)) / self.spread[self.dx :].to(y)

    def unscale_y(self, y: Float[Tensor, "*points dy"]) -> Float[Tensor, "*points dy"]:
        """Standardised outputs, converted to the table's units."""
        self._check_width("y", y, self.y, "y")
        return y * self.spread[self.dx :].to(y) + self.center[self.dx :].to(y)

    def _check_width(self, name: str, values: Any, columns: tuple[str, ...], kind: str) -> None:
        """Raise ValueError unless the last axis of a tensor is that of `columns`; it would be broadcast otherwise."""
        if not isinstance(values, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor [..., {len(columns)}], not {type(values).__name__}")
        if not values.dim() or values.shape[-1] != len(columns):
            order = f", in the order {', '.join(columns)}" if len(columns) > 1 else f" {columns[0]!r}"
            alone = f": write {name}.unsqueeze(-1)" if len(columns) == 1 and name == kind else ""
            raise ValueError(
                f"{name} has shape {list(values.shape)}; expected [..., {len(columns)}], the last axis for the {kind} "
                f"column{'s' * (len(columns) > 1)} of the table{order}{alone}"
            )

    def __repr__(self) -> str:
        counts = "/".join(str(len(self.points.splits[name])) for name in SPLITS)
        rows = int(self.points.points.sizes().sum())
        return (
            f"Table(task={self.task!r}, x={list(self.x)}, y={list(self.y)}, groups={len(self.names)}, rows={rows}, "
            f"split={counts}, points={self.points!r})"
        )


def _as_names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)

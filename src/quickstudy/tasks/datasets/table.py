"""Tasks from a table: one task per group of rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, Self, TypedDict, TypeVar, Unpack, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from quickstudy.checks.memory import check_memory
from quickstudy.data import Tasks, pad
from quickstudy.learner import SPLITS, Split, check_split
from quickstudy.tasks.datasets.cells import shown
from quickstudy.tasks.datasets.columns import Columns, Dropped, GroupedRows, read_groups
from quickstudy.tasks.datasets.files import read_file
from quickstudy.tasks.datasets.frames import columns_of, with_points
from quickstudy.tasks.datasets.inputs import Reading
from quickstudy.tasks.datasets.point_sets import Order, PointSets, check_order
from quickstudy.tasks.datasets.scaling import Scaling
from quickstudy.tasks.datasets.splits import split_tasks

Belief = TypeVar("Belief")


class TableOptions(TypedDict, total=False):
    """The shared options of `Table.from_columns`, `from_pandas` and `from_file`, documented in `from_columns`."""

    splits: Mapping[str, Sequence[Any]] | None
    fractions: tuple[float, float, float]
    seed: int
    order: Order
    missing: Literal["error", "drop", "fill"]
    short: Literal["error", "drop"]
    categories: Sequence[str]
    date_format: str | None
    dates: Literal["calendar", "elapsed"]


@final
@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """One task per group of a table. Build it with `from_file`, `from_pandas` or `from_columns`.

    Sampled values are in standard units: mean 0 and standard deviation 1 over the rows of the training groups.
    `in_units` converts predictions back to the table's units. `rows.dropped` counts what `missing="drop"` and
    `short="drop"` left out. Neither the order of the rows nor that of the groups changes a table: groups are sorted by
    name, and the rows of a group by x.

    >>> days = {"subject": list("aaabbbcccddd"), "day": [0, 1, 2] * 4, "speed": [float(i) for i in range(12)]}
    >>> table = Table.from_columns(days, task="subject", x=["day"], y="speed")
    >>> table.held_out("test", support=1).query.x.shape, table.groups("test")
    (torch.Size([1, 2, 1]), ('b',))
    """

    rows: GroupedRows
    points: PointSets
    scaling: Scaling

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
        missing: Literal["error", "drop", "fill"] = "error",
        short: Literal["error", "drop"] = "error",
        categories: Sequence[str] = (),
        date_format: str | None = None,
        dates: Literal["calendar", "elapsed"] = "calendar",
    ) -> Self:
        """A family from a mapping of column names to sequences of equal length.

        Args:
            columns: the table.
            task: the column with the group of each row. Here a word such as "NA" is a name; empty cells are missing.
            x: the input columns; the rows of a group are sorted by the first of them, then by the next. Dates become
                days since 1970-01-01, durations days, and words categories, with a column of 0 and 1 for each but the
                first in natural order (`table.rows.inputs` says how each column was read).
            y: the output column or columns.
            splits: the groups of "train", "validation" and "test"; groups in no split are left out.
            fractions: without `splits`, the shares of groups for train, validation and test, chosen at random.
            seed: seed of this choice.
            order: for `sample`: "random" draws distinct rows as support and query; "first" takes the first rows (by
                the first x) as support, and draws the query from the rest.
            missing: "error" raises for a row with a missing value, "drop" leaves the row out. "fill" leaves it out if
                its group, its first input or an output is missing, and fills in the mean of another input, which gets
                a column of 0 and 1 that marks these rows.
            short: "error" raises for a group with a single row, "drop" leaves the group out.
            categories: input columns that are categories though they are written as numbers.
            date_format: how dates are written, as of `datetime.strptime`; by default as ISO 8601 has it.
            dates: what dates count, days since 1970-01-01 ("calendar") or since the first date of the group
                ("elapsed").

        Raises:
            TypeError, ValueError: for unknown columns, columns of unequal length, missing values, text in place of
                numbers, groups with a single row, fewer than three groups, and a y that never varies.
        """
        if not isinstance(columns, Mapping):
            raise TypeError(
                f"expected a dict of columns, not {type(columns).__name__}; use Table.from_pandas for frames"
            )
        roles = (_as_names("task", task)[0], _as_names("x", x), _as_names("y", y))
        reading = Reading(_as_names("categories", categories), date_format, dates)
        rows = read_groups(columns, *roles, missing=missing, short=short, reading=reading)
        return cls.from_groups(rows, splits=splits, fractions=fractions, seed=seed, order=order)

    @classmethod
    def from_groups(
        cls,
        rows: GroupedRows,
        *,
        splits: Mapping[str, Sequence[Any]] | None = None,
        fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
        seed: int = 0,
        order: Order = "random",
    ) -> Self:
        """A family from rows that were read before, as for each fold of a cross-validation; see `from_columns`."""
        check_order(order)
        chosen = split_tasks(list(rows.names), fractions=fractions, seed=seed, splits=splits)
        sizes = [len(each) for each in rows.rows]
        longest = rows.names[sizes.index(max(sizes))]
        check_memory(
            3 * 8 * len(sizes) * max(sizes) * rows.rows[0].shape[1],
            f"{len(sizes)} groups, each padded to the {max(sizes):,} rows of group {shown(longest)},",
            "leave out some rows of the largest groups",
        )
        training = torch.cat([rows.rows[i] for i in chosen["train"]])
        scaling = Scaling.of(training, x=rows.x, y=rows.y)
        widths = [scaling.dx, scaling.dy]
        scaled = [((each - scaling.center) / scaling.spread).split(widths, 1) for each in rows.rows]
        points = PointSets(points=pad([(a, b) for a, b in scaled]), splits=chosen, order=order)
        return cls(rows, points, scaling)

    @classmethod
    def from_pandas(
        cls, frame: Any, *, task: str, x: str | Sequence[str], y: str | Sequence[str], **options: Unpack[TableOptions]
    ) -> Self:
        """A family from a data frame of pandas or polars, an Arrow table, or an xarray.Dataset with its coordinates.

        Args:
            frame: the data.
            task, x, y, options: as in `from_columns`.
        """
        used = [*_as_names("task", task), *_as_names("x", x), *_as_names("y", y)]
        return cls.from_columns(columns_of(frame, used), task=task, x=x, y=y, **options)

    @classmethod
    def from_file(
        cls,
        path: str | PathLike[str],
        *,
        task: str,
        x: str | Sequence[str],
        y: str | Sequence[str],
        delimiter: str | None = None,
        decimal: Literal[".", ","] = ".",
        sheet: str | None = None,
        **options: Unpack[TableOptions],
    ) -> Self:
        """A family from a file with a header: CSV, Excel (.xlsx) or Parquet; `options` are those of `from_columns`.

        Args:
            path: the file, which may be packed by gzip; CSV is in UTF-8 (or UTF-16 with a byte order mark). The extra
                `files` installs what reads Excel and Parquet.
            task, x, y: names of columns, as in `from_columns`.
            delimiter: what separates the columns of CSV; by default comma, semicolon, tab or |, whichever fits.
            decimal: the decimal mark of numbers that are text, "." or ",".
            sheet: name or number of the sheet of a workbook; by default the only one that holds values.
        """
        columns: Columns = read_file(path, delimiter=delimiter, sheet=sheet)
        columns = with_points(columns, [*_as_names("x", x), *_as_names("y", y)], decimal)
        return cls.from_columns(columns, task=task, x=x, y=y, **options)

    @classmethod
    def from_csv(
        cls,
        path: str | PathLike[str],
        *,
        task: str,
        x: str | Sequence[str],
        y: str | Sequence[str],
        delimiter: str | None = None,
        decimal: Literal[".", ","] = ".",
        **options: Unpack[TableOptions],
    ) -> Self:
        """A family from a CSV file with a header line; see `from_file`."""
        return cls.from_file(path, task=task, x=x, y=y, delimiter=delimiter, decimal=decimal, **options)

    @property
    def task(self) -> str:
        """The column with the group of each row."""
        return self.rows.task

    @property
    def x(self) -> tuple[str, ...]:
        """The input columns, as numbers: categories have one for each level but the first."""
        return self.rows.x

    @property
    def y(self) -> tuple[str, ...]:
        """The output columns."""
        return self.rows.y

    @property
    def names(self) -> tuple[Any, ...]:
        """All groups, in natural order."""
        return self.rows.names

    @property
    def dropped(self) -> Dropped:
        """The numbers of rows and groups that are left out."""
        return self.rows.dropped

    @property
    def center(self) -> Float[Tensor, " columns"]:
        """Means of the columns over the rows of the training groups."""
        return self.scaling.center

    @property
    def spread(self) -> Float[Tensor, " columns"]:
        """Standard deviations of the columns over the rows of the training groups."""
        return self.scaling.spread

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
            Tasks in standard units, with `info` group `[T]`, the index of each group in `names`.
        """
        tasks = self.points.sample(num_tasks, support=support, query=query, split=split, generator=generator)
        return tasks._replace(info={"group": tasks.info["task"]})

    def held_out(
        self, split: Split = "test", *, support: int = 4, after: int | None = None, dtype: torch.dtype | None = None
    ) -> Tasks:
        """Every group of the split once: its first `support` rows by the first x as support, later rows as query.

        With `after`, the query begins after that number of rows, so that several sizes of the support set are judged on
        the same rows. A group that has too few rows has a smaller support set, and its last row as query.

        Args:
            split: the split.
            support: number of rows seen.
            after: number of rows before the query; by default `support`.
            dtype: dtype of the rows; by default torch's.
        """
        tasks = self.points.held_out(split, support=support, after=after, dtype=dtype)
        return tasks._replace(info={"group": tasks.info["task"]})

    def once(
        self, split: Split = "test", *, support: int, query: int, generator: torch.Generator | None = None
    ) -> Tasks:
        """Every group of the split once, which has more than `support` rows; see `PointSets.once`."""
        tasks = self.points.once(split, support=support, query=query, generator=generator)
        return tasks._replace(info={"group": tasks.info["task"]})

    def in_units(self, belief: Belief) -> Belief:
        """A predictive distribution in standard units, converted to the table's units; see `Scaling.in_units`."""
        return self.scaling.in_units(belief)

    def scale_x(self, x: Shaped[Tensor, "*points dx"]) -> Float[Tensor, "*points dx"]:
        """Inputs in the table's units, converted to standard units."""
        return self.scaling.scale_x(x)

    def unscale_x(self, x: Float[Tensor, "*points dx"]) -> Float[Tensor, "*points dx"]:
        """Inputs in standard units, converted to the table's units, in float64."""
        return self.scaling.unscale_x(x)

    def scale_y(self, y: Shaped[Tensor, "*points dy"]) -> Float[Tensor, "*points dy"]:
        """Outputs in the table's units, converted to standard units."""
        return self.scaling.scale_y(y)

    def unscale_y(self, y: Float[Tensor, "*points dy"]) -> Float[Tensor, "*points dy"]:
        """Outputs in standard units, converted to the table's units, in float64."""
        return self.scaling.unscale_y(y)

    def __repr__(self) -> str:
        counts = "/".join(str(len(self.points.splits[name])) for name in SPLITS)
        rows = int(self.points.points.sizes().sum())
        dropped = f"dropped={self.dropped.rows} rows and {self.dropped.groups} groups, " if any(self.dropped) else ""
        return (
            f"Table(task={self.task!r}, x={list(self.x)}, y={list(self.y)}, groups={len(self.names)}, rows={rows}, "
            f"{dropped}split={counts}, points={self.points!r})"
        )


def _as_names(role: str, names: str | Sequence[str]) -> tuple[str, ...]:
    """The names of columns as a tuple. Raises TypeError for anything but text or a sequence of names."""
    if isinstance(names, str | int):
        return (names,)
    if role == "task" or not isinstance(names, Sequence):
        raise TypeError(f"{role}={shown(names)}; expected the name of a column{' or several' * (role != 'task')}")
    return tuple(names)

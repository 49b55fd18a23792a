"""A fitted mixture of learners with what it needs to predict new groups: names, ranges, and where it comes from."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self, final

import torch
from torch import Tensor

from quickstudy._version import __version__
from quickstudy.data import Examples
from quickstudy.runs.atomic import write_file
from quickstudy.runs.reading import CheckpointError, read_file
from quickstudy.runs.storage import check_free, load, write_save
from quickstudy.tables.choosing import ALL, Choice
from quickstudy.tables.each_output import EachOutput
from quickstudy.tables.kinds.outcome import DISCRETE, Outcome
from quickstudy.tables.stack import Stack
from quickstudy.tasks.datasets.columns import GroupedRows
from quickstudy.tasks.datasets.inputs import Input
from quickstudy.tasks.datasets.names import plain

FACTS = "table.json"
LARGEST = 1 << 20  # bytes of this file
MOST_KNOWN = 20_000  # groups whose names a model recognises
IMPROBABLE = 3e-7  # probability of more than five standard deviations to one side
SURPRISING = 5.0  # standard deviations from the prior mean at which a group counts as unlike the trained ones


@final
@dataclass(frozen=True, eq=False)
class TableModel:
    """Predicts new groups of a table from their first rows; made by `choose`, saved and loaded as a folder.

    Args:
        learner: the mixture of learners, in the units of the table; of several outputs, one for each.
        task, x, y: names of the columns; x has one for each column of numbers that `inputs` become.
        inputs: how the columns of inputs are read.
        low, high: range of each x in training.
        groups: number of groups in training.
        rows: number of rows in training; of several outputs, the largest.
        digest: a hash of these rows.
        seen: numbers of rows after which it was measured.
        weights: weights of the learners in the mixture by title, means over numbers of seen rows.
        coverage: share of held-out outcomes in its central 90% intervals.
        known: a hash of the name of each group in training, up to 20,000 of them.
        outcomes: the kind of each outcome; numbers if there are none.
        spelt: a hash of each of these names in plain writing, by which one that is spelt in another way is recognised.
        delimiter: what separated the columns of the file of training, if the user said so.
        decimal: the decimal mark of its numbers.
    """

    learner: Stack | EachOutput
    task: str
    x: tuple[str, ...]
    y: tuple[str, ...]
    inputs: tuple[Input, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    groups: int
    rows: int
    digest: str
    seen: tuple[int, ...]
    weights: dict[str, float]
    coverage: float
    known: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    spelt: tuple[str, ...] = ()
    delimiter: str | None = None
    decimal: str = "."

    @classmethod
    def of(cls, choice: Choice, rows: GroupedRows) -> Self:
        """The model that was chosen for a table."""
        x = torch.cat(list(rows.rows))[:, : len(rows.x)]
        low, high = (tuple(end.tolist()) for end in (x.amin(0), x.amax(0)))
        weights = {name: sum(own) / len(own) for name, own in choice.weights.items()}
        titles = {choice.candidates[name].title: w for name, w in weights.items() if w > 0}
        coverage = float(choice.scores[ALL].inside[..., 1].mean())
        digest = hashlib.sha256(json.dumps(rows.digests()).encode()).hexdigest()[:12]
        known, spelt = hashes_of(rows.names)
        return cls(
            learner=choice.model,
            task=rows.task,
            x=rows.x,
            y=rows.y,
            inputs=rows.inputs,
            low=low,
            high=high,
            groups=len(rows.rows),
            rows=len(x),
            digest=digest,
            seen=choice.seen,
            weights=titles,
            coverage=coverage,
            known=known,
            outcomes=(choice.outcome,),
            spelt=spelt,
        )

    @classmethod
    def of_outputs(cls, choices: Sequence[Choice], tables: Sequence[GroupedRows]) -> Self:
        """The model of several outputs, each of which has a table of its own rows; see `tables.outputs`."""
        parts = [cls.of(choice, rows) for choice, rows in zip(choices, tables, strict=True)]
        if len(parts) == 1:
            return parts[0]
        groups = {name: None for rows in tables for name in rows.names}
        known, spelt = hashes_of(list(groups))
        return replace(
            parts[0],
            learner=EachOutput({part.y[0]: part.learner for part in parts}),
            y=tuple(name for part in parts for name in part.y),
            low=tuple(map(min, zip(*(part.low for part in parts), strict=True))),
            high=tuple(map(max, zip(*(part.high for part in parts), strict=True))),
            groups=len(groups),
            rows=max(part.rows for part in parts),
            digest=hashlib.sha256("".join(part.digest for part in parts).encode()).hexdigest()[:12],
            weights={f"{part.y[0]}: {title}": w for part in parts for title, w in part.weights.items()},
            coverage=sum(part.coverage for part in parts) / len(parts),
            known=known,
            spelt=spelt,
            outcomes=tuple(kind for part in parts for kind in part.outcomes),
        )

    def save(self, folder: Path | str) -> None:
        """Write the model to a folder; an earlier one there is replaced. It holds no outcomes of the table.

        Raises:
            FileExistsError: if something else is at `folder`.
        """
        check_free(Path(folder), "TableModel.save", [FACTS])
        self.write(Path(folder))

    def write(self, folder: Path) -> None:
        """Write the model, in place of whatever is at `folder`."""
        write_save(self.learner, folder)
        facts = {k: v for k, v in vars(self).items() if k != "learner"} | {"quickstudy": __version__}
        facts["inputs"] = [each._asdict() for each in self.inputs]
        write_file(Path(folder) / FACTS, json.dumps(facts, indent=1).encode())

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """The model in a folder.

        Raises:
            CheckpointError: if the folder holds no such model, or it is damaged.
        """
        try:
            facts = json.loads(read_file(Path(folder) / FACTS, LARGEST))
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(
                f"{folder} holds no model of a table ({FACTS} cannot be read: {error}); give a folder that "
                "`quickstudy table` wrote"
            ) from None
        learner = load(folder)
        later = {each.name: each.default for each in fields(cls) if each.default is not MISSING}
        facts = later | facts if isinstance(facts, dict) else facts
        names = tuple(each.name for each in fields(cls) if each.name != "learner")
        missing = [name for name in names if not isinstance(facts, dict) or name not in facts]
        if missing or not isinstance(learner, Stack | EachOutput):
            raise CheckpointError(f"{Path(folder) / FACTS} is damaged: it lacks {', '.join(missing) or 'a mixture'}")
        found: dict[str, Any] = {name: tuple(v) if isinstance(v := facts[name], list) else v for name in names}
        try:
            found["inputs"] = tuple(map(Input.from_json, found["inputs"]))
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise CheckpointError(f"{Path(folder) / FACTS} is damaged: its inputs cannot be read ({error!r})") from None
        return cls(learner, **found)

    def predict(self, support: Examples, x: Tensor) -> Any:
        """The belief about groups at `x [T, M, dx]`, given their rows so far, in the units of the table, float64.

        With several outputs, NaN in `support.y` is an outcome that was not observed.
        """
        with torch.no_grad():
            return self.learner.adapt(support.to(dtype=torch.float64))(x.double())

    def outside(self, x: Tensor) -> Tensor:
        """Whether each of the inputs `[..., dx]` is outside the range of training by more than 5% of its width."""
        low, high = (torch.tensor(end, dtype=torch.float64) for end in (self.low, self.high))
        room = 0.05 * (high - low)
        return ((x < low - room) | (x > high + room)).any(-1)

    def trained_on(self, names: Sequence[Any]) -> list[Any]:
        """Those of the names of groups that groups of training had."""
        known = set(self.known)
        return [name for name in names if hash_of(name) in known]

    def spelt_in_another_way(self, names: Sequence[Any]) -> list[Any]:
        """Those of the names that no group of training had, except in another case, with other spaces or zeros."""
        known, spelt = set(self.known), set(self.spelt)
        return [name for name in names if hash_of(name) not in known and hash_of(plain(name)) in spelt]

    def ranges(self) -> list[str]:
        """The range of each input in training, as "day 0 to 9"."""
        found, at = [], 0
        for each in self.inputs:
            low, high = self.low[at], self.high[at]
            at += len(each.columns)
            if each.kind == "number" or each.elapsed:
                found.append(f"{each.name} {low:g} to {high:g}{' days' * each.elapsed}")
            elif each.kind != "category":
                found.append(f"{each.name} {each.text(low)} to {each.text(high)}")
        return found

    def unlike(self, support: Examples) -> Tensor:
        """Whether each group `[T]` has a row that is unlike all groups of training.

        It is, if an outcome is 5 standard deviations or more from what the model expects of an unknown group.
        """
        if not support.num_points:
            return torch.zeros(support.num_tasks, dtype=torch.bool)
        known = support.clean()
        belief = self.predict(known.first(0)._replace(mask=None), known.x)
        y = known.y.double()
        odd = (y - belief.mean).abs() / belief.variance.sqrt() > SURPRISING
        for d, kind in enumerate(self.outcomes):
            if kind in DISCRETE:  # their distributions are skew
                tails = torch.minimum(belief.cdf(y)[..., d], 1 - belief.cdf(y - 1)[..., d])
                odd[..., d] = tails < IMPROBABLE
        return (odd.any(-1) & known.real()).any(1)

    def kind_of(self, output: int) -> Outcome:
        """The kind of an outcome."""
        return self.outcomes[output] if self.outcomes else "number"


def hashes_of(names: Sequence[Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a `TableModel` keeps of the names of its groups: hashes, as they are and in plain writing."""
    kept = names[:MOST_KNOWN]
    return tuple(map(hash_of, kept)), tuple(hash_of(plain(name)) for name in kept)


def hash_of(name: Any) -> str:
    """A short hash of the name of a group.

    >>> hash_of(308) == hash_of("308")
    True
    """
    return hashlib.sha256(str(name).encode()).hexdigest()[:8]


def columns_of_quantiles(y: str, quantiles: Sequence[float], kind: Outcome = "number") -> list[str]:
    """Names of the columns of predictions of an output; of a binary one, there is only the probability of 1.

    >>> columns_of_quantiles("speed", [0.05, 0.95])
    ['speed_mean', 'speed_sd', 'speed_q0.05', 'speed_q0.95']
    """
    if kind == "binary":
        return [f"{y}_probability"]
    return [f"{y}_mean", f"{y}_sd", *(f"{y}_q{p:g}" for p in quantiles)]

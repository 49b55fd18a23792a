"""The commands `quickstudy table` and `quickstudy predict`: their options, and what they print and write."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tyro

from quickstudy.evaluation.intervals import over_tasks, root
from quickstudy.report.tables import SLASH
from quickstudy.runs.atomic import make_folder, write_file
from quickstudy.tables.candidates import has_trees
from quickstudy.tables.choosing import ALL, Choice
from quickstudy.tables.expected import expected_seconds
from quickstudy.tables.judging import Judged
from quickstudy.tables.kinds.outcome import DISCRETE, Outcome, Said, outcome_of
from quickstudy.tables.model import TableModel
from quickstudy.tables.new_groups import read_new
from quickstudy.tables.outputs import choose_each, read_outputs
from quickstudy.tables.pictures import draw
from quickstudy.tables.predicting import predict
from quickstudy.tasks.datasets.columns import Columns, GroupedRows
from quickstudy.tasks.datasets.files import read_file
from quickstudy.tasks.datasets.frames import with_points
from quickstudy.tasks.datasets.inputs import Reading

SAID = {
    "count": "a count, as all values are whole numbers, the smallest is 0, and the median is below 20",
    "binary": "a binary outcome, as all values are 0 or 1",
}


@dataclass(frozen=True, kw_only=True)
class Choosing:
    """Options of `quickstudy table`."""

    file: tyro.conf.Positional[Path]
    """File with a header and one row for each measurement: CSV (gzip, too), Excel or Parquet."""
    group: str
    """Column that names the group of each row, such as a subject."""
    x: tuple[str, ...]
    """Columns of the inputs; the rows of a group are sorted by the first of them."""
    y: tuple[str, ...]
    """Columns to predict."""
    seen: tuple[int, ...] = ()
    """Numbers of known rows of a new group after which to measure; by default 0 1 2 4 8, as far as groups allow."""
    out: Path | None = None
    """Folder of the model; by default models/FILE."""
    missing: Literal["error", "drop", "fill"] = "error"
    """Rows that lack a value: stop (error), drop them, or fill inputs by their means and mark these rows (fill)."""
    short: Literal["error", "drop"] = "error"
    """What to do with a group of a single row: stop with an error, or drop the group."""
    delimiter: str | None = None
    """What separates the columns; by default comma, semicolon, tab or |, whichever fits."""
    decimal: Literal[".", ","] = "."
    """The decimal mark of the numbers."""
    sheet: str | None = None
    """Name or number of the sheet of an Excel workbook; by default the only one that holds values."""
    categories: tuple[str, ...] = ()
    """Inputs that are categories though they are written as numbers; words are categories anyway."""
    date_format: str | None = None
    """How dates are written, as %d/%m/%Y; by default as 2021-03-04, or 2021-03-04 16:30."""
    dates: Literal["calendar", "elapsed"] = "calendar"
    """What dates count: days of the calendar, or days since the first date of their group (elapsed)."""
    outcome: Said = "auto"
    """What the outcomes are: numbers, positive numbers, counts or binary (0 and 1); auto decides, and says how."""
    seed: int = 0
    """Seed of the folds, of initial weights and of training."""


@dataclass(frozen=True, kw_only=True)
class Predicting:
    """Options of `quickstudy predict`."""

    model: tyro.conf.Positional[Path]
    """Folder of a model that `quickstudy table` wrote."""
    new: tyro.conf.Positional[Path]
    """File with rows of new groups. Rows without an outcome are predicted from the others of their group."""
    out: Path = Path("predictions.csv")
    """File of the predictions; a figure is written beside it."""
    at: Path | None = None
    """File with inputs at which to predict every group, in place of the rows without an outcome."""
    grid: int | None = None
    """Number of evenly spaced inputs at which to predict every group, in place of the rows without an outcome."""
    date_format: str | None = None
    """How dates are written, as %d/%m/%Y; by default as in the table of training."""
    quantiles: tuple[float, ...] = (0.05, 0.5, 0.95)
    """Quantiles to write, between 0 and 1."""
    delimiter: str | None = None
    """What separates the columns; by default what was given in training, or comma, semicolon, tab or |."""
    decimal: Literal[".", ","] | None = None
    """The decimal mark of the numbers; by default that of training."""
    sheet: str | None = None
    """Name or number of the sheet of an Excel workbook; by default the only one that holds values."""


def table(given: Choosing) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Choose among learners, save the mixture, and return its folder and the metrics by their names."""
    out = given.out or Path("models") / given.file.stem
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise FileExistsError(f"{out} is there already; choose another --out, or remove it")
    columns = with_points(
        read_file(given.file, delimiter=given.delimiter, sheet=given.sheet), [*given.x, *given.y], given.decimal
    )
    reading = Reading(given.categories, given.date_format, given.dates)
    tables = read_outputs(
        columns, given.group, given.x, given.y, missing=given.missing, short=given.short, reading=reading
    )
    _check_seen(given.seen, tables)
    for sentence in left_out(tables, columns):
        print(sentence)
    kinds = [outcome_of(rows, given.outcome) for rows in tables]
    for rows, kind in zip(tables, kinds, strict=True):
        if kind in DISCRETE and given.outcome == "auto":
            print(f"{rows.y[0]}: {SAID[kind]}; --outcome number would treat it as a number")
    if not has_trees() and not set(kinds) <= set(DISCRETE):
        print('boosted trees are left out; to try them, too: pip install "quickstudy[tables]"')
    print(f"expected time: about {_duration(expected_seconds(tables, outcomes=kinds))}", flush=True)
    started = time.monotonic()

    def progress(what: str, done: int, of: int) -> None:
        spent = time.monotonic() - started
        left = f", about {_duration(spent / done * (of - done))} left" if done > 2 else ""
        print(f"fit {done + 1} of {of}: {what}{left}", file=sys.stderr, flush=True)

    choices = choose_each(tables, seen=given.seen or None, seed=given.seed, outcomes=kinds, progress=progress)
    make_folder(out.parent)
    model = replace(TableModel.of_outputs(choices, tables), delimiter=given.delimiter, decimal=given.decimal)
    model.save(out)
    for sentence in mixed(choices, given.y):
        print(sentence)
    return out, metrics(choices, given.y)


def mixed(choices: Sequence[Choice], outputs: Sequence[str]) -> list[str]:
    """A sentence for each outcome about the weights of its mixture, means over numbers of seen rows; largest first."""
    found = []
    for name, choice in zip(outputs, choices, strict=True):
        about = f"{name}: " if len(outputs) > 1 else ""
        means = {learner: sum(own) / len(own) for learner, own in choice.weights.items()}
        kept = sorted((learner for learner in means if means[learner] >= 0.005), key=means.__getitem__, reverse=True)
        listed = ", ".join(f"{choice.candidates[learner].title} {means[learner]:.2f}" for learner in kept)
        found.append(f"{about}weights of the mixture: {listed}")
    return found


def left_out(tables: Sequence[GroupedRows], columns: Columns) -> list[str]:
    """Sentences about the rows and groups that are left out, and the inputs that are filled in."""
    found = []
    for rows in tables:
        about = f"{rows.y[0]}: " if len(tables) > 1 else ""
        whole, (lost, single) = len(columns[rows.task]), rows.dropped
        if lost:
            found.append(f"{about}left out: {lost} of {whole} rows, which lack a value")
        if single:
            found.append(f"{about}left out: {single} of {len(rows.names) + single} groups, which have a single row")
    for each in tables[0].inputs:
        if each.fill is not None:
            count = sum(map(each.missing, columns[each.name]))
            value = each.levels[0] if each.kind == "category" else each.text(each.fill)
            found.append(
                f"filled in: {each.name} is missing in {count} row{'s' * (count > 1)}, and has {value} there; "
                f"the input '{each.columns[-1]}' marks them"
            )
    return found


def _check_seen(seen: tuple[int, ...], tables: Sequence[GroupedRows]) -> None:
    most = min(max(len(each) for each in rows.rows) for rows in tables)
    if len(set(seen)) < len(seen):
        raise ValueError(f"--seen {' '.join(map(str, seen))}: a number is given twice; give each once")
    for number in seen:
        if not 0 <= number < most:
            raise ValueError(
                f"--seen {number}: the largest group has {most} rows, so give numbers from 0 to {most - 1}"
            )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def metrics(choices: Sequence[Choice], outputs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The scores of all learners by the names that tables on the terminal know, means over groups."""
    found: dict[str, dict[str, Any]] = {}
    for choice, output in zip(choices, outputs, strict=True):
        of = f"y={output.replace('/', SLASH)}/" if len(outputs) > 1 else ""
        for name, judged in choice.scores.items():
            title = choice.candidates[name].title if name != ALL else "all together, weighted"
            for k, number in enumerate(choice.seen):
                for metric, value in _scores(judged, k, choice.outcome).items():
                    found[f"{title}/{metric}/{of}k={number}"] = value._replace(over="groups").to_json()
    return found


def _scores(judged: Judged, k: int, outcome: Outcome) -> dict[str, Any]:
    """The scores after one number of seen rows; an interval of a binary outcome says nothing, so it is left out."""
    found = {
        "rmse": root(over_tasks(judged.squared[:, k, 0])),
        "log_likelihood": over_tasks(judged.density[:, k]),
    }
    return found if outcome == "binary" else found | {"coverage90": over_tasks(judged.inside[:, k, 1])}


def predictions(given: Predicting) -> list[str]:
    """Predict the new groups, write the table and the figure, and return sentences to print."""
    _check_predicting(given)
    model = TableModel.load(given.model)
    if given.date_format is not None:
        model = replace(model, inputs=tuple(each._replace(form=given.date_format) for each in model.inputs))
    sentences: list[str] = []
    at = None if given.at is None else _read(given.at, given, model, sentences)
    new = read_new(_read(given.new, given, model, sentences), model, at=at, grid=given.grid)
    found = predict(model, new, sorted(set(given.quantiles)))
    _check_earlier(given.out, model)
    make_folder(given.out.parent)
    write_file(given.out, found.as_csv().encode())
    sentences += [f"warning: {sentence}" for sentence in found.warnings]
    count = sum(len(each) for each in new.asked)
    sentences.append(f"predictions: {given.out} ({count} rows of {len(new.names)} groups)")
    drawn = draw(model, new, given.out)
    sentences += [f"figure: {path}" for path in drawn]
    if not drawn:
        sentences.append("no figure: the first input is a category, or another input varies within a group")
    return sentences


def _check_predicting(given: Predicting) -> None:
    """Raise ValueError for probabilities that are none, and for an --out that would replace what is read."""
    for level in given.quantiles:
        if not 0 < level < 1:
            raise ValueError(f"--quantiles {level:g}: expected probabilities between 0 and 1, such as 0.05 0.5 0.95")
    if given.out.is_dir():
        raise ValueError(
            f"--out {given.out} is a folder; give the path of a file, such as {given.out / 'predictions.csv'}"
        )
    if given.out.exists() and any(
        path is not None and path.exists() and given.out.samefile(path) for path in (given.new, given.at)
    ):
        raise ValueError(f"--out {given.out} would replace the file that is read; give another path")
    if given.out.suffix.lower() not in ("", ".csv", ".txt"):
        raise ValueError(f"--out {given.out}: predictions are written as CSV; give a name that ends in .csv")


def _check_earlier(out: Path, model: TableModel) -> None:
    """Raise FileExistsError if `out` is a file, but not one of earlier predictions."""
    if not out.exists():
        return
    with out.open(encoding="utf-8", errors="replace") as file:
        header = file.readline(1 << 16)
    if not any(f"{y}_{end}" in header for y in model.y for end in ("mean", "probability")):
        raise FileExistsError(f"--out {out} is there already and holds no predictions of this model; give another path")


def _read(path: Path, given: Predicting, model: TableModel, said: list[str]) -> Columns:
    """The columns of a file, read as that of training where the user says nothing; `said` gets what was assumed."""
    columns = _divided(path, given, model, said)
    used = [name for name in (*(each.name for each in model.inputs), *model.y) if name in columns]
    if given.decimal is not None:
        return with_points(columns, used, given.decimal)
    try:
        found = with_points(columns, used, model.decimal)
    except ValueError as error:
        what = str(error).replace("decimal=',' was given", "training had decimal commas")
        raise ValueError(f"{what}; if these are decimal points, give --decimal .") from None
    if any(found[name] != columns[name] for name in used):
        said.append(f"{path}: commas are decimal marks, as in training; --decimal . reads points")
    return found


def _divided(path: Path, given: Predicting, model: TableModel, said: list[str]) -> Columns:
    """The columns of a file as text, divided as in training if that has the inputs."""
    read = partial(read_file, path, sheet=given.sheet, single=True)
    if given.delimiter is not None or model.delimiter is None:
        return read(delimiter=given.delimiter)
    try:
        found = read(delimiter=model.delimiter)
    except ValueError:
        found = {}
    if not all(each.name in found for each in model.inputs):
        return read()
    try:
        alike = read() == found
    except ValueError:
        alike = False
    if not alike:
        said.append(f"{path}: {model.delimiter!r} separates the columns, as in training; --delimiter chooses another")
    return found

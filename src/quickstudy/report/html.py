"""One self-contained HTML page about one or more runs: no script, no network, figures within the file."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quickstudy.report import citations, figures
from quickstudy.report.captions import caption
from quickstudy.report.comparison import comparison
from quickstudy.report.experiments import Experiment, experiments, learners_of, names_of, results_of, steps_of
from quickstudy.report.provenance import facts
from quickstudy.report.runs import RunRecord, read_run
from quickstudy.report.tables import named, notes, tables
from quickstudy.report.verdicts import verdicts
from quickstudy.runs.atomic import make_folder, write_file
from quickstudy.runs.reading import read_file

CSS = (Path(__file__).parent / "static" / "page.css").read_text(encoding="utf-8")
TRAINING = (
    "The loss in training, and on validation tasks. Learners minimise losses of different kinds: compare the shapes "
    "of curves, not their heights. The scale is logarithmic only if all losses are errors: a negative log density may "
    "become negative. A training loss that begins far above all other values is cut off at the top."
)


def write_report(paths: Sequence[str | Path], out: str | Path, title: str | None = None) -> Path:
    """Write one HTML page about the runs at `paths`; returns its path.

    Runs that were measured on the same kind of tasks share tables; others have sections of their own.

    Args:
        paths: run folders.
        out: the file to write; its folder is created if needed.
        title: title of the page; by default the names of the runs.

    Raises:
        FileNotFoundError: if one of `paths` is not a run.
        ValueError: if a file of a run is damaged, or a run is named twice.
    """
    out = Path(out)
    page = build_report([read_run(path) for path in paths], title)
    make_folder(out.parent)
    write_file(out, page.encode("utf-8", "backslashreplace"))
    return out


def build_report(runs: Sequence[RunRecord], title: str | None = None) -> str:
    """Return the page about these runs as HTML."""
    names = names_of(runs)
    title = title or _title(list(names.values()))
    several = experiments(runs)
    sections = [f"<h1>{_text(title)}</h1>"]
    sections += [_experiment(each, names, alone=len(several) == 1) for each in several]
    sections += [_training(runs, names), _provenance(runs, names), _citations(runs)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>quickstudy: {_text(title)}</title><style>{CSS}</style></head>\n<body>\n"
        + "\n".join(filter(None, sections))
        + "\n</body></html>\n"
    )


def _title(names: Sequence[str]) -> str:
    """The names of the runs, if they fit on a line, or how many there are."""
    *others, last = names
    named = f"{', '.join(others)} and {last}" if others else last
    return named if len(named) <= 60 or not others else f"{len(names)} runs"


def _experiment(experiment: Experiment, names: Mapping[Path, str], *, alone: bool) -> str:
    """Return the section of an experiment. Figures come first for a single run, results for several."""
    one = len(experiment.runs) == 1
    pictures = [_figures(run, "" if one else names[run.path]) for run in experiment.runs]
    head = [] if alone else [f"<h2>{_text(experiment.title)}</h2>"]
    results = [("<h2>Results</h2>" if alone else "<h3>Results</h3>" if one else ""), *_results(experiment, names)]
    results = results if len(results) > 1 else []
    unfinished = [names[run.path] for run in experiment.runs if not run.metrics]
    if unfinished:
        head += [f'<p class="lead">{_text("No results yet, the run is unfinished: " + ", ".join(unfinished))}.</p>']
    return "\n".join(filter(None, [*head, *(pictures + results if one else results + pictures)]))


def _results(experiment: Experiment, names: Mapping[Path, str]) -> list[str]:
    """Return who is behind a plain rival, notes on the tables, a figure if runs are compared, and the tables."""
    several = len(experiment.runs) > 1
    results = results_of(experiment.runs, names)
    shown = tables(results, multiples=several, steps=steps_of(experiment.runs))
    if not shown:
        return []
    recipes = dict.fromkeys(run.recipe for run in experiment.runs)
    words = list(dict.fromkeys(note for recipe in recipes for note in notes(shown, recipe)))
    words += [f"Tasks: {' and '.join(experiment.tasks)}."] if several and experiment.tasks else []
    drawn = comparison(results, learners_of(experiment.runs, names), experiment.runs[0].recipe) if several else None
    said = verdicts(results)
    return [
        f"<p>{' '.join(map(_text, said))}</p>" if said else "",
        f'<p class="note">{" ".join(map(_text, words))}</p>',
        _image(figures.to_png(drawn.figure), drawn.caption) if drawn else "",
        *(f'<div class="wide results">{table.html()}</div>' for table in shown),
    ]


def _figures(run: RunRecord, name: str) -> str:
    parts = [f"<h3>{_text(name)}</h3>" if name and run.figures else ""]
    parts += [_image(_picture(path), caption(path) + _of_seed(path)) for path in run.figures.values()]
    return "\n".join(filter(None, parts))


def _of_seed(figure: Path) -> str:
    """Return the seed that a figure shows, for runs of several seeds."""
    folder = figure.parent.parent.name
    return f" (Seed {folder.removeprefix('seed-')} only.)" if folder.startswith("seed-") else ""


def _picture(path: Path) -> bytes:
    """Read a figure of a run. The run may come from anywhere, so anything but a picture raises ValueError."""
    try:
        data = read_file(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); remove it, or draw it again") from None
    if not data.startswith((b"\x89PNG\r\n", b"GIF8")):
        raise ValueError(f"{path} is neither a PNG nor a GIF; remove it, or draw it again")
    return data


def _training(runs: Sequence[RunRecord], names: Mapping[Path, str]) -> str:
    curves, errors = {}, True
    for run in runs:
        for part, rows in run.curves.items():
            label = ", ".join(filter(None, [names[run.path] if len(runs) > 1 or not part else "", named(part)]))
            pair = [(key, [row for row in rows if row.get(key) is not None]) for key in ("loss", "validation_loss")]
            if all(len(known) > 1 for _, known in pair):
                training, validation = (
                    figures.Series(key.replace("_", " "), [r["step"] for r in known], [r[key] for r in known])
                    for key, known in pair
                )
                curves[label] = (training, validation)
                errors = errors and _is_error(run.parts.get(part, {}) if part else run.config)
    if not curves:
        return ""
    return "<h2>Training</h2>\n" + _image(figures.to_png(figures.training(curves, errors=errors)), TRAINING)


def _is_error(config: Mapping[str, Any]) -> bool:
    """Return whether a learner minimises the default loss, which is never negative, and not a negative log density."""
    spec = config.get("learner")
    if not isinstance(spec, dict) or "likelihood" not in spec:  # a process has none, and minimises a density
        return False
    return spec["likelihood"] is None and spec.get("loss") is None


def _provenance(runs: Sequence[RunRecord], names: Mapping[Path, str]) -> str:
    parts = ["<h2>How it was made</h2>"]
    for run in runs:
        rows = "".join(f"<tr><td>{_text(name)}</td><td>{_text(value)}</td></tr>" for name, value in facts(run).items())
        table = f"<table><caption>{_text(names[run.path])}</caption><tbody>{rows}</tbody></table>"
        parts.append(f'<div class="wide facts">{table}</div>')
    return "\n".join(parts)


def _citations(runs: Sequence[RunRecord]) -> str:
    keys = dict.fromkeys(key for run in runs for key in citations.keys_of_run(run.path))
    entries = "\n\n".join(citations.BIBTEX[key] for key in keys)
    return (
        f"<h2>To cite</h2>\n<details><summary>BibTeX for what was used</summary><pre>{_text(entries)}</pre></details>"
    )


def _image(data: bytes, caption: str) -> str:
    encoded = base64.b64encode(data).decode()
    kind = "gif" if data.startswith(b"GIF8") else "png"
    if kind == "gif":
        width = int.from_bytes(data[6:8], "little")
    else:
        width = int.from_bytes(data[16:20], "big") // 2  # 200 dots per inch, shown at 100: the size on paper
    return (
        f'<figure><img width="{width}" alt="{_text(caption)}" src="data:image/{kind};base64,{encoded}">'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def _text(value: Any) -> str:
    return html.escape(str(value))

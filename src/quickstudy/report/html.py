"""One self-contained page about one or more runs: no script, no network, figures within the file."""

import base64
import html
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quickstudy.report import citations, figures
from quickstudy.report.runs import RunRecord, read_run
from quickstudy.report.tables import METRICS, cell, comparable, tables

CSS = """
:root { --ink: #222; --soft: #666; --line: #ddd; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1.25rem 4rem; color: var(--ink); background: #fff;
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.75rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
.lead, caption, figcaption, .note { color: var(--soft); }
table { border-collapse: collapse; margin: 0 0 1.5rem; font-variant-numeric: tabular-nums; font-size: .92rem; }
caption { text-align: left; white-space: nowrap; padding: 0 0 .4rem; font-weight: 600; }
th, td { padding: .35rem .9rem .35rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid var(--ink); }
td.best { font-weight: 700; color: var(--accent); }
.wide { overflow-x: auto; }
figure { margin: 0 0 2rem; } figure img { max-width: 100%; height: auto; display: block; }
figcaption { font-size: .9rem; margin-top: .4rem; }
code, pre { font: .85rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
pre { background: #f6f6f6; padding: .8rem 1rem; overflow-x: auto; border-radius: 4px; }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--accent); }
"""
CAPTIONS = {
    "functions": "The same unseen tasks through every learner. Grey: the truth. Dots: the 10 points seen.",
    "functions-few": "The same tasks again, from half as many points.",
    "adaptation": "Unseen tasks before and after gradient steps. Grey: the truth. Dots: the points seen.",
    "steps": "Error on unseen tasks by number of gradient steps, with 95% intervals over tasks.",
    "beliefs": "Unseen tasks: mean, band of two standard deviations and sampled functions. Grey: the truth.",
    "groups": "Held-out groups, predicted from their first rows (filled). Hollow: the rows to be predicted.",
    "told": "Unseen tasks, by a network that is told amplitude and phase. Grey: the truth.",
    "walks": "The way to unseen goals (stars) after every gradient step, three episodes each.",
    "walking": "One goal, before and after every gradient step.",
    "cart": "An unseen cart in its first episode and in its last.",
    "episodes": "Return by episode in unseen tasks, with 95% bands.",
    "seconds": "The same by seconds of acting and thinking, all carts together.",
    "returns": "Return of an episode in unseen tasks, with 95% intervals.",
    "profiles": "Share of seeds and tasks with a return above each, with 95% bands.",
    "training": "The loss in training, and on validation tasks.",
}


def write_report(paths: Sequence[str | Path], out: str | Path, title: str | None = None) -> Path:
    """Write one page that compares the runs at `paths`, under a title of your own if you like; returns its path."""
    out = Path(out)
    page = build_report([read_run(path) for path in paths], title)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    return out


def build_report(runs: Sequence[RunRecord], title: str | None = None) -> str:
    """The page as text."""
    title = title or (runs[0].name if len(runs) == 1 else f"{len(runs)} runs compared")
    pictures = [_figures(run, several=len(runs) > 1) for run in runs]
    middle = [*pictures, _results(runs)] if len(runs) == 1 else [_results(runs), *pictures]
    sections = [f"<h1>{_text(title)}</h1>", f'<p class="lead">{_text(_lead(runs))}</p>', *middle]
    sections += [_training(runs), _provenance(runs), _citations(runs)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>quickstudy: {_text(title)}</title><style>{CSS}</style></head>\n<body>\n"
        + "\n".join(filter(None, sections))
        + "\n</body></html>\n"
    )


def _lead(runs: Sequence[RunRecord]) -> str:
    over = {m.get("over") for run in runs for m in run.result.get("metrics", {}).values()}
    counts = {m.get("n") for run in runs for m in run.result.get("metrics", {}).values()}
    if not over:
        return "Not measured yet: the run is unfinished."
    n = "/".join(str(c) for c in sorted(c for c in counts if c is not None))
    words = [f"Means on unseen tasks, with 95% intervals over {n} {' and '.join(sorted(map(str, over)))}."]
    for run in runs:
        for name, value in run.result["metrics"].items():
            if name.startswith("factor/k="):
                times = f"{cell(value['mean'], value['ci95'])} times MAML's error"
                words.append(f"On {name[9:]} points the pretrained network, its adaptation tuned, makes {times}.")
    return " ".join(words)


def _results(runs: Sequence[RunRecord]) -> str:
    results = dict(zip(_names(runs), (run.result.get("metrics", {}) for run in runs), strict=True))
    found = tables(results if len(runs) > 1 else {"": runs[0].result.get("metrics", {})}, multiples=len(runs) > 1)
    if not found:
        return ""
    picture = _comparison(results) if len(runs) > 1 else ""
    return "<h2>Results</h2>\n" + picture + "\n".join(f'<div class="wide">{t.html()}</div>' for t in found)


def _names(runs: Sequence[RunRecord]) -> list[str]:
    """The names of the folders, with as much of their paths as it takes to tell them apart."""
    parts = [run.path.resolve().parts for run in runs]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-depth:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"{runs[0].path} is named twice; name each run once")


def _figures(run: RunRecord, several: bool) -> str:
    parts = [f"<h2>{_text(run.name)}</h2>" if several and run.figures else ""]
    for name, path in run.figures.items():
        parts.append(_image(path.read_bytes(), CAPTIONS.get(name, name.replace("-", " "))))
    return "\n".join(filter(None, parts))


def _comparison(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The errors (or likelihoods) of several runs in one picture, where they were measured at the same places."""
    for metric in ("mse", "rmse", "log_likelihood"):
        rows = [(name, found) for name, found in comparable(results, metric).items() if len(found) > 1]
        if len(rows) > 1:
            series = [
                figures.Series(
                    name, list(found), [e.mean for e in found.values()], [e.ci95 or 0 for e in found.values()]
                )
                for name, found in rows
            ]
            logarithmic = metric != "log_likelihood" and all(mean > 0 for item in series for mean in item.mean)
            figure = figures.intervals(series, xlabel="", ylabel=METRICS[metric], log=logarithmic)
            return _image(figures.to_png(figure), f"Comparison: {METRICS[metric]}, with 95% intervals.")
    return ""


def _training(runs: Sequence[RunRecord]) -> str:
    curves = {}
    for name, run in zip(_names(runs), runs, strict=True):
        for part, rows in run.curves.items():
            label = ", ".join(filter(None, [name if len(runs) > 1 or not part else "", part]))
            pair = [(key, [row for row in rows if row.get(key) is not None]) for key in ("loss", "validation_loss")]
            if all(len(known) > 1 for _, known in pair):
                training, validation = (
                    figures.Series(key.replace("_", " "), [r["step"] for r in known], [r[key] for r in known])
                    for key, known in pair
                )
                curves[label] = (training, validation)
    if not curves:
        return ""
    return "<h2>Training</h2>\n" + _image(figures.to_png(figures.training(curves)), CAPTIONS["training"])


def _provenance(runs: Sequence[RunRecord]) -> str:
    parts = ["<h2>How it was made</h2>"]
    for run in runs:
        facts = {
            "recipe": run.config.get("recipe"),
            "seed": run.result.get("seed", run.config.get("seed")),
            "meta-training steps": run.result.get("steps"),
            "seconds of training": run.result.get("seconds"),
            "hardware": run.result.get("hardware"),
            "commit": run.result.get("commit"),
        }
        rows = "".join(
            f"<tr><td>{_text(k)}</td><td>{_text(_plain(v))}</td></tr>" for k, v in facts.items() if v is not None
        )
        command = run.result.get("command") or run.config.get("command")
        parts.append(
            f'<div class="wide"><table><caption>{_text(run.name)}</caption><tbody>{rows}</tbody></table></div>'
        )
        if command:
            line = command if isinstance(command, str) else shlex.join(map(str, command))
            parts.append(f"<pre>{_text(line)}</pre>")
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
        width = int.from_bytes(data[16:20], "big") // 2  # 200 dots to the inch, shown at 100: the size it has on paper
    return (
        f'<figure><img width="{width}" alt="{_text(caption)}" src="data:image/{kind};base64,{encoded}">'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def _plain(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _text(value: Any) -> str:
    return html.escape(str(value))

"""`result.json` as tables, for the terminal, Markdown and HTML.

The name of a metric is `[part/]metric[/key=value ...]`: `maml/mse/k=10/steps=1` is the squared error of the part `maml`
after 1 gradient step on 10 points. Tables have one row for each part and number of steps, and one column for each k,
both in ascending order.
"""

import html
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from quickstudy.evaluation.seeds import LEAST_SEEDS

METRICS = {
    "mse": "mean squared error",
    "rmse": "root mean squared error",
    "log_rmse": "root mean squared error of the natural logarithm, mean over people",
    "log_likelihood": "log-likelihood per point",
    "autoregressive_joint_log_likelihood": "joint log-likelihood / number of points, by the chain rule",
    "joint_log_likelihood": "joint log-likelihood / number of points",
    "autoregressive_kl": "divergence from the exact posterior, nats per point, by the chain rule",
    "kl": "divergence from the exact posterior, nats per point",
    "relative_rmse": "root mean squared error / that of one curve for all groups",
    "log_likelihood_gain": "log-likelihood per point - that of one curve for all groups",
    "near_best_rmse": "share of tables whose error is near the best single learner's",
    "near_best_log_likelihood": "share of tables whose log-likelihood is near the best single learner's",
    "coverage90": "share of outcomes in the central 90% interval",
    "calibration_error": "calibration error",
    "accuracy": "accuracy",
    "return": "return of an episode",
    "return_by_transitions": "return of an episode, adapted on equal numbers of transitions",
    "progress": "share of the way from the pretrained policy's return to that of the policy told the task",
    "shortfall": "share of the true simulator's return that is lost, on the same tasks from the same starts",
    "factor": "error of the pretrained network / error of MAML, adaptation of both tuned on validation tasks",
}
# the same metrics after the number of steps (for the pretrained rival also with the rule) chosen on validation tasks
TUNED = {f"tuned_{name}": f"{title}, adaptation tuned on validation tasks" for name, title in METRICS.items()}
VALIDATION = "validation_loss"  # the metric that `fit` writes: the loss on the tasks that choose the best weights
METRICS = {**TUNED, **METRICS, VALIDATION: "validation loss"}
TRIED = (
    "Tuned: the number of gradient steps with the least error on validation tasks, out of 0 to 10 and the number in "
    "training, at the rates of training; of the pretrained network, out of 0 to 100, and also the rule and its rate, "
    "out of gradient descent and Adam at 0.001 to 0.3. More steps were not tried, so an untuned row with more may be "
    "better."
)
"""How `tune_adaptation` and recipes choose; a test compares it with what they try."""
LOWER_IS_BETTER = frozenset(
    {"mse", "rmse", "relative_rmse", "log_rmse", "calibration_error", "kl", "autoregressive_kl", "shortfall"}
)
HIGHER_IS_BETTER = frozenset(
    {
        "log_likelihood",
        "log_likelihood_gain",
        "joint_log_likelihood",
        "autoregressive_joint_log_likelihood",
        "accuracy",
        "return",
        "return_by_transitions",
        "progress",
    }
)
PARTS = {
    "maml": "MAML",
    "fomaml": "FOMAML",
    "reptile": "Reptile",
    "anil": "ANIL",
    "anil_rates": "ANIL, a rate for every entry and step",
    "boil": "BOIL",
    "meta_sgd": "Meta-SGD",
    "meta_curvature": "Meta-Curvature",
    "maml_plus_plus": "MAML++",
    "warp_grad": "WarpGrad",
    "imaml": "iMAML",
    "cavia": "CAVIA",
    "bayesian_maml": "Bayesian MAML",
    "alpaca": "ALPaCA",
    "promp": "ProMP",
    "rl2": "RL^2",
    "rl2_greedy": "RL^2, most probable action",
    "index": "index policy",
    "thompson": "Thompson sampling",
    "greedy": "greedy",
    "pretrained": "pretrained",
    "random": "untrained",
    "oracle": "told the task",
    "np": "Neural Process",
    "cnp": "CNP",
    "attentive-cnp": "Attentive CNP",
    "tnp": "TNP",
    "robust": "mixed model, Student noise",
    "tuned": "fine-tuned",
    "gp": "GP fitted to the rows seen",
    "gp_shared": "GP fitted to the training groups",
    "group_blind": "group-blind mean",
    "compartments": "compartment model",
    "after_dose": "compartment model, samples after the dose only",
    "two_stage": "two-stage method",
    "mean_and_gp": "curve of all plus GP",
    "mixed": "linear mixed model",
    "exact": "exact posterior",
    "diagonal": "exact posterior at each point by itself",
    "prior": "prior of the process",
    "shifted": "points outside the range of training",
    "simulator": "true simulator",
    "fixed": "never adapts",
    "pets": "PETS, from scratch",
    "dqn": "DQN, from scratch",
    "reinforce": "REINFORCE, from scratch",
    "ppo": "PPO, from scratch",
    "actor-critic": "actor-critic in the Neural Process",
    "normal": "normal distribution of all outputs",
    "histogram": "histogram of all outputs",
    "ceiling": "upper bound",
    "everyone": "one curve for all groups",
    "intercept": "mixed model, line and random intercept",
    "line": "mixed model, random line",
    "curve": "mixed model, curve and random line",
    "bend": "mixed model, curve and random parabola",
    "curve_gp": "curve and Gaussian process",
    "process": "CNP on residuals of the curve",
    "trees": "boosted trees",
    "together": "mixture of all",
}
REFERENCES = tuple(
    PARTS[name] for name in ("oracle", "exact", "diagonal", "simulator", "ceiling")
)  # no learner is expected to beat these
_ROUNDING = 1e-12  # an interval that is no larger, relative to its mean, is an error of rounding
_MOST_DIGITS = 8  # after the point, of a mean with an exponent
SLASH = "\u2215"  # stands for a slash in the name of an output, since a slash divides the name of a metric
KERNELS = {"rbf": "RBF", "matern52": "Matern 5/2"}
BOUNDS = {
    "mse": (0.0, math.inf),
    "rmse": (0.0, math.inf),
    "log_rmse": (0.0, math.inf),
    "accuracy": (0.0, 1.0),
    "coverage90": (0.0, 1.0),
    "calibration_error": (0.0, 0.5),
}
"""The least and the greatest possible value of metrics that have one."""
SUPPORT = {
    "images": "pixels seen of each image",
    "digits": "labelled images of each class",
    "navigation2d": "episodes before every gradient step",
    "locomotion": "episodes before every gradient step",
    "table": "rows seen of each held-out group",
    "few-rows": "rows seen of each held-out group",
    "cartpole-dynamics": "transitions seen of each cart",
    "pharmacokinetics": "samples seen of each person who was left out",
}
"""What K counts, by the beginning of a recipe's name."""
POINTS = "points in the support set of each task"
OVER = "mean over"  # the column that says how many tasks or seeds a row has been measured on


class Entry(NamedTuple):
    """One measured value, with its name split into parts; `over` says what the mean is over, such as "600 tasks"."""

    part: str
    metric: str
    keys: dict[str, str]
    mean: float
    ci95: float | None
    over: str = ""


class Table(NamedTuple):
    """Cells as text.

    Args:
        title: the caption.
        header: names of the columns.
        rows: the cells.
        best: (row, column) of each mean that is clearly the best of its column.
        over: what its means are over, such as "600 tasks"; if these differ, the last column says it of each row.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    best: frozenset[tuple[int, int]] = frozenset()
    over: tuple[str, ...] = ()

    def markdown(self) -> str:
        """Return the table as Markdown."""
        lines = [self.header, [":--", *("--:" for _ in self.header[1:])], *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def html(self) -> str:
        """Return the table as HTML, with a caption."""

        def row(cells: Sequence[str], tag: str, number: int) -> str:
            marks = [' class="best"' if (number, j) in self.best else "" for j in range(len(cells))]
            return (
                "<tr>"
                + "".join(f"<{tag}{m}>{html.escape(c)}</{tag}>" for c, m in zip(cells, marks, strict=True))
                + "</tr>"
            )

        body = "\n".join(row(cells, "td", i) for i, cells in enumerate(self.rows))
        head = row(self.header, "th", -1)
        return (
            f"<table><caption>{html.escape(self.title)}</caption><thead>{head}</thead><tbody>\n{body}\n</tbody></table>"
        )


def named(part: str) -> str:
    """Return the name of a part of a run: learners have the same name everywhere in a report.

    >>> named("seed-2, np"), named("fold-1")
    ('seed-2, Neural Process', 'fold-1')
    """
    return ", ".join(PARTS.get(word, word) for word in part.split(", "))


def entry(name: str, value: Mapping[str, Any], prefix: str = "") -> Entry:
    """Split the name of a metric into its parts. `oracle_X` is metric X of the exact posterior."""
    words = name.split("/")
    keys = dict(word.split("=", 1) for word in words if "=" in word)
    keys |= {"y": keys["y"].replace(SLASH, "/")} if "y" in keys else {}
    plain = [word for word in words if "=" not in word]
    metric, parts = plain[-1], plain[:-1]
    if metric.startswith("oracle_"):
        metric, parts = metric.removeprefix("oracle_"), [*parts, "exact"]
    part = ", ".join(filter(None, [prefix, *(PARTS.get(p, p) for p in parts)]))
    mean = math.nan if value["mean"] is None else value["mean"]  # result.json has null for NaN and infinity
    few = value.get("over") == "seeds" and (value.get("n") or 0) < LEAST_SEEDS
    return Entry(part, metric, keys, mean, None if few else value.get("ci95"), _over(value))


def _over(value: Mapping[str, Any]) -> str:
    """Return what a mean is over, such as "600 tasks" or "5 seeds of 600 tasks"; empty if that is not known."""
    if value.get("n") is None:
        return ""
    tasks = f" of {value['tasks']:,} tasks" if value.get("tasks") else ""
    return f"{value['n']:,} {value.get('over', 'tasks')}{tasks}"


def tables(
    results: Mapping[str, Mapping[str, Any]],
    metrics: Sequence[str] | None = None,
    *,
    multiples: bool = False,
    steps: Mapping[str, Collection[int]] | None = None,
) -> list[Table]:
    """Return one table for each metric, for runs that were measured on the same kind of tasks.

    Outputs that are measured in units of their own (`np/rmse/y=height/k=4`) have a table each.

    Args:
        results: the `metrics` of each run, by its name; rows do not contain the name "".
        metrics: names of the metrics to show, in this order; by default all, in the order of `METRICS`.
        multiples: whether a second table follows each table of errors, with multiples of the least error.
        steps: numbers of gradient steps that are always shown, by part, with "" for all parts. If there are more than
            four other numbers, only the first, 1 and the last of them are shown.
    """
    results = {run: _few_steps(found, steps or {}) for run, found in results.items()}
    entries = [entry(name, value, run) for run, found in results.items() for name, value in found.items()]
    present = list(dict.fromkeys(e.metric for e in entries))
    order = metrics or [m for m in METRICS if m in present] + [m for m in present if m not in METRICS]
    found = []
    for metric in order:
        of_metric = [e for e in entries if e.metric == metric]
        for output in dict.fromkeys(e.keys.get("y", "") for e in of_metric):
            chosen = [e for e in of_metric if e.keys.get("y", "") == output]
            found.append(_table(metric, chosen))
            if multiples and metric in ("mse", "rmse") and _comparable(chosen):
                found.append(_multiples(metric, chosen))
    return found


def notes(shown: Sequence[Table], recipe: str = "") -> list[str]:
    """Return the notes that explain these tables: what means are over, what K counts, what was tuned, ±, bold.

    Args:
        shown: the tables.
        recipe: name of the recipe that was measured; in some recipes K does not count points.
    """
    columns = {column for table in shown for column in table.header}
    found = _over_notes(shown)
    found += [f"K: {counted(recipe)}."] if any(column.startswith("K=") for column in columns) else []
    if any(table.title == METRICS[VALIDATION] for table in shown):
        found.append(
            "Validation loss: on validation tasks, which also choose the best weights, and not on unseen tasks."
        )
    if any(table.title in (*TUNED.values(), METRICS["factor"]) for table in shown):
        found.append(TRIED)
    if any("±" in cell for table in shown for row in table.rows for cell in row):
        kinds = dict.fromkeys(text.partition(" ")[2].partition(" ")[0] for table in shown for text in table.over)
        over = f", over {' or '.join(kinds)}" if kinds else ""
        found.append(f"±: half the width of the 95% interval{over}.")
    if any(table.best for table in shown):
        found.append("Bold: the best of its column, if its interval touches no other; references do not count.")
    return found


def _over_notes(shown: Sequence[Table]) -> list[str]:
    """Return sentences about the numbers of tasks and seeds; those of a validation loss are said if it is alone."""
    tested = [table for table in shown if table.title != METRICS[VALIDATION]]
    over = list(dict.fromkeys(text for table in tested or shown for text in table.over))
    found = []
    if len(over) == 1:
        number, _, words = over[0].partition(" ")
        kind = {"seeds": "", "groups": "held-out "}.get(words.partition(" ")[0], "unseen " if tested else "validation ")
        found.append(f"Means over {number} {kind}{words}.")
    elif over:
        found.append(f"Means are over different numbers of tasks or seeds: {', '.join(over)}.")
    if any(_seeds(text) < LEAST_SEEDS for table in shown for text in table.over):
        found.append(f"Means over fewer than {LEAST_SEEDS} seeds have no interval: so few say nothing about others.")
    return found


def _seeds(over: str) -> float:
    """Return the number of seeds in a text such as "5 seeds of 600 tasks"; infinity if the mean is over tasks."""
    number, _, words = over.partition(" ")
    return int(number.replace(",", "")) if words.startswith("seeds") else math.inf


def counted(recipe: str) -> str:
    """Return what K counts in the metrics of a recipe."""
    return next((words for start, words in SUPPORT.items() if recipe.startswith(start)), POINTS)


def comparable(results: Mapping[str, Mapping[str, Any]], metric: str) -> dict[str, dict[str, Entry]]:
    """Return the entries of a metric by row and column, each after its largest number of steps or episodes."""
    last: dict[tuple[str, str], tuple[int, Entry]] = {}
    for run, found in results.items():
        for name, value in found.items():
            e = entry(name, value, run)
            e = e._replace(part=f"{e.part}, {e.keys['y']}") if "y" in e.keys else e
            done = int(e.keys.get("steps", e.keys.get("episode", 0)))
            place = (e.part, column(e))
            if e.metric == metric and math.isfinite(e.mean) and (place not in last or done >= last[place][0]):
                last[place] = (done, e)
    return _grid([e for _, e in last.values()])[0]


def _few_steps(metrics: Mapping[str, Any], steps: Mapping[str, Collection[int]]) -> dict[str, Any]:
    """Drop the metrics of most step counts if there are many: keep the first, 1, the last and those in `steps`."""
    counts = {int(name.rpartition("/steps=")[2]) for name in metrics if "/steps=" in name}
    shown = counts if len(counts) <= 4 else {min(counts), 1, max(counts), *steps.get("", ())}

    def is_shown(name: str) -> bool:
        count = int(name.rpartition("/steps=")[2])
        return count in shown or count in steps.get(name.partition("/")[0], ())

    return {name: value for name, value in metrics.items() if "/steps=" not in name or is_shown(name)}


def number(value: float) -> str:
    """Format a number with three significant digits, and an exponent only if it is very large or small."""
    if not math.isfinite(value):
        return "not finite"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
        return f"{value:.{min(digits, 4)}f}"
    return f"{value:.2e}"


def cell(mean: float, ci95: float | None) -> str:
    """Format `mean ± ci95`, both with as many digits as show two of the interval, and one exponent if they need it.

    >>> cell(47.77, 11.0), cell(1.2345e-9, 4.5e-11), cell(4_500_123.4, 12.0)
    ('48 ± 11', '(1.234 ± 0.045)e-09', '4500123 ± 12')
    """
    if ci95 is None or not math.isfinite(ci95) or not math.isfinite(mean) or ci95 <= _ROUNDING * abs(mean):
        return number(mean)
    first, last = math.floor(math.log10(max(abs(mean), ci95))), math.floor(math.log10(ci95)) - 1
    if last >= -6 and first < 7:
        digits = max(0, -last)
        return f"{mean:.{digits}f} ± {ci95:.{digits}f}"
    digits = first - last
    if digits > _MOST_DIGITS or (first >= 7 and ci95 > abs(mean)):  # a mean that diverged, or hardly varies
        return f"{number(mean)} ± {number(ci95)}"
    return f"({mean / 10.0**first:.{digits}f} ± {ci95 / 10.0**first:.{digits}f})e{first:+03d}"


def column(e: Entry) -> str:
    """Return the heading of the column that an entry belongs to."""
    if "kernel" in e.keys:
        return KERNELS.get(e.keys["kernel"], e.keys["kernel"])
    return f"K={e.keys['k']}" if "k" in e.keys else "mean"


def _table(metric: str, entries: Sequence[Entry]) -> Table:
    rows, columns = _grid(entries)
    cells = [[name, *(_cell(found.get(c)) for c in columns)] for name, found in rows.items()]
    best = frozenset((i, j) for j, c in enumerate(columns, 1) for i in _clear_winner(metric, rows, c))
    header, over = ["", *columns], tuple(dict.fromkeys(e.over for e in entries if e.over))
    if len(over) > 1:
        header.append(OVER)
        for line, found in zip(cells, rows.values(), strict=True):
            line.append(", ".join(dict.fromkeys(e.over for e in found.values() if e.over)))
    return Table(_title(metric, entries), header, cells, best, over)


def _title(metric: str, entries: Sequence[Entry]) -> str:
    """Return the name of the metric, with that of the output if there are several."""
    output = entries[0].keys.get("y")
    return METRICS.get(metric, metric.replace("_", " ")) + (f" of {output}" if output else "")


def _multiples(metric: str, entries: Sequence[Entry]) -> Table:
    """Return a table with each mean as a multiple of the best of its column."""
    rows, columns = _grid(entries)
    least = {c: min(e.mean for e in _rivals(metric, rows, c).values()) for c in columns}
    cells = [
        [name, *(f"x {number(found[c].mean / least[c])}" if c in found and least[c] > 0 else "" for c in columns)]
        for name, found in rows.items()
    ]
    title = f"{_title(metric, entries)}, in multiples of the least"
    return Table(title, ["", *("multiple" if c == "mean" else c for c in columns)], cells)


def _grid(entries: Sequence[Entry]) -> tuple[dict[str, dict[str, Entry]], list[str]]:
    """Return the rows by name, and the names of the columns. Numbers ascend; other names keep their order."""
    parts = list(dict.fromkeys(e.part for e in entries))
    numbers = {
        _row(e): (parts.index(e.part), [_number(v) for k, v in e.keys.items() if k not in ("k", "y")]) for e in entries
    }
    rows: dict[str, dict[str, Entry]] = {name: {} for name in sorted(numbers, key=lambda name: numbers[name])}
    for e in entries:
        rows[_row(e)][column(e)] = e
    columns = list(dict.fromkeys(column(e) for e in entries))
    return rows, sorted(columns, key=lambda c: _number(c.removeprefix("K=")) if c.startswith("K=") else -1.0)


def _number(text: str) -> float:
    """Return the number in a text, or minus infinity if it is not a number."""
    try:
        return float(text)
    except ValueError:
        return -math.inf


def _comparable(entries: Sequence[Entry]) -> bool:
    """Return whether every column has more than one row that can be compared."""
    rows, columns = _grid(entries)
    return all(len(_rivals("mse", rows, c)) > 1 for c in columns)


def _rivals(metric: str, rows: Mapping[str, Mapping[str, Entry]], column: str) -> dict[int, Entry]:
    """Return the entries of a column that can be the best, by row number; none if the metric has no best."""
    if metric.removeprefix("tuned_") not in LOWER_IS_BETTER | HIGHER_IS_BETTER:
        return {}
    found = {i: row[column] for i, row in enumerate(rows.values()) if column in row}
    return {i: e for i, e in found.items() if math.isfinite(e.mean) and not e.part.endswith(REFERENCES)}


def _clear_winner(metric: str, rows: Mapping[str, Mapping[str, Entry]], column: str) -> list[int]:
    """Return the row with the best mean of a column, if its interval touches no other; references do not count."""
    sign = 1 if metric.removeprefix("tuned_") in LOWER_IS_BETTER else -1
    rivals = _rivals(metric, rows, column)
    ends = {i: (sign * e.mean - e.ci95, sign * e.mean + e.ci95) for i, e in rivals.items() if e.ci95 is not None}
    if len(rivals) < 2 or len(ends) < len(rivals):  # means without intervals cannot be compared
        return []
    best = min(ends, key=lambda i: sum(ends[i]))
    return [best] if all(ends[best][1] < low for i, (low, _) in ends.items() if i != best) else []


def _cell(found: Entry | None) -> str:
    return "" if found is None else cell(found.mean, found.ci95)


def _row(e: Entry) -> str:
    words = [e.part] if e.part else []
    if "steps" in e.keys:
        steps = int(e.keys["steps"])
        words.append("before adapting" if steps == 0 else f"after {steps} step{'s' if steps > 1 else ''}")
    words += [f"{k} {v}" for k, v in e.keys.items() if k not in ("k", "y", "steps", "kernel")]
    return ", ".join(words) or ("factor" if e.metric == "factor" else "this learner")

"""Pictures of what stands in the JSON: means over seeds, with the intervals of the tables.

Those that the runs drew themselves show a single seed each; of these the pages take the pictures of tasks alone.
"""

import math
from collections.abc import Iterator, Sequence

import matplotlib.style as mplstyle
from matplotlib.figure import Figure

from quickstudy.evaluation.intervals import Metric
from quickstudy.report import figures
from quickstudy.report.dot_plot import dots
from quickstudy.report.figures import Series
from quickstudy.report.tables import PARTS
from results_pages.experiments.acting import WALKS
from results_pages.experiments.compared import SETTINGS
from results_pages.experiments.waves import SHOTS
from results_pages.record import Record, Value, read

CARTS = ("cartpole-np-masses", "cartpole-np-gains", "cartpole-alpaca-gains")
FEW = 10  # episodes up to which the axis is not logarithmic


def pictures() -> Iterator[tuple[str, Figure]]:
    """Name of a file in docs/results/, and the picture."""
    yield "sinusoid-maml.png", waves()
    yield "sinusoid-meta-sgd.png", meta_sgd()
    yield "digits-norm.png", digits()
    for walk in WALKS:
        yield f"{walk.name}.png", returns(read(walk.name))
    for name in CARTS:
        yield f"{name}.png", episodes(read(name))
    for setting in SETTINGS:
        yield f"{setting.name}.png", compared(read(setting.name, *setting.joined))


def waves() -> Figure:
    """MAML, pretrained and told the task in one picture."""
    runs = {"maml": read("sinusoid-maml"), "pretrained": read("sinusoid-pretrained")}
    series = [_steps(name, record, "mse/k=10/steps={}", range(11)) for name, record in runs.items()]
    return _errors([*series, _flat("oracle", read("sinusoid-oracle")["mse/k=10"], 10)])


def meta_sgd() -> Figure:
    """Meta-SGD and MAML, 25 waves a training step."""
    record = read("sinusoid-meta-sgd")
    counts = (0, 1, 2, 5, 10)
    series = [_steps(name, record, f"{name}/mse/k=10/steps={{}}", counts) for name in ("meta_sgd", "maml")]
    return _errors(series, top=2 * series[0].mean[0])


def digits() -> Figure:
    """Accuracy of each normalisation layer."""
    record = read("digits-norm")
    names = record.learners("accuracy", "k=1/steps=0")
    series = [_steps(name, record, f"{name}/accuracy/k=1/steps={{}}", (0, 1, 3, 6)) for name in names]
    label = "accuracy (0.2 is chance)"
    return figures.lines(series, xlabel="gradient steps", ylabel=label, whole=True, bounds=(0.0, 1.0))


def returns(record: Record) -> Figure:
    """Of policies that adapt."""
    series = []
    for name in record.learners("return", "steps=0"):
        if name == "oracle":
            series.append(_flat(name, record["oracle/return/steps=0"], 3))
        else:
            series.append(_steps(name, record, f"{name}/return/steps={{}}", range(4)))
    return figures.lines(series, xlabel="gradient steps", ylabel="return of an episode", whole=True)


def episodes(record: Record) -> Figure:
    """Of agents that learn as they live: mean and bootstrapped interval over seeds and carts."""
    found = {name: [each["mean"] for each in scores.values()] for name, scores in record.evaluation["scores"].items()}
    series = [
        Series(PARTS[name], range(1, len(means) + 1), [m["value"] for m in means]) for name, means in found.items()
    ]
    few = max(map(len, found.values())) <= FEW
    figure = figures.lines(series, xlabel="episode of each cart", ylabel="steps balanced, of 500", whole=few)
    with mplstyle.context(figures.STYLE):
        axes = figure.axes[0]
        for line, means in zip(axes.lines, found.values(), strict=True):
            low, high = ([m[end] for m in means] for end in ("low", "high"))
            axes.fill_between(range(1, len(means) + 1), low, high, color=line.get_color(), alpha=0.12, lw=0)
        axes.set_ylim(bottom=0)
        if not few:
            figures.log_scale(axes, "x")
    return figure


def compared(record: Record) -> Figure:
    """Everybody's error, after the number of gradient steps that is best on validation tasks."""
    rows = {}
    for name in record.learners("tuned_mse", "k=10"):
        found = [(record[key], record.metrics[key]) for key in (f"{name}/tuned_mse/k={k}" for k in SHOTS)]
        rows[PARTS[name]] = [Metric(*value, content["n"], content["over"]) for value, content in found]
    before = [record[key].mean for key in record.metrics if "/mse/" in key and key.endswith("/steps=0")]
    return dots(rows, [f"{k} points seen" for k in SHOTS], xlabel="mean squared error", top=2 * max(before))


def _steps(name: str, record: Record, key: str, counts: Sequence[int]) -> Series:
    """A metric by the number of gradient steps, as far as it is finite."""
    found = {count: record[key.format(count)] for count in counts}
    finite = {count: value for count, value in found.items() if math.isfinite(value.mean)}
    means, widths = [value.mean for value in finite.values()], [value.ci95 for value in finite.values()]
    return Series(PARTS.get(name, name.replace("/", ", ")), list(finite), means, widths)


def _flat(name: str, value: Value, last: int) -> Series:
    """What does not change with gradient steps."""
    places = range(last + 1)
    return Series(PARTS[name], places, [value.mean] * len(places), [value.ci95] * len(places))


def _errors(series: Sequence[Series], top: float = math.inf) -> Figure:
    label = "mean squared error, 10 points seen"
    return figures.lines(series, xlabel="gradient steps", ylabel=label, log=True, whole=True, top=top)

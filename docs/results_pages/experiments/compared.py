"""Every learner on the same curves, tuned alike: six families of curves, a page each."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from quickstudy.report.tables import PARTS
from results_pages.experiments.waves import COLUMNS, SHOTS
from results_pages.files import costs, metrics
from results_pages.page import Figure, Headline, Page
from results_pages.record import Record, Value, read
from results_pages.table import Row, Table, shown

BEST = 10  # rows of the table, besides MAML and the pretrained rival
DENSITIES = ("np", "cnp", "alpaca", "bayesian_maml")
ENCODERS = ("np", "cnp", "alpaca")  # these take no gradient steps


class Setting(NamedTuple):
    """One family of curves.

    Args:
        name: of its folder in results/.
        title: of the page.
        curves: what a task is.
        asked: in the overview.
        budget: training steps, trials, and steps of a trial.
        joined: folders of learners that were added later.
        least: the least possible error, where there is noise.
        care: what could be misread, besides what is said of all.
    """

    name: str
    title: str
    curves: str
    asked: str
    budget: tuple[str, str, str] = ("5,000", "6", "1,000")
    joined: tuple[str, ...] = ()
    least: str = ""
    care: tuple[str, ...] = ()


AFTER_A_LOOK = (
    "The ranges of WarpGrad and iMAML were narrowed, and the forms of Bayesian MAML, iMAML and MAML++ chosen, after a "
    "look at earlier runs on the same unseen waves: these four had an advantage."
)
SETTINGS = (
    Setting(
        "sinusoid-compare",
        "Every learner on sine waves, tuned alike",
        "Sine waves as in [MAML's experiment](sinusoid-maml.md), without noise: amplitude in [0.1, 5], phase in [0, "
        "π].",
        "Which learner is best on sine waves when all are tuned alike?",
        joined=("sinusoid-compare-joined",),
        care=(
            AFTER_A_LOOK,
            "A wave is a sum of a sine and a cosine, which is what ALPaCA's last layer assumes: its lead belongs to "
            "these waves.",
            "Without noise no learner's intervals fit at all three sizes; see the file of all measurements.",
        ),
    ),
    Setting(
        "sinusoid-compare-noise0.3",
        "Every learner on noisy sine waves",
        "The [same waves](sinusoid-compare.md) with noise of standard deviation 0.3, on which errors are measured too.",
        "The same with noise of standard deviation 0.3.",
        joined=("sinusoid-compare-noise0.3-joined",),
        least="0.09",
        care=(AFTER_A_LOOK,),
    ),
    Setting(
        "sinusoid-compare-frequency",
        "Every learner on waves of varying frequency",
        "Sine waves of the [Meta-SGD paper](sinusoid-meta-sgd.md), without noise: amplitude in [0.1, 5], frequency in "
        "[0.8, 1.2], phase in [0, π].",
        "The same where the frequency varies too.",
        joined=("sinusoid-compare-frequency-joined", "sinusoid-compare-frequency-imaml"),
        care=(
            "A ranking belongs to its budget: in an earlier run of 3,000 steps and half the settings CAVIA was "
            "behind MAML.",
        ),
    ),
    Setting(
        "sinusoid-compare-frequency-noise0.3",
        "Every learner on noisy waves of varying frequency",
        "The [same waves](sinusoid-compare-frequency.md) with noise of standard deviation 0.3, on which errors are "
        "measured too.",
        "The same with noise of standard deviation 0.3.",
        joined=("sinusoid-compare-frequency-noise0.3-joined", "sinusoid-compare-frequency-noise0.3-imaml"),
        least="0.09",
    ),
    Setting(
        "compare-sine-and-line",
        "Learners on sine waves and lines mixed",
        "Half of the tasks are sine waves, half are straight lines: a learner must first find out which it sees.",
        "The same where a task is a wave or a line.",
        budget=("3,000", "3", "600"),
        care=("Waves and lines are sums of four curves, which is what ALPaCA's last layer assumes.",),
    ),
    Setting(
        "compare-pendulum",
        "Learners on damped pendulums",
        "The angle in radians, against time, of a pendulum of unknown length, damping and start.",
        "The same on pendulums, whose curves no learner has built in.",
        budget=("3,000", "3", "600"),
    ),
)


def pages() -> list[Page]:
    """A page for each family of curves."""
    return [_page(setting) for setting in SETTINGS]


def _page(setting: Setting) -> Page:
    record = read(setting.name, *setting.joined)
    ranked = ranking(record)
    best, maml, rival = (record[f"{name}/tuned_mse/k=10"] for name in (ranked[0], "maml", "pretrained"))
    return Page(
        name=setting.name,
        title=setting.title,
        question=_question(setting),
        figure=Figure(
            f"{setting.name}.png",
            "Error of every learner with 5, 10 and 20 points seen, the best at the top",
            "Mean squared error on a logarithmic scale, with 95% intervals over seeds; the best with 10 points at "
            "the top. A hollow triangle at the right edge is a mean that is off the scale: on some curve the learner "
            "diverged.",
        ),
        table=_table(setting, record, ranked),
        says=_says(record, ranked),
        care=(*_all(record), *setting.care),
        published=(),
        records=(record,),
        headline=Headline(
            setting.asked,
            "error, K=10 ↓",
            f"{PARTS[ranked[0]]}: {shown(best)}, MAML: {shown(maml)}",
            "none",
            f"pretrained, tuned: {shown(rival)}",
        ),
        files={
            f"{setting.name}.csv": (
                "every measurement; names that begin with `tuned_` are those of the table, the others are errors "
                "after 0, 1, 5 and 10 steps",
                metrics(record),
            ),
            f"{setting.name}-costs.csv": (
                "parameters, steps of adapting, seconds of training, milliseconds of adapting, the settings chosen",
                costs(record),
            ),
        },
    )


def ranking(record: Record) -> list[str]:
    """Learners by their error with 10 points, the best first."""
    errors = record.learners("tuned_mse", "k=10")
    return sorted(errors, key=lambda name: errors[name].mean if math.isfinite(errors[name].mean) else math.inf)


def _question(setting: Setting) -> str:
    steps, trials, trial = setting.budget
    return (
        f"**Which learner is best when all have the same budget and the same tuning?** {setting.curves} Every learner "
        f"sees the same batches for {steps} steps of 25 tasks, with 5 to 20 points seen of each. Its settings are the "
        f"best of {trials} trials of {trial} steps each on validation tasks. The number of gradient steps at test time "
        "is chosen on 200 validation tasks, from 0, 1, 5, 10 and that of training; the *pretrained* rival, one "
        "network trained on all tasks at once, chooses among 13 update rules and up to 100 steps (`tune_adaptation`)."
    )


def _table(setting: Setting, record: Record, ranked: Sequence[str]) -> Table:
    names = list(ranked[:BEST])
    names += [name for name in ranked[BEST:] if name in ("maml", "pretrained")]
    left = [PARTS[name] for name in ranked if name not in names]
    rows = []
    for name in names:
        errors = [record[f"{name}/tuned_mse/k={k}"] for k in SHOTS]
        share = record[f"{name}/tuned_coverage90/k=10"] if name in DENSITIES else None
        facts = record.facts[name]
        rows.append(Row(PARTS[name], (*errors, share, f"{facts['adapt_ms']:.3g}", f"{facts['training_seconds']:,.0f}")))
    note = (
        "Mean squared error on 100 points of each of 1,000 unseen tasks; lower is better"
        + (f", and {setting.least} is the least possible" if setting.least else "")
        + f". ± is a 95% confidence interval over {record.counted[0]} seeds (Student's t). K is the number of points "
        "seen. The share of outcomes in the 90% interval should be 0.9. Milliseconds are to adapt to 10 points of "
        "25 tasks at once (by 10 gradient steps, where there are any) and to predict 100 more; seconds are of "
        "training for one seed."
    )
    if left:
        note += f" The best {BEST} with 10 points are shown, besides MAML and the rival; the others, in the figure and "
        note += f"the file: {', '.join(left)}."
    header = ("", *COLUMNS, "in the 90% interval, K=10", "ms to adapt", "s to train")
    return Table(header, rows, ("lower", "lower", "lower", None, None, None), note)


def _says(record: Record, ranked: Sequence[str]) -> str:
    errors = record.learners("tuned_mse", "k=10")
    maml, rival = errors["maml"], errors["pretrained"]
    others = (*ENCODERS, "maml", "pretrained")
    steppers = [name for name in ranked if name not in others and errors[name].mean < maml.mean][:3]
    listed = "; ".join(f"{PARTS[name]} ({shown(errors[name])})" for name in steppers)
    more = record.learners("tuned_mse", "k=20")
    return (
        f"{PARTS[ranked[0]]} makes the least error with 10 points ({shown(errors[ranked[0]])}). The best of those that "
        f"take gradient steps: {listed}; MAML's error is {shown(maml)}. The pretrained rival, tuned, makes "
        f"{shown(rival)} with 10 points and {shown(more['pretrained'])} with 20, where MAML makes "
        f"{shown(more['maml'])}."
    )


def _all(record: Record) -> list[str]:
    """What is to be said of each comparison."""
    bad = [
        PARTS[name]
        for name in ranking(record)
        if any(not math.isfinite(value.mean) or value.ci95 > 2 * value.mean for value in _errors(record, name))
    ]
    found = []
    if bad:
        found.append(
            '"Not finite", or an interval far wider than its mean: of 1,000 unseen tasks a few diverged, in one seed '
            f"or more. Here: {', '.join(bad)}. The 200 validation tasks on which steps were chosen need not show it."
        )
    if len(record.made) > 1:
        found.append(_joined(record))
    found.append("The seconds are those of a machine that was busy with other runs.")
    return found


def _joined(record: Record) -> str:
    """Who joined later, and where."""
    late = record.made[1:]
    names = re.findall(r"--methods ((?:\w+ )+)--", " ".join(made.command for made in late))
    listed = " and ".join(PARTS[name] for found in names for name in found.split())
    elsewhere = {made.hardware for made in late} != {record.made[0].hardware}
    said = ", on another machine: their milliseconds and seconds are those of that machine" if elsewhere else ""
    return f"{listed} joined later, by the same command{said}."


def _errors(record: Record, name: str) -> list[Value]:
    return [record[f"{name}/tuned_mse/k={k}"] for k in SHOTS]

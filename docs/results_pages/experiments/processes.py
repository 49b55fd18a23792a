"""CNP and Neural Process on Gaussian processes, beside the exact posterior."""

from collections.abc import Mapping

from results_pages.files import metrics
from results_pages.page import Figure, Headline, Page
from results_pages.published import Published, published
from results_pages.record import Record, Value, read
from results_pages.table import Row, Table, quoted, shown

KERNELS = ("rbf", "matern52", "periodic")
RUNS = {  # folder: name, least standard deviation
    "gp-cnp-floor0.1": ("CNP", "0.1"),
    "gp-np-floor0.1": ("Neural Process", "0.1"),
    "gp-cnp": ("CNP", "0.001"),
    "gp-np": ("Neural Process", "0.001"),
}
QUESTION = (
    "**How near does a learner come to the exact posterior of a Gaussian process?** The protocol of Nguyen and Grover "
    "2022 ([arXiv 2207.04179](https://arxiv.org/abs/2207.04179)): functions drawn with an RBF kernel, lengthscale in "
    "[0.1, 0.6], scale in [0.1, 1], noise 0.02; 3 to 46 points are seen of each; 100,000 training steps of 16 "
    "functions. The learners never trained on Matern and periodic functions. The *floor* is the least standard "
    "deviation that a learner may predict: the code of the paper sets 0.1 for CNP and Neural Process, which caps what "
    "they can reach."
)
NOTE = (
    "Log-likelihood per point, in nats (natural logarithms), of {n:,} unseen functions of each kernel; higher is "
    "better. ± is a 95% confidence interval over functions, for one training. *Joint* is that of all points together, "
    "divided by their number; the share of outcomes in the 90% interval should be 0.9. The exact posterior is told "
    "the lengthscale and scale of each function, which a learner must infer."
)


def page() -> Page:
    """Two learners, two floors, three kernels."""
    records = {name: read(name) for name in RUNS}
    theirs, floored = published("tnp"), published("gp-floor")
    ours = records["gp-np"]
    bound = ours["oracle_log_likelihood/kernel=rbf"]
    key = "log_likelihood/kernel=rbf"
    best, with_floor, cnp = ours[key], records["gp-np-floor0.1"][key], records["gp-cnp-floor0.1"][key]
    return Page(
        name="gaussian-processes",
        title="CNP and Neural Process on Gaussian processes",
        question=QUESTION,
        figure=Figure(
            "../../results/gp-np/beliefs.png",
            "Three unseen functions: the Neural Process on the left, the exact posterior on the right",
            "Three unseen functions of the RBF kernel, floor 0.001. Bands are two standard deviations.",
        ),
        table=Table(
            ("", "RBF", "Matern 5/2", "periodic", "RBF, joint", "RBF, in the 90% interval"),
            _rows(records, theirs, floored),
            ("higher", "higher", "higher", "higher", None),
            NOTE.format(n=ours.counted[0]),
        ),
        says=f"With the floor of the published figures the Neural Process reaches {shown(with_floor)} on the kernel of "
        f"training and CNP {shown(cnp)}, beside {quoted(theirs.values['np/' + key])} and "
        f"{quoted(theirs.values['cnp/' + key])} in the paper, as recalled. Without it the Neural Process reaches "
        f"{shown(best)}, where the exact posterior has {shown(bound)}; on periodic functions, on which none "
        "was trained, all are far below the posterior.",
        care=(
            "One seed each: the intervals do not say how much another training would differ.",
            "Attention closes most of the gap: the published TNP-D, a transformer, stands far above both learners "
            "here.",
        ),
        published=(theirs, floored),
        records=tuple(records.values()),
        headline=Headline(
            "How near is it to the exact posterior?",
            "log-likelihood per point in nats, RBF kernel, floor 0.1 ↑",
            f"Neural Process: {shown(with_floor)}, CNP: {shown(cnp)}",
            f"{quoted(theirs.values['np/' + key])} and {quoted(theirs.values['cnp/' + key])} (recalled)",
            f"bound: {shown(bound)}",
        ),
        files={
            "gaussian-processes.csv": (
                "errors, likelihoods and calibration on all kernels",
                [
                    line
                    for name, (learner, floor) in RUNS.items()
                    for line in metrics(records[name], learner, floor=floor)
                ],
            )
        },
    )


def _rows(records: Mapping[str, Record], theirs: Published, floored: Published) -> list[Row]:
    """Ours, each with the published figures below where the floor is the same; then what bounds them."""
    rows = []
    for name, (learner, floor) in RUNS.items():
        rows.append(_row(f"{learner}, floor {floor}", records[name]))
        if floor == "0.1":
            key = "np" if learner == "Neural Process" else "cnp"
            rows.append(_quoted(f"{learner}, floor 0.1, {theirs.label}", theirs, f"{key}/"))
    rows.append(_quoted(f"TNP-D, {theirs.label}", theirs, "tnp_d/"))
    rows.append(_quoted(f"exact posterior with floor 0.1, {floored.label}", floored))
    exact = records["gp-np"]
    bound = [exact[f"oracle_log_likelihood/kernel={kernel}"] for kernel in KERNELS]
    joint = exact["oracle_joint_log_likelihood/kernel=rbf"]
    return [*rows, Row("exact posterior", (*bound, joint, None), competes=False)]


def _quoted(label: str, source: Published, prefix: str = "") -> Row:
    figures = [quoted(source.values[f"{prefix}log_likelihood/kernel={kernel}"]) for kernel in KERNELS]
    return Row(label, (*figures, None, None), competes=False)


def _row(label: str, record: Record) -> Row:
    own: list[Value | str | None] = [record[f"log_likelihood/kernel={kernel}"] for kernel in KERNELS]
    return Row(label, (*own, record["joint_log_likelihood/kernel=rbf"], record["coverage90/kernel=rbf"]))

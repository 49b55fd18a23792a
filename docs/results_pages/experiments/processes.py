"""Neural processes on Gaussian processes, beside the exact posterior."""

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
    "gp-tnp": ("TNP", "0.001"),
}
CHAIN = "autoregressive_joint_log_likelihood/kernel=rbf"
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
    "divided by their number; that of TNP is by the chain rule, over {orders} random orders, for the first {chain:,} "
    "functions. The share of outcomes in the 90% interval should be 0.9. The exact posterior is told "
    "the lengthscale and scale of each function, which a learner must infer."
)


def page() -> Page:
    """Three learners, two floors, three kernels."""
    records = {name: read(name) for name in RUNS}
    theirs, floored, chain = published("tnp"), published("gp-floor"), published("gp-chain")
    ours = records["gp-np"]
    bound = ours["oracle_log_likelihood/kernel=rbf"]
    key = "log_likelihood/kernel=rbf"
    best, with_floor, cnp = ours[key], records["gp-np-floor0.1"][key], records["gp-cnp-floor0.1"][key]
    tnp = records["gp-tnp"]
    return Page(
        name="gaussian-processes",
        title="Neural processes on Gaussian processes",
        question=QUESTION,
        figure=Figure(
            "../../results/gp-tnp/beliefs.png",
            "Three unseen functions: the TNP on the left, the exact posterior on the right",
            "Three unseen functions of the RBF kernel, floor 0.001. Bands are two standard deviations.",
        ),
        table=Table(
            ("", "RBF", "Matern 5/2", "periodic", "RBF, joint", "RBF, in the 90% interval"),
            [*_rows(records, theirs, floored), _of_chain(chain)],
            ("higher", "higher", "higher", "higher", None),
            NOTE.format(n=ours.counted[0], orders=8, chain=480),
        ),
        says=f"With the floor of the published figures the Neural Process reaches {shown(with_floor)} on the kernel of "
        f"training and CNP {shown(cnp)}, beside {quoted(theirs.values['np/' + key])} and "
        f"{quoted(theirs.values['cnp/' + key])} in the paper, as recalled. Without it the Neural Process reaches "
        f"{shown(best)} and the transformer TNP {shown(tnp[key])}, where the exact posterior has {shown(bound)}; on "
        "periodic functions, on which none was trained, all are far below the posterior.",
        care=(
            "One seed each: the intervals do not say how much another training would differ.",
            "TNP is the model of the published TNP-D, with a token that stands for no point and another floor. Its "
            "joint likelihood has no published counterpart: that of TNP-A (1.63, recalled) is of another model, in one "
            "order.",
            "TNP was measured on other functions than the rest, since a seed has drawn others since then; the last row "
            "but one is the exact posterior on these. The 480 functions of its joint likelihood are the first of "
            "them, and easier than all together, as the last row shows: TNP is .12 below the exact posterior there.",
            "TNP trained beside other work and with pauses, so its seconds do not compare.",
        ),
        published=(theirs, floored, chain),
        records=tuple(records.values()),
        headline=Headline(
            "How near is it to the exact posterior?",
            "log-likelihood per point in nats, RBF kernel, floor 0.1 ↑",
            f"Neural Process: {shown(with_floor)}, CNP: {shown(cnp)}; floor 0.001, TNP: {shown(tnp[key])}",
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
    rows.append(_exact("exact posterior", records["gp-np"]))
    return [*rows, _exact("exact posterior, functions of TNP", records["gp-tnp"])]


def _of_chain(chain: Published) -> Row:
    joint = quoted(chain.values["oracle_joint_log_likelihood/kernel=rbf"])
    return Row(f"exact posterior, the 480 functions, {chain.label}", (None, None, None, joint, None), competes=False)


def _exact(label: str, record: Record) -> Row:
    bound = [record[f"oracle_log_likelihood/kernel={kernel}"] for kernel in KERNELS]
    return Row(label, (*bound, record["oracle_joint_log_likelihood/kernel=rbf"], None), competes=False)


def _quoted(label: str, source: Published, prefix: str = "") -> Row:
    figures = [quoted(source.values[f"{prefix}log_likelihood/kernel={kernel}"]) for kernel in KERNELS]
    return Row(label, (*figures, None, None), competes=False)


def _row(label: str, record: Record) -> Row:
    own: list[Value | str | None] = [record[f"log_likelihood/kernel={kernel}"] for kernel in KERNELS]
    joint = record[CHAIN if label.startswith("TNP") else "joint_log_likelihood/kernel=rbf"]
    return Row(label, (*own, joint, record["coverage90/kernel=rbf"]))

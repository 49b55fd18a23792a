"""The family of neural processes at one budget, and how far learners are from exact posteriors."""

from collections.abc import Mapping

from results_pages.files import metrics
from results_pages.page import Figure, Headline, Page
from results_pages.record import Record, Value, read
from results_pages.table import Row, Table, shown

KERNELS = ("rbf", "matern52", "periodic")
SMALL, LARGE = "0.001", "0.1"
EQUAL = {  # folder: name, floor
    "gp-20k-cnp": ("CNP", SMALL),
    "gp-20k-np": ("Neural Process", SMALL),
    "gp-20k-attentive-cnp": ("Attentive CNP", SMALL),
    "gp-20k-tnp": ("TNP", SMALL),
    "gp-20k-tnp-nd": ("TNP-ND", SMALL),
    "gp-20k-tnp-a": ("TNP-A", SMALL),
    "gp-20k-tnp-mixture": ("TNP, mixture head", SMALL),
    "gp-20k-floor-attentive-cnp": ("Attentive CNP", LARGE),
    "gp-20k-floor-tnp": ("TNP", LARGE),
}
FAR_KERNELS = {"rbf": "RBF", "matern52": "Matern", "weakly_periodic": "weakly periodic"}
FAR = {  # name, kernel: folder
    ("ALPaCA", "rbf"): "kl-alpaca",
    ("ALPaCA", "matern52"): "kl-alpaca-matern",
    ("ALPaCA", "weakly_periodic"): "kl-alpaca-weakly-periodic",
    ("Attentive CNP", "rbf"): "kl-attentive-cnp",
    ("Attentive CNP", "matern52"): "kl-attentive-cnp-matern",
    ("Attentive CNP", "weakly_periodic"): "kl-attentive-cnp-weakly-periodic",
    ("CNP", "rbf"): "kl-cnp",
    ("CNP", "matern52"): "kl-cnp-matern",
    ("CNP", "weakly_periodic"): "kl-cnp-weakly-periodic",
    ("TNP", "rbf"): "kl-tnp",
    ("TNP", "weakly_periodic"): "kl-tnp-weakly-periodic",
    ("Neural Process", "rbf"): "kl-np",
}
LARGER = {  # folder: name
    "gp-20k-cnp": "CNP",
    "gp-20k-np": "Neural Process",
    "gp-20k-tnp-nd": "TNP-ND",
    "gp-20k-tnp-a": "TNP-A",
    "gp-20k-tnp-mixture": "TNP, mixture head",
}
SIZES = (46, 460, 2300)
CHAIN, JOINT, MARGINAL = "autoregressive_joint_log_likelihood", "joint_log_likelihood", "log_likelihood"


def pages() -> list[Page]:
    """The pages."""
    return [_equal(), _larger(), _far(), _beyond(), _sawtooth()]


def _equal() -> Page:
    """All at 20,000 steps."""
    records = {name: read(name) for name in EQUAL}
    periodic = read("gp-20k-tnp-mixture-periodic")
    rows = [_likelihoods(f"{label}, floor {floor}", records[name]) for name, (label, floor) in EQUAL.items()]
    some = records["gp-20k-cnp"]
    exact = (*(some[f"oracle_{MARGINAL}/kernel={k}"] for k in KERNELS), some[f"oracle_{JOINT}/kernel=rbf"])
    best = records["gp-20k-tnp"][f"{MARGINAL}/kernel=rbf"]
    return Page(
        name="process-family",
        title="The family of neural processes, at one budget",
        question="**What do attention and transformers gain, and what does the floor hide?** The protocol of [Neural "
        "processes on Gaussian processes](gaussian-processes.md), for every model with the same budget: 20,000 steps "
        "of 16 functions, a fifth of the published budget; Adam at 5e-4, falling along a cosine; gradients clipped at "
        "norm 1. The *floor* is the least standard deviation that a learner may predict. Published figures of most "
        "models have a floor of 0.1, those of transformers have none.",
        figure=Figure(
            "../../results/gp-20k-attentive-cnp/beliefs.png",
            "Three unseen functions: the attentive CNP on the left, the exact posterior on the right",
            "Three unseen functions of the RBF kernel, Attentive CNP, floor 0.001. Bands are two standard deviations.",
        ),
        table=Table(
            ("", "RBF", "Matern 5/2", "periodic", "RBF, joint"),
            [*rows, Row("exact posterior", exact, competes=False)],
            ("higher", "higher", "higher", "higher"),
            f"Log-likelihood per point, in nats, of {some.counted[0]:,} unseen functions of each kernel; higher is "
            "better. ± is a 95% confidence interval over functions, for one training. *Joint* is that of all points "
            "together, divided by their number: by the chain rule over 8 random orders, for the first 480 functions. "
            "For all functions: that of the Neural Process by its latent variable; of TNP-ND by its covariance. The "
            "exact posterior is told the lengthscale and scale of each function.",
        ),
        says=f"{_floors(records)} Trained on the periodic kernel itself, TNP with a mixture head has "
        f"{shown(periodic[f'{CHAIN}/kernel=periodic'])} there by the chain rule, and "
        f"{shown(periodic[f'{MARGINAL}/kernel=periodic'])} at each point by itself (exact "
        f"{periodic[f'oracle_{MARGINAL}/kernel=periodic'].mean:.2f}). With 2,300 points seen it has "
        f"{periodic[f'{MARGINAL}/kernel=periodic/support=2300'].mean:.2f}: with this budget it has not learned to find "
        "the period.",
        care=(
            "One seed each, and a fifth of the published steps: a longer training moves the rows by unequal amounts.",
            "They trained beside other work, some at another commit, so their seconds do not compare.",
            "In the table, kernels other than RBF did not occur in training.",
        ),
        published=(),
        records=(*records.values(), periodic),
        headline=Headline(
            "What do attention and transformers gain, and what does the floor hide?",
            "log-likelihood per point in nats, RBF kernel, 20,000 steps ↑",
            f"TNP: {shown(best)}, Attentive CNP: {shown(records['gp-20k-attentive-cnp'][f'{MARGINAL}/kernel=rbf'])}",
            "none with this budget",
            f"CNP: {shown(some[f'{MARGINAL}/kernel=rbf'])}; bound: {shown(exact[0])}",
        ),
        files={
            "process-family.csv": (
                "errors, likelihoods and calibration on all kernels",
                [line for name, (label, floor) in EQUAL.items() for line in metrics(records[name], label, floor=floor)],
            )
        },
    )


def _floors(records: Mapping[str, Record]) -> str:
    """What attention, transformers and the floor do."""
    found = {EQUAL[name]: record[f"{MARGINAL}/kernel=rbf"].mean for name, record in records.items()}
    attentive, floored = found["Attentive CNP", SMALL], found["Attentive CNP", LARGE]
    tnp = found["TNP", SMALL]
    text = (
        f"The floor of 0.1 costs the attentive CNP {attentive - floored:.2f} nats. In the published table an attentive "
        "CNP with this floor is 0.60 below a transformer without it (recalled); here the gap is "
        f"{tnp - floored:.2f}, of which {tnp - attentive:.2f} is left when neither has it: the floor explains "
        f"{(attentive - floored) / (tnp - floored):.0%}."
    )
    if ("TNP", LARGE) in found:
        text += f" With the floor, the transformer is {found['TNP', LARGE] - floored:.2f} above."
    mixture, covariance, chained = (records[f"gp-20k-{name}"] for name in ("tnp-mixture", "tnp-nd", "tnp-a"))
    return text + (
        " Jointly, the transformer with a mixture head and the chain rule has "
        f"{shown(mixture[f'{CHAIN}/kernel=rbf'])}, against {mixture[f'{JOINT}/kernel=rbf'].mean:.2f} if it predicts "
        f"each point by itself, {shown(chained[f'{CHAIN}/kernel=rbf'])} for TNP-A and "
        f"{shown(covariance[f'{JOINT}/kernel=rbf'])} for TNP-ND, trained alike."
    )


def _likelihoods(label: str, record: Record) -> Row:
    joint = CHAIN if f"{CHAIN}/kernel=rbf" in record.metrics else JOINT
    return Row(label, (*(record[f"{MARGINAL}/kernel={k}"] for k in KERNELS), record[f"{joint}/kernel=rbf"]))


def _larger() -> Page:
    """Support sets that are larger than any in training."""
    records = {name: read(name) for name in LARGER}
    some = next(iter(records.values()))
    rows = [_sizes(LARGER[name], record) for name, record in records.items()]
    exact = [some[f"oracle_{MARGINAL}/kernel=rbf/support={size}"] for size in SIZES]
    rows.append(Row("exact posterior", (*exact, None, None, None), competes=False))
    ends = {
        label: [records[name][f"{MARGINAL}/kernel=rbf/support={size}"].mean for size in (SIZES[0], SIZES[-1])]
        for name, label in LARGER.items()
    }
    return Page(
        name="more-points",
        title="More points than in training",
        question="**Do more points help when there are more of them than in training?** The processes of [the family "
        "at one budget](process-family.md), trained on 3 to 46 points, see 46, 460 and 2,300 points of functions with "
        "the RBF kernel.",
        figure=Figure(
            "../../results/gp-20k-tnp-a/more-points.png",
            "The log-likelihood of TNP-A with 46 to 2,300 points, beside that of the exact posterior",
            "TNP-A, trained on at most 46 points.",
        ),
        table=Table(
            ("", *(f"{size:,} points" for size in SIZES), *(f"{size:,}, error" for size in SIZES)),
            rows,
            ("higher",) * 3 + ("lower",) * 3,
            "Log-likelihood per point, in nats (higher is better), and mean squared error (lower is better), of 49 "
            "query points of 64 unseen functions. ± is a 95% confidence interval over functions, for one training.",
        ),
        says=f"From 46 to 2,300 points the log-likelihood of {_listed(ends)}; that of the exact posterior goes from "
        f"{exact[0].mean:.2f} to {exact[-1].mean:.2f}. Gains end at about ten times the largest size of training, so "
        "train on the sizes that you will meet (`support=(0, N)`). `predict` warns where a support set is more than "
        "twice as large as any in training.",
        care=("One seed each, and a fifth of the published steps.",),
        published=(),
        records=tuple(records.values()),
        headline=Headline(
            "Do more points help when there are more than in training?",
            "log-likelihood per point in nats, 2,300 points after training on 46 ↑",
            ", ".join(f"{label}: {last:.2f}" for label, (_, last) in list(ends.items())[2:]),
            "none",
            f"CNP: {ends['CNP'][1]:.2f}; bound: {exact[-1].mean:.2f}",
        ),
        files={
            "more-points.csv": (
                "errors and likelihoods at 1, 2, 5, 10 and 50 times the largest support set of training",
                [line for name, label in LARGER.items() for line in metrics(records[name], label)],
            )
        },
    )


def _listed(ends: Mapping[str, list[float]]) -> str:
    """What each likelihood does, in words."""
    parts = [f"{label} goes from {first:.2f} to {last:.2f}" for label, (first, last) in ends.items()]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _sizes(label: str, record: Record) -> Row:
    names = (f"{metric}/kernel=rbf/support={size}" for metric in (MARGINAL, "mse") for size in SIZES)
    return Row(label, [record[name] for name in names])


def _sawtooth() -> Page:
    """Waves with jumps."""
    name = "sawtooth-conv-cnp"
    record = read(name)
    alone, joint, normal = (record[m] for m in (MARGINAL, CHAIN, f"normal/{MARGINAL}"))
    return Page(
        name="sawtooth",
        title="Sawtooth waves",
        question="**Can a process predict waves with jumps, and draw them?** The waves of Bruinsma et al. 2023 "
        "([arXiv 2303.14468](https://arxiv.org/abs/2303.14468)): frequency 2 to 4, random direction and offset, no "
        "noise; 0 to 30 points are seen and 100 predicted. A ConvCNP trained for 20,000 steps of 16 waves (102,400 in "
        "the publication), Adam at 3e-4, falling along a cosine.",
        figure=Figure(
            f"../../results/{name}/beliefs.png",
            "Three unseen waves with the mean and the band of a ConvCNP, and functions drawn from it by the chain rule",
            "Functions are drawn at 20 places by the chain rule; the line is the mean given these.",
        ),
        table=Table(
            ("", "each point by itself", "all points, by the chain rule"),
            [
                Row("ConvCNP", (alone, joint)),
                Row("normal distribution of all outputs", (normal, None), competes=False),
            ],
            (None, None),
            f"Log-likelihood per point, in nats; higher is better. ± is a 95% confidence interval over "
            f"{record.counted[0]:,} unseen waves, over {record.metrics[CHAIN]['n']} for the chain rule (8 "
            "random orders), for one training.",
        ),
        says=f"With a fifth of the published steps it has {shown(alone)} and by the chain rule {shown(joint)}; "
        "published are 2.40 and 3.62 (recalled). Four publications use four different processes under this name; their "
        "frequencies and noise differ, and so do their likelihoods.",
        care=("One seed, a fifth of the published steps.",),
        published=(),
        records=(record,),
        headline=Headline(
            "Can a process predict waves with jumps?",
            "log-likelihood per point in nats, all points by the chain rule, 20,000 steps ↑",
            f"ConvCNP: {shown(joint)}",
            "3.62 after 102,400 steps (recalled)",
            f"each point by itself: {shown(alone)}",
        ),
        files={"sawtooth.csv": ("likelihoods, errors and calibration", metrics(record, "ConvCNP"))},
    )


def _far() -> Page:
    """Divergences of processes, gradient-based and closed-form learners, for each kernel."""
    records = {(name, kernel): read(folder) for (name, kernel), folder in FAR.items()}
    names = list(dict.fromkeys(name for name, _ in records))
    rows = [Row(name, _by_kernel(records, name)) for name in names]
    references = [_by_kernel(records, names[0], part) for part in ("diagonal/", "prior/")]
    rows.append(Row("exact posterior at each point by itself", references[0], competes=False))
    rows.append(Row("prior of the process", references[1], competes=False))
    attentive, alpaca, tnp = (records[name, "rbf"] for name in ("Attentive CNP", "ALPaCA", "TNP"))
    some, others = records[names[0], "rbf"], [records["Attentive CNP", kernel] for kernel in FAR_KERNELS]
    gaps = [record["kl"].mean - record["diagonal/kl"].mean for record in others]
    return Page(
        name="divergence",
        title="Divergence from exact posteriors",
        question="**How far are beliefs from the exact ones?** Functions of a Gaussian process with noise variance "
        "0.05 on [-2, 2], whose kernel is RBF, Matern 5/2 (both of length scale 0.25) or weakly periodic: the first "
        "protocol of Bruinsma et al. 2023 ([arXiv 2303.14468](https://arxiv.org/abs/2303.14468)): 0 to 30 points are "
        "seen, 50 are predicted together. All learners trained for 20,000 steps of 16 functions (102,400 in the "
        "publication), Adam at 3e-4, on functions of the kernel that they are measured on.",
        figure=Figure(
            "../../results/kl-attentive-cnp-matern/beliefs.png",
            "Three unseen functions with the beliefs of the attentive CNP and the exact posterior",
            "Attentive CNP on three unseen functions with a Matern kernel, beside the exact posterior.",
        ),
        table=Table(
            ("", *(f"{title}{chain}" for title in FAR_KERNELS.values() for chain in ("", ", chain rule"))),
            rows,
            ("lower",) * 6,
            "Kullback-Leibler divergence from the exact posterior to the learner's joint belief, in nats per point; "
            f"lower is better. ± is a 95% confidence interval over {some.counted[0]:,} functions, over 128 for the "
            "chain rule (8 random orders), for one training. A model that predicts each point by itself cannot be "
            "better than the last row but one; the chain rule and joint beliefs can.",
        ),
        says=f"No model that predicts each point by itself can have less than {shown(some['diagonal/kl'])} on the RBF "
        f"kernel; the attentive CNP has {shown(attentive['kl'])}. It is {gaps[0]:.3f}, {gaps[1]:.3f} and {gaps[2]:.3f} "
        "above what is possible on the three kernels, and the TNP is no nearer on the weakly periodic one with this "
        f"budget. By the chain rule the attentive CNP has {shown(attentive['autoregressive_kl'])} on the RBF kernel, "
        f"and the TNP {shown(tnp['autoregressive_kl'])}. ALPaCA, whose belief is joint, has {shown(alpaca['kl'])} "
        f"there, and {shown(records['ALPaCA', 'weakly_periodic']['kl'])} on the weakly periodic kernel.",
        care=(
            "One seed each, and a fifth of the published steps.",
            "They trained beside other work, so their seconds do not compare.",
        ),
        published=(),
        records=tuple(records.values()),
        headline=Headline(
            "How far are beliefs from the exact posterior?",
            "divergence per point in nats, RBF kernel, 20,000 steps ↓",
            f"ALPaCA: {shown(alpaca['kl'])}, Attentive CNP by the chain rule: {shown(attentive['autoregressive_kl'])}",
            "none with this budget",
            f"bound of models that predict each point by itself: {shown(some['diagonal/kl'])}",
        ),
        files={
            "divergence.csv": (
                "divergences and errors, also beyond training",
                [
                    line
                    for (name, kernel), record in records.items()
                    for line in metrics(record, f"{name}, {FAR_KERNELS[kernel]}")
                ],
            )
        },
    )


def _by_kernel(records: Mapping[tuple[str, str], Record], name: str, part: str = "") -> tuple[Value | None, ...]:
    """The divergence with each kernel, and that by the chain rule; None where it was not measured."""
    found: list[Value | None] = []
    for kernel in FAR_KERNELS:
        record = records.get((name, kernel))
        for metric in (f"{part}kl", f"{part}autoregressive_kl"):
            found.append(record[metric] if record is not None and metric in record.metrics else None)
    return tuple(found)


def _beyond() -> Page:
    """The same with an RBF kernel, with points and numbers of points that were not in training."""
    records = {name: read(folder) for (name, kernel), folder in FAR.items() if kernel == "rbf"}
    some = next(iter(records.values()))
    rows = [_divergences(name, record) for name, record in records.items()]
    rows.append(
        Row(
            "exact posterior at each point by itself",
            (some["diagonal/kl"], None, *(some[f"diagonal/kl/support={size}"] for size in (30, 300, 1500))),
            competes=False,
        )
    )
    rows.append(Row("prior of the process", (some["prior/kl"], None, None, None, None), competes=False))
    attentive, alpaca = records["Attentive CNP"], records["ALPaCA"]
    return Page(
        name="divergence-beyond",
        title="Divergence from exact posteriors, beyond training",
        question="**What happens with inputs and numbers of points that training did not have?** The learners with an "
        "RBF kernel of [Divergence from exact posteriors](divergence.md), trained on 0 to 30 points in [-2, 2].",
        figure=Figure(
            "../../results/kl-attentive-cnp/more-points.png",
            "The divergence of the attentive CNP with 30 to 1,500 points, beside that of the exact posterior",
            "Attentive CNP, trained on 0 to 30 points.",
        ),
        table=Table(
            ("", "0 to 30 points", "points in [2, 6]", "30 points", "300 points", "1,500 points"),
            rows,
            ("lower",) * 5,
            "Kullback-Leibler divergence from the exact posterior to the learner's joint belief, in nats per point; "
            f"lower is better. ± is a 95% confidence interval over {some.counted[0]:,} functions, over 64 for each "
            "number of points, for one training. Points in [2, 6] are outside the range of training.",
        ),
        says=f"The attentive CNP comes nearer with more points than it was trained on ({shown(attentive['kl'])} and "
        f"{shown(attentive['kl/support=1500'])} with 1,500). ALPaCA stays where it is "
        f"({shown(alpaca['kl/support=1500'])}). None of them holds outside the range of training.",
        care=("One seed each, and a fifth of the published steps.",),
        published=(),
        records=tuple(records.values()),
        headline=Headline(
            "Are beliefs right with fifty times the points of training?",
            "divergence per point in nats, RBF kernel, 1,500 points ↓",
            f"ALPaCA: {shown(alpaca['kl/support=1500'])}, Attentive CNP: {shown(attentive['kl/support=1500'])}",
            "none",
            f"bound of models that predict each point by itself: {shown(some['diagonal/kl/support=1500'])}",
        ),
        files={
            "divergence-beyond.csv": (
                "divergences and errors, also beyond training",
                [line for name, record in records.items() for line in metrics(record, name)],
            )
        },
    )


def _divergences(label: str, record: Record) -> Row:
    sizes = (record[f"kl/support={size}"] for size in (30, 300, 1500))
    return Row(label, (record["kl"], record["shifted/kl"], *sizes))

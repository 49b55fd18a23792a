"""Bandits that are new in every trial."""

from quickstudy.report.tables import PARTS
from results_pages.files import metrics
from results_pages.page import Figure, Headline, Page
from results_pages.record import read
from results_pages.table import Row, Table, shown

RECORDS = {5: "bandit-rl2", 10: "bandit-rl2-10", 50: "bandit-rl2-50"}  # by the number of arms


def page() -> Page:
    """RL^2 beside policies that know the prior, by the number of arms."""
    records = {arms: read(name) for arms, name in RECORDS.items()}
    names = ("rl2", "rl2_greedy", "index", "thompson", "greedy", "random")
    own = ("rl2", "rl2_greedy", "random")
    rows = []
    for name in names:
        label = PARTS[name] if name in own else f"{PARTS[name]}, knows the prior"
        rows.append(Row(label, tuple(record[f"{name}/return"] for record in records.values()), name in own))
    shares = {arms: record["rl2/share_of_index"] for arms, record in records.items()}
    first = records[5]
    return Page(
        name="bandit-rl2",
        title="RL^2 on bandits",
        question="**Does a recurrent policy learn to try and to stay?** A bandit has 5, 10 or 50 arms that pay 1 with "
        "probabilities drawn from U(0, 1), and is played for 100 pulls (Duan et al. 2016, "
        "[arXiv 1611.02779](https://arxiv.org/abs/1611.02779)). RL^2 was trained for 600 updates of 250 bandits, 15 "
        "million pulls, for each number of arms.",
        figure=Figure(
            "../../results/bandit-rl2/pulls.png",
            "Mean reward by pull, with five arms",
            "Mean reward of each pull, of 2,000 unseen bandits with five arms.",
        ),
        table=Table(
            ("", *(f"{arms} arms" for arms in records)),
            rows,
            ("higher",) * 3,
            "Reward of 100 pulls; higher is better. ± is a 95% confidence interval over 2,000 unseen bandits, the same "
            "for all rows, for one training.",
        ),
        says="Of what the index policy earns, which knows the prior and is nearly optimal, RL^2 has "
        + ", ".join(f"{shown(share)} with {arms} arms" for arms, share in shares.items())
        + ".",
        care=("One seed. The publication reports 78.7, 83.5 and 84.9, with larger updates and a wider memory.",),
        published=(),
        records=tuple(records.values()),
        headline=Headline(
            "Does a recurrent policy learn to try and to stay?",
            "reward of 100 pulls, 5 arms ↑",
            shown(first["rl2/return"]),
            "78.7",
            f"index policy: {shown(first['index/return'])}",
        ),
        files={
            f"{RECORDS[arms]}.csv": (f"rewards with {arms} arms, and the share of the index policy's", metrics(record))
            for arms, record in records.items()
        },
    )

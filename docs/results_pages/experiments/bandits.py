"""Bandits that are new in every trial."""

from quickstudy.report.tables import PARTS
from results_pages.files import metrics
from results_pages.page import Figure, Headline, Page
from results_pages.record import read
from results_pages.table import Row, Table, shown


def five_arms() -> Page:
    """RL^2 beside policies that know the prior."""
    record = read("bandit-rl2")
    names = ("rl2", "rl2_greedy", "index", "thompson", "greedy", "random")
    own = ("rl2", "rl2_greedy", "random")
    rows = [
        Row(PARTS[name] if name in own else f"{PARTS[name]}, knows the prior", (record[f"{name}/return"],), name in own)
        for name in names
    ]
    learned, index = record["rl2/return"], record["index/return"]
    share = record["rl2/share_of_index"]
    return Page(
        name="bandit-rl2",
        title="RL^2 on bandits",
        question="**Does a recurrent policy learn to try and to stay?** A bandit has five arms that pay 1 with "
        "probabilities drawn from U(0, 1), and is played for 100 pulls (Duan et al. 2016, "
        "[arXiv 1611.02779](https://arxiv.org/abs/1611.02779)). RL^2 was trained for 600 updates of 250 bandits, 15 "
        "million pulls.",
        figure=Figure(
            "../../results/bandit-rl2/pulls.png",
            "Mean reward by pull",
            "Mean reward of each pull, of 2,000 unseen bandits.",
        ),
        table=Table(
            ("", "reward of 100 pulls"),
            rows,
            ("higher",),
            "Reward of 100 pulls; higher is better. ± is a 95% confidence interval over 2,000 unseen bandits, the same "
            "for all rows, for one training.",
        ),
        says=f"RL^2 has {shown(learned)}, {shown(share)} of what the index policy earns, which knows the prior and is "
        f"nearly optimal ({shown(index)}); greed has {shown(record['greedy/return'])}, which knows the prior, too.",
        care=("One seed. The publication reports 78.7, from updates of 2,500 bandits.",),
        published=(),
        records=(record,),
        headline=Headline(
            "Does a recurrent policy learn to try and to stay?",
            "reward of 100 pulls ↑",
            shown(learned),
            "78.7",
            f"index policy: {shown(index)}",
        ),
        files={"bandit-rl2.csv": ("rewards, and the share of the index policy's", metrics(record))},
    )

"""Policies that act on a belief about the task: VariBAD and PEARL."""

from results_pages.files import metrics
from results_pages.page import Figure, Headline, Page
from results_pages.record import read
from results_pages.table import Row, Table, shown

EPISODES = range(1, 5)
SEEN = (200 + 249 * 10) * 2 * 20  # transitions of PEARL: two episodes of all goals at first, then of 10 in an update


def pages() -> list[Page]:
    """All pages of this room."""
    return [varibad(), pearl()]


def varibad() -> Page:
    """VariBAD beside the Bayes-optimal policy, and its belief beside the exact one."""
    record = read("gridnavi-varibad")
    labels = {"varibad": "VariBAD", "varibad_greedy": "VariBAD, most probable action"}
    bounds = {"optimal": "Bayes-optimal (a bound)", "told": "told the goal (a bound)"}
    rows = []
    for name, label in (labels | bounds).items():
        values = [record[key] for key in (*(f"{name}/return/episode={k}" for k in EPISODES), f"{name}/total")]
        cells = values if name == "varibad" else [f"{value.mean:.3f}" for value in values]  # without chance
        rows.append(Row(label, tuple(cells), name in labels))
    drawn, (greedy, best) = (
        record["varibad/total"],
        (record[f"{n}/total"].mean for n in ("varibad_greedy", "optimal")),
    )
    far, near, fixed = (record[f"{name}/total_variation"] for name in ("varibad", "reread", "fixed"))
    return Page(
        name="gridnavi-varibad",
        title="VariBAD on GridNavi",
        question="**Does a policy on a learned belief search as well as is possible, and is the belief right?** The "
        "grid is that of [RL^2](gridnavi-rl2.md): 21 goals, one of which pays 1 for each step on it and is not seen; "
        "every other step costs 0.1; four episodes of 15 steps with the same goal (Zintgraf et al. 2020, "
        "[arXiv 1910.08348](https://arxiv.org/abs/1910.08348)). The exact belief is uniform over the cells that were "
        "not visited, and certain once the goal is found. VariBAD was trained for 2,000 updates of 84 trials, 10 "
        "million steps of the environment (100 million in the configuration of the authors' code).",
        figure=Figure(
            "../../results/gridnavi-varibad/beliefs.png",
            "Exact, decoded and re-read probabilities of a reward in each cell, at six steps of one trial",
            "The trial that finds the goal latest. Above the exact belief; then what the trained decoder makes of "
            "VariBAD's belief, and what a decoder does that is told every cell. Circle: the walker; star: the goal.",
        ),
        table=Table(
            ("", *(f"episode {k}" for k in EPISODES), "all four"),
            rows,
            ("higher",) * 5,
            "Return; higher is better. Means over all 21 goals. ± is a 95% confidence interval over 100 trials of "
            "every goal, for one training. The rows without it have no chance in them.",
        ),
        says=f"VariBAD has {shown(drawn)} in four episodes with actions that are drawn, and {greedy:.3f} with the most "
        f"probable ones; no policy can expect more than {best:.3f} without knowing the goal. Its belief is nearly the "
        "exact one, and its decoder is not: over all steps, the total variation from the exact belief, from 0 to 1, is "
        f"{shown(near)} where the belief is read by a decoder that is told the reward of every cell, {shown(far)} by "
        f"the decoder that it was trained with, and {shown(fixed)} for a belief that never changes.",
        care=(
            "One seed. The goals of training and of the measurement are the same, as published.",
            "The trained decoder learns from the cells that the policy visits, and a walker who has found the goal "
            "stays there: what is decoded before the first step is close to the share of visits to each cell that are "
            "paid, far above 1 in 21. The second decoder learns after training, from other trials; the encoder stays "
            "as it is. For the distances, probabilities are divided by their sum.",
            "The decoder says whether a reward is above 0, and reads the cell alone, as published; that of the authors "
            "has one output for each cell, and ours reads coordinates.",
        ),
        published=(),
        records=(record,),
        headline=Headline(
            "Does a policy on a learned belief search as well as is possible?",
            "return of four episodes ↑",
            f"{greedy:.3f}",
            "none",
            f"Bayes-optimal: {best:.3f}; RL^2: {read('gridnavi-rl2')['rl2_greedy/total'].mean:.3f}",
        ),
        files={"gridnavi-varibad.csv": ("returns by episode, and distances of beliefs by step", metrics(record))},
    )


def pearl() -> Page:
    """PEARL beside RL^2 and MAML at equal transitions."""
    record = read("navigation2d-pearl")
    labels = {
        "pearl": "PEARL",
        "rl2": "RL^2",
        "maml": "MAML, 1 episode a step",
        "maml_many": "MAML, 20 episodes a step",
        "rl2_more": "RL^2, 20 times the transitions",
        "maml_more": "MAML, 1 episode a step, 20 times the transitions",
        "maml_many_more": "MAML, 20 episodes a step, 20 times the transitions",
        "random": "untrained",
        "oracle": "told the goal (a bound)",
    }
    rows = [
        Row(label, tuple(record[f"{name}/return/episode={k}"] for k in EPISODES), name != "oracle")
        for name, label in labels.items()
    ]
    last = {name: record[f"{name}/return/episode=4"] for name in labels}
    return Page(
        name="navigation2d-pearl",
        title="PEARL on 2-D navigation",
        question="**What does off-policy learning save?** A point robot begins anywhere on a board of width 2, has 20 "
        "steps of at most 0.1 in each coordinate, and is paid minus its distance from a goal that it does not see, as "
        "in the code of Rakelly et al. 2019 ([arXiv 1903.08254](https://arxiv.org/abs/1903.08254)). Each learner plays "
        f"four episodes on each of 200 unseen goals, and adapts to each. PEARL was trained on {SEEN:,} transitions of "
        "200 goals; RL^2 and MAML with as many, and with 20 times as many, of new goals in every update.",
        figure=Figure(
            "../../results/navigation2d-pearl/episodes.png",
            "Return of an episode on unseen goals by episode, for every learner",
            "Mean return on unseen goals, by episode.",
        ),
        table=Table(
            ("", *(f"episode {k}" for k in EPISODES)),
            rows,
            ("higher",) * 4,
            "Return of an episode; higher is better. ± is a 95% confidence interval over 200 unseen goals, for one "
            "training.",
        ),
        says=f"With equal transitions PEARL has {shown(last['pearl'])} in the fourth episode, RL^2 "
        f"{shown(last['rl2'])} and MAML {shown(last['maml'])}, or {shown(last['maml_many'])} with 20 episodes for each "
        f"gradient step; with 20 times as many transitions in training, RL^2 has {shown(last['rl2_more'])} and MAML "
        f"{shown(last['maml_many_more'])} with 20 episodes a step. "
        f"Told the goal, {shown(last['oracle'])} is possible.",
        care=(
            "One seed. Options of PEARL were chosen by short trainings, on other unseen goals; those of RL^2 and MAML "
            "are their defaults, and were not tuned here.",
            "Transitions are counted, and not seconds: PEARL takes many gradient steps for each transition.",
        ),
        published=(),
        records=(record,),
        headline=Headline(
            "What does off-policy learning save?",
            "return of the fourth episode ↑",
            f"PEARL: {shown(last['pearl'])}",
            "none",
            f"RL^2, 20 times the transitions: {shown(last['rl2_more'])}; told the goal: {shown(last['oracle'])}",
        ),
        files={"navigation2d-pearl.csv": ("returns by episode", metrics(record))},
    )

"""Policies that find a goal, and a Neural Process that balances carts."""

from typing import NamedTuple

from quickstudy.report.tables import PARTS
from results_pages.files import evaluation, metrics
from results_pages.page import Figure, Headline, Page
from results_pages.published import Published, published
from results_pages.record import Record, Value, read
from results_pages.table import Better, Row, Table, apart, quoted, shown

STEPS = (0, 1, 2, 3)
BOARD = (
    "A policy walks on a board towards a goal that it does not see; its reward is minus the distance to the goal, an "
    "episode has at most 100 steps, and the return is the sum of rewards. After training it meets unseen goals, acts "
    "for some episodes, takes a policy-gradient step, and does so three times."
)
RATES = (
    "The learning rates of the three steps are chosen for every learner and seed on 40 validation goals: the rivals "
    "are tuned like the learner in question."
)
BOOTSTRAP = (
    "The interquartile mean is over all seeds and tasks, with a 95% interval of a stratified bootstrap; it leaves out "
    "the best and the worst quarter."
)


class Walk(NamedTuple):
    """A navigation experiment."""

    name: str
    learner: str
    title: str
    asked: str
    question: str
    care: tuple[str, ...]
    quoted: str = ""


WALKS = (
    Walk(
        "navigation2d-maml",
        "maml",
        "MAML on 2-D navigation",
        "Does MAML find unseen goals as published?",
        "**Does a policy trained by MAML find unseen goals after a few gradient steps, as published?** The protocol "
        "of Finn et al. 2017 ([arXiv 1703.03400](https://arxiv.org/abs/1703.03400), section 5.3), as its code has "
        f"it. {BOARD} Goals lie in [-0.5, 0.5]². The policy is Gaussian with two hidden layers of 100; training is "
        "100 updates by TRPO (KL of at most 0.01) of 20 goals each, through one step of rate 0.5 on 20 episodes. "
        "*Pretrained* is trained on all goals at once, *untrained* not at all, *told the goal* sees it.",
        (
            "The authors measure with rates 0.5 and then 0.25; here the best of four rates is chosen for everybody.",
            "The seconds are those of a machine that was busy with other work.",
        ),
        quoted="maml-navigation",
    ),
    Walk(
        "navigation2d-maml-rates",
        "maml",
        "MAML on 2-D navigation, with a finer choice of rates",
        "How much of its return does a coarse choice of rates cost?",
        "**How far does one gradient step reach?** The experiment of [MAML on 2-D navigation](navigation2d-maml.md) "
        "with 60 updates in place of 100, and with rates at test time that are chosen among ten multiples of that of "
        f"training, 2 to 0.1, in place of five. {BOARD}",
        (
            "The initial policy explores near the start, from where distant goals look alike. So adapted policies stop "
            "at about the same distance from the start, beyond near goals and short of distant ones, and the rate of "
            "the step decides at which.",
            "The pretrained policy gains most from the finer choice, with a rate that is not among the five: of what "
            "MAML is ahead after one step there, little remains, and later nothing.",
            "In single trials that are not recorded, advantages scaled for all tasks together were worse in the inner "
            "step, and made no difference in the outer loss.",
            "There are two seeds, and fewer updates, so that not every difference from the other page is due to the "
            "rates.",
            "The seconds are those of a machine that was busy with other work.",
        ),
        quoted="maml-navigation",
    ),
    Walk(
        "navigation2d-maml-unit",
        "maml",
        "MAML on a walled board with noise",
        "The same where moves are noisy and walls reflect.",
        f"**Is MAML ahead where the start is always the same and moves are noisy?** {BOARD} The start is in the "
        "middle of the unit square; moves are of at most 0.1, each the mean of this action and the last plus noise "
        "of standard deviation 0.1; walls reflect. Everything else is as in [MAML on 2-D "
        "navigation](navigation2d-maml.md).",
        ("The best of five rates is chosen.", "The seconds are those of a machine that was busy with other work."),
    ),
    Walk(
        "navigation2d-promp",
        "promp",
        "ProMP on 2-D navigation",
        "Is ProMP ahead of a pretrained policy?",
        "**Does ProMP adapt better than a pretrained policy?** The board of [MAML on 2-D "
        "navigation](navigation2d-maml.md), with the outer steps of Rothfuss et al. 2019 ([arXiv "
        "1810.06784](https://arxiv.org/abs/1810.06784)). " + BOARD,
        ("Its paper has other environments, so no published number stands in the table.",),
    ),
)


def navigation() -> list[Page]:
    """A page for each."""
    return [_navigation(walk) for walk in WALKS]


def _navigation(walk: Walk) -> Page:
    record = read(walk.name)
    theirs = published(walk.quoted) if walk.quoted else None
    rows = []
    for name in record.learners("return", "steps=0"):
        competes = name != "oracle"
        label = "told the goal (a bound)" if name == "oracle" else PARTS[name]
        values = [_at(record, name, step) for step in STEPS]
        rows.append(Row(label, (*values, _quartiles(record, name)), competes))
        if theirs:
            figures = [_quoted(theirs, f"{name}/return/steps={step}") for step in STEPS]
            rows.append(Row(f"{label}, {theirs.label}", (*figures, None), False))
    ours, rival = (record[f"{name}/return/steps=3"] for name in (walk.learner, "pretrained"))
    said = theirs.values[f"{walk.learner}/return/steps=3"] if theirs else None
    seeds = record.counted[0]
    bands = " Bands are 95% intervals over seeds."
    interval = f"± is a 95% confidence interval over {seeds} seeds (Student's t)."
    if seeds < 3:
        bands = ""
        interval = (
            f"Ours are means over {seeds} seeds, too few for an interval; a published ± is a 95% confidence interval "
            "over 40 goals of one training."
        )
    return Page(
        name=walk.name,
        title=walk.title,
        question=walk.question,
        figure=Figure(
            f"{walk.name}.png",
            "Return of an episode by the number of gradient steps",
            "Mean return of an episode by the number of gradient steps; 0 would be to stand on the goal from the "
            f"start.{bands}",
        ),
        table=Table(
            ("", "before adapting", *(f"after {step}" for step in STEPS[1:]), "after 3, interquartile mean"),
            rows,
            ("higher",) * 4 + (None,),
            "Mean return of an episode for 200 unseen goals, after 0 to 3 gradient steps; higher is better. "
            f"{interval} {BOOTSTRAP}",
        ),
        says=_walked(record, walk.learner, ours, rival),
        care=(RATES, *walk.care, *_differences(record, theirs)),
        published=(theirs,) if theirs else (),
        records=(record,),
        headline=Headline(
            walk.asked,
            "return after 3 steps ↑",
            f"{PARTS[walk.learner]}: {shown(ours)}",
            quoted(said) if said else "none",
            f"pretrained, tuned: {shown(rival)}",
        ),
        files={
            f"{walk.name}.csv": ("returns, adapted on equal episodes and on equal transitions", metrics(record)),
            f"{walk.name}-evaluation.csv": (
                "means and interquartile means over seeds and goals, probabilities of improvement",
                evaluation(record),
            ),
        },
    )


def _differences(record: Record, theirs: Published | None) -> list[str]:
    """Where a published mean lies outside our interval, and ours outside theirs."""
    if theirs is None:
        return []
    far = []
    for key, value in theirs.values.items():
        name, _, after = key.partition("/return/steps=")
        if name != "oracle" and key in record.metrics and apart(value, record[key]):
            far.append(f"{PARTS[name]} after {after} ({shown(record[key])} here, {quoted(value)} there)")
    return [f"Intervals of ours and of theirs do not touch for {'; '.join(far)}."] if far else []


def _at(record: Record, name: str, step: int) -> Value | None:
    key = f"{name}/return/steps={step}"
    return record[key] if key in record.metrics else None


def _quoted(theirs: Published, key: str) -> str | None:
    return quoted(theirs.values[key]) if key in theirs.values else None


def _quartiles(record: Record, name: str) -> str:
    last = list(record.evaluation["scores"][name].values())[-1]["iqm"]
    return f"{last['value']:.3g} [{last['low']:.3g}, {last['high']:.3g}]"


def _walked(record: Record, learner: str, ours: Value, rival: Value) -> str:
    first = {name: record[f"{name}/return/steps=1"] for name in (learner, "pretrained")}
    name = PARTS[learner]
    odds = record.evaluation["probability_of_improvement"][f"{learner} over pretrained"]
    verdict = "the intervals do not touch" if apart(ours, rival) else "the intervals over seeds overlap"
    if record.counted[0] < 3:
        verdict = f"{record.counted[0]} seeds give no interval"
    return (
        f"After one step {name} stands at {shown(first[learner])} and the pretrained policy, with rates of its own, at "
        f"{shown(first['pretrained'])}; after three at {shown(ours)} and {shown(rival)}, where {verdict}. The "
        f"probability that {name} does better than it on a goal is {odds['value']:.0%} [{odds['low']:.0%}, "
        f"{odds['high']:.0%}]."
    )


FIRST = "return/episode=1"
CARTS = (
    "CartPole with the cart's mass in [0.1, 3] kg and the pole's in [0.01, 1] kg. Every seed meets 20 unseen carts of "
    "its own, for episodes of at most 500 steps; the return is the number of steps balanced. The Neural Process is "
    "trained on transitions of simulated carts, and appends every transition that it sees of a new one; all models "
    "plan by MPPI, 500 candidates of 25 steps for every decision. "
)


def masses() -> Page:
    """Unknown masses, beside learners that start from scratch."""
    record = read("cartpole-np-masses")
    ours, fixed, pets = (record[f"{name}/return/episode=1"] for name in ("np", "fixed", "pets"))
    last = "episode=150"
    return _carts(
        record,
        "A Neural Process that balances carts of unknown mass",
        f"**How many episodes does it take to balance a new cart?** {CARTS}*Never adapts* is one network trained on "
        "all carts. PETS, DQN, REINFORCE and PPO start from scratch on every cart. The *true simulator* is a bound.",
        f"The Neural Process balances for {shown(ours)} steps in its first episode, PETS for {shown(pets)}, and PPO "
        f"for {shown(record[f'ppo/return/{last}'])} in its 150th. Masses alone need no adaptation: the model that "
        f"never adapts balances for {shown(fixed)}.",
        (
            "The planner's objective was chosen on other carts, but after a look at those of seed 0.",
            "Intervals over all carts ignore that every 20 of them share one trained model.",
            "The seconds are those of a machine that was busy with other work.",
        ),
        Headline(
            "How long does it balance a cart of unknown mass in its first episode?",
            "steps, of 500 ↑",
            shown(ours),
            "none",
            f"never adapts: {shown(fixed)}; PETS from scratch: {shown(pets)}",
        ),
    )


def gains() -> Page:
    """Unknown length and force too."""
    record = read("cartpole-np-gains")
    ours, fixed, simulator = (record[f"{name}/return/episode=1"] for name in ("np", "fixed", "simulator"))
    return _carts(
        record,
        "A Neural Process that balances carts which may push the other way",
        f"**Does adapting help where a model that does not adapt cannot know what to do?** {CARTS}Here the pole's "
        "half-length is in [0.25, 1] m too, the force in [5, 20] N, and in half of the carts it pushes the other way.",
        f"The Neural Process balances for {shown(ours)} steps in its first episode, the model that never adapts for "
        f"{shown(fixed)}, and the true simulator for {shown(simulator)} of 500.",
        ("Intervals over all carts ignore that every 20 of them share one trained model.",),
        Headline(
            "The same where half of the carts push the other way.",
            "steps, of 500 ↑",
            shown(ours),
            "none",
            f"never adapts: {shown(fixed)}; bound: {shown(simulator)}",
        ),
    )


def gains_by_features() -> Page:
    """The same by a Bayesian last layer, on twice as many carts."""
    record = read("cartpole-alpaca-gains")
    ours, last, fixed = (record[key] for key in (f"alpaca/{FIRST}", "alpaca/return/episode=5", f"fixed/{FIRST}"))
    return _carts(
        record,
        "ALPaCA balances carts which may push the other way",
        "**Does a model that goes on learning from transitions control better?** The carts are of the kind of [A "
        "Neural Process that balances carts which may push the other way](cartpole-np-gains.md), 40 in each seed. The "
        "model is ALPaCA: exact Bayesian linear regression on features that were trained on simulated carts, 4,000 "
        "steps (the Neural Process there had 8,000). [One-step errors](cartpole-dynamics.md) say why it was chosen.",
        f"ALPaCA balances for {shown(ours)} of 500 steps in the first episode and for {shown(last)} in the fifth, the "
        f"model that never adapts for {shown(fixed)} in the first.",
        ("Intervals over all carts ignore that every 40 of them share one trained model.",),
        Headline(
            "The same with a model that gains from every transition.",
            "steps, of 500 ↑",
            shown(ours),
            "none",
            f"never adapts: {shown(fixed)}",
        ),
        each=40,
    )


def dynamics() -> Page:
    """One-step errors of all learners by the number of transitions."""
    record = read("cartpole-dynamics")
    counts = (0, 5, 50, 500, 2000)
    rows = []
    for name in record.learners("rmse", "k=5"):
        values = [record[f"{name}/rmse/k={count}"] for count in counts]
        rows.append(Row(PARTS.get(name, name), (*values, record[f"{name}/worst_tenth/k=500"])))
    best, process = (
        [record[f"{name}/{metric}/k={count}"] for metric, count in (("rmse", 5), ("rmse", 2000), ("worst_tenth", 500))]
        for name in ("alpaca", "np")
    )
    share = record["alpaca/worst_tenth/k=500"].mean / record["alpaca/worst_tenth/k=5"].mean
    return Page(
        name="cartpole-dynamics",
        title="Which learner predicts an unknown cart",
        question="**Which learner gains from every transition of a new cart?** Carts of unknown masses, length, force "
        "and sign of the force. Each learner was trained for 4,000 steps on the first 0 to 50 transitions of 32 "
        "simulated carts, and predicts 512 transitions of each of 60 unseen ones after more and more of their own. "
        "*Fine-tuned* is a network for all carts, trained further on each with the rule that suits 50 transitions of "
        "validation carts best.",
        figure=Figure(
            "../../results/cartpole-dynamics/errors.png",
            "One-step error by the number of transitions seen, for each learner",
            "Means over unseen carts with 95% intervals. In training at most 50 transitions of a cart were seen.",
        ),
        table=Table(
            ("", *(f"{count:,} seen" for count in counts), "worst tenth, 500 seen"),
            rows,
            ("lower",) * 6,
            "Root mean squared error of the change of state, each component in units of its root mean square; lower is "
            "better. ± is a 95% confidence interval over 60 carts (over 6 in the last column), for one training.",
        ),
        says=f"With 5 transitions ALPaCA has an error of {shown(best[0])} and with 2,000 of {shown(best[1])}; the "
        f"error of its worst tenth of carts after 500 transitions is {share:.2f} of that after 5. The Neural Process "
        f"has {shown(process[0])} and {shown(process[1])}: after the first five it gains nothing.",
        care=("One seed. Processes of the usual size would take too long to plan with, so all networks are small.",),
        published=(),
        records=(record,),
        headline=Headline(
            "Which learner gains from every transition of a new cart?",
            "one-step error after 2,000 transitions ↓",
            f"ALPaCA: {shown(best[1])}",
            "none",
            f"Neural Process: {shown(process[1])}; never adapts: {shown(record['fixed/rmse/k=2000'])}",
        ),
        files={"cartpole-dynamics.csv": ("errors by transitions seen, and of the worst tenth", metrics(record))},
    )


def gridnavi() -> Page:
    """RL^2 beside the Bayes-optimal policy."""
    record = read("gridnavi-rl2")
    labels = {"rl2": "RL^2", "rl2_greedy": "RL^2, most probable action"}
    bounds = {"optimal": "Bayes-optimal (a bound)", "told": "told the goal (a bound)"}
    rows = []
    for name, label in (labels | bounds).items():
        values = [record[key] for key in (*(f"{name}/return/episode={k}" for k in range(1, 5)), f"{name}/total")]
        cells = values if name == "rl2" else [f"{value.mean:.3f}" for value in values]  # without chance
        rows.append(Row(label, tuple(cells), name in labels))
    drawn, (greedy, best) = record["rl2/total"], (record[f"{name}/total"].mean for name in ("rl2_greedy", "optimal"))
    return Page(
        name="gridnavi-rl2",
        title="RL^2 on GridNavi",
        question="**Does a recurrent policy search as well as is possible?** A walker on a 5x5 grid is paid 1 for each "
        "step on a goal that it does not see, and -0.1 for every other step, for four episodes of 15 steps with the "
        "same goal, as in the code of Zintgraf et al. 2020 ([arXiv 1910.08348](https://arxiv.org/abs/1910.08348)). "
        "RL^2 was trained for 600 updates of 84 trials, 3 million steps of the environment (100 million in the "
        "configuration of their code).",
        figure=Figure(
            "../../results/gridnavi-rl2/episodes.png",
            "Return by episode of a trial, for RL^2, the Bayes-optimal policy and one that is told the goal",
            "Mean return over all goals, by episode of a trial.",
        ),
        table=Table(
            ("", *(f"episode {k}" for k in range(1, 5)), "all four"),
            rows,
            ("higher",) * 5,
            "Return; higher is better. Means over all 21 goals. ± is a 95% confidence interval over 100 trials of "
            "every goal, for one training. The rows without it have no chance in them.",
        ),
        says=f"RL^2 has {shown(drawn)} in four episodes with actions that are drawn, and {greedy:.3f} with the most "
        f"probable ones; no policy can expect more than {best:.3f} without knowing the goal.",
        care=("One seed. The goals of training and of the measurement are the same, as published.",),
        published=(),
        records=(record,),
        headline=Headline(
            "Does a recurrent policy search as well as is possible?",
            "return of four episodes ↑",
            f"{greedy:.3f}",
            "none",
            f"Bayes-optimal: {best:.3f}",
        ),
        files={"gridnavi-rl2.csv": ("returns by episode", metrics(record))},
    )


def _carts(
    record: Record,
    title: str,
    question: str,
    says: str,
    care: tuple[str, ...],
    headline: Headline,
    each: int = 20,
) -> Page:
    when = (1, 2, 5, 150)
    shown_ones = [n for n in when if any(f"return/episode={n}" in key for key in record.metrics)]
    better: list[Better] = ["higher"] * len(shown_ones)
    rows = []
    for name in record.learners("return", "episode=1"):
        values = [_episode(record, name, n) for n in shown_ones]
        rows.append(Row(PARTS[name], (*values, _quartiles(record, name)), name != "simulator"))
    return Page(
        name=record.name,
        title=title,
        question=question,
        figure=Figure(
            f"{record.name}.png",
            "Return by episode",
            "Steps balanced, by episode, of at most 500. Bands are 95% intervals over all seeds and carts.",
        ),
        table=Table(
            ("", *(f"episode {n}" for n in shown_ones), "last, interquartile mean"),
            rows,
            (*better, None),
            "Steps balanced in an episode, of at most 500; higher is better. ± is a 95% confidence interval over "
            f"{record.counted[0]} seeds (Student's t), each with {each} unseen carts. {BOOTSTRAP}",
        ),
        says=says,
        care=care,
        published=(),
        records=(record,),
        headline=headline,
        files={
            f"{record.name}.csv": ("returns by episode", metrics(record)),
            f"{record.name}-evaluation.csv": (
                "means and interquartile means over seeds and carts after every episode, probabilities of improvement",
                evaluation(record),
            ),
        },
    )


def _episode(record: Record, name: str, number: int) -> Value | None:
    key = f"{name}/return/episode={number}"
    return record[key] if key in record.metrics else None

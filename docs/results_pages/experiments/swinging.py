"""Pendulums and cart-poles of unknown physics, swung up by plans of continuous actions."""

from typing import NamedTuple

from quickstudy.report.tables import PARTS
from results_pages.files import evaluation, metrics
from results_pages.page import Figure, Headline, Page
from results_pages.record import Record, read
from results_pages.table import Row, Table


class Swing(NamedTuple):
    """One experiment; `joined` are records of further methods on the same systems."""

    name: str
    title: str
    question: str
    asked: str
    systems: int
    seen: tuple[int, ...]
    care: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()


ALIKE = (
    "All models are trained on transitions of simulated systems; the Neural Process and ALPaCA append every transition "
    "that they see of a new one. All methods plan by MPPI, 200 candidates of 20 steps (one second) and two iterations "
    "for every action. "
    "*Never adapts* is one network for all systems; the *true simulator* plans in the true physics. Every method "
    "starts each episode of a system in the same state. What is lost is the mean difference from the true simulator's "
    "return, system by system, over the size of its mean return."
)
SWINGS = (
    Swing(
        "swing-up-pendulum",
        "A Neural Process that swings up pendulums of unknown mass and length",
        "**How near does a learned model come to the true physics in continuous control?** gymnasium's Pendulum-v1 "
        "with masses in [0.5, 1.5] kg and lengths in [0.7, 1.3] m, episodes of 200 steps. ",
        "How much of the true simulator's return does it lose on pendulums in the third episode?",
        20,
        (1, 2, 3),
        (
            "A pendulum that needs one swing more loses much of its return, and a small difference decides it; so a "
            "method can also be above the simulator on one system.",
        ),
    ),
    Swing(
        "swing-up-cart-pole",
        "Poles on carts of unknown masses, length and friction, swung up",
        "**Does adapting help where the pole has to be swung up first?** PILCO's cart-pole with carts of 0.3 to 1 kg, "
        "poles of 0.2 to 0.8 kg and 0.4 to 0.8 m, and friction up to 0.5 N s/m. The pole hangs at first; the reward of "
        "a step is up to 1, where the tip is upright above the middle; an episode has 100 steps. ",
        "How much of the true simulator's return does it lose on cart-poles in the fifth episode?",
        10,
        (1, 3, 5),
        (
            "All models were trained for 2,000 steps, on support sets of at most 30 transitions; longer training was "
            "not tried.",
            "ALPaCA was measured after the others, on the same systems from the same starts; the figure is without it.",
        ),
        ("swing-up-cart-pole-alpaca",),
    ),
)


def pages() -> list[Page]:
    """The pages of all experiments."""
    return [_page(swing) for swing in SWINGS]


def _page(swing: Swing) -> Page:
    record, last = read(swing.name, *swing.joined), swing.seen[-1]
    rows = []
    for name in record.learners("return", "episode=1"):
        values = [record[f"{name}/return/episode={episode}"] for episode in swing.seen]
        bound = name == "simulator"
        rows.append(Row(PARTS[name], (*values, _quartiles(record, name, last), _lost(record, name, last)), not bound))
    lost = {name: _lost(record, name, last) for name in record.evaluation["shortfall"]}
    first = {name: _lost(record, name, 1) for name in record.evaluation["shortfall"]}
    others = "; ".join(f"{PARTS[name]}: {lost[name]}" for name in lost if name != "np")
    said = ", ".join(f"{PARTS[name]} {lost[name]} (in the first {first[name]})" for name in lost)
    return Page(
        name=record.name,
        title=swing.title,
        question=swing.question + ALIKE,
        figure=Figure(
            f"../../results/{record.name}/episodes.png",
            "Return by episode, for each method",
            "Mean return by episode. Bands are 95% intervals over all seeds and systems, whose starts differ.",
        ),
        table=Table(
            ("", *(f"episode {episode}" for episode in swing.seen), "interquartile mean", "lost"),
            rows,
            (*["higher"] * len(swing.seen), None, None),
            "Return of an episode; higher is better. ± is a 95% confidence interval over "
            f"{record.counted[0]} seeds (Student's t), each with {swing.systems} unseen systems of its own. The last "
            f"two columns are of episode {last}, over all systems, with 95% intervals of a stratified bootstrap.",
        ),
        says=f"Of the true simulator's return in episode {last}, this is lost: {said}.",
        care=(
            *swing.care,
            f"Intervals over all systems ignore that every {swing.systems} of them share one trained model.",
            "The planner was chosen by the true simulator's returns on other systems.",
        ),
        published=(),
        records=(record,),
        headline=Headline(swing.asked, "share of the return that is lost ↓", lost["np"], "none", others),
        files={
            f"{record.name}.csv": ("returns and what is lost, by episode", metrics(record)),
            f"{record.name}-evaluation.csv": (
                "means, interquartile means and what is lost, over seeds and systems; probabilities of improvement",
                evaluation(record),
            ),
        },
    )


def _quartiles(record: Record, name: str, episode: int) -> str:
    found = record.evaluation["scores"][name][f"episodes={episode}"]["iqm"]
    return f"{found['value']:.1f} [{found['low']:.1f}, {found['high']:.1f}]"


def _lost(record: Record, name: str, episode: int) -> str | None:
    if name not in record.evaluation["shortfall"]:
        return None
    found = record.evaluation["shortfall"][name][f"episodes={episode}"]
    return f"{found['value']:.1%} [{found['low']:.1%}, {found['high']:.1%}]"

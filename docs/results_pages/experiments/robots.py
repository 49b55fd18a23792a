"""Robots that run in unknown directions, or at unknown speeds."""

from typing import NamedTuple

from quickstudy.report.tables import PARTS
from results_pages.files import metrics
from results_pages.page import Figure, Headline, Page
from results_pages.record import read
from results_pages.table import Row, Table, shown

STEPS = range(4)


class Robot(NamedTuple):
    """What differs between the pages.

    Args:
        name: of the record.
        title, question: of the page; `question` ends before the training.
        asked: the question in short.
        told: what the oracle knows.
        updates: of each policy.
        care: what is to be read with care.
        unseen: number of unseen tasks.
    """

    name: str
    title: str
    question: str
    asked: str
    told: str
    updates: int
    care: tuple[str, ...]
    unseen: int = 40


ROBOTS = (
    Robot(
        "locomotion-cheetah-direction",
        "MAML on a cheetah that is to run forward or backward",
        "**Does one gradient step turn a policy around?** The cheetah of MuJoCo is to run in one of two directions, "
        "which it is not told",
        "Does one gradient step turn a policy around?",
        "the direction",
        250,
        (
            "One seed, and 10 tasks in an update where the publication has 40; as there are two directions, that is a "
            "quarter of its data. The trust region is .05 wide where the authors' code has .01, and the inner gradient "
            "is differentiated by the estimator `lvc`, which counts how earlier actions change later ones (Rothfuss et "
            "al. 2019): with the authors' `maml`, a width of .02 and 200 updates, one step went 35% of the way.",
            "A film of one episode before the step and one after it, in both directions, is "
            "[running.gif](../../results/locomotion-cheetah-direction/running.gif).",
            "The publication has 293 after one step, -24.8 pretrained and 443 told the direction, with a simulator "
            "that took one physics step for each action in place of five: its returns do not compare with these. "
            "There one step goes 68% of the way.",
        ),
    ),
    Robot(
        "locomotion-cheetah-velocity",
        "MAML on a cheetah that is to run at a speed",
        "**Does one gradient step find the right speed?** The cheetah of MuJoCo is to run at a speed from 0 to 2 m/s, "
        "which it is not told",
        "Does one gradient step find the right speed?",
        "the speed",
        100,
        (
            "One seed, 10 tasks in an update and 100 updates, where the publication has 40 and 475.",
            "A film of one episode before the step and one after it, for the slowest and the fastest of the tasks, is "
            "[running.gif](../../results/locomotion-cheetah-velocity/running.gif).",
            "The publication has -78.6 after one step, -135.4 pretrained and -54.5 told the speed, with a simulator "
            "that took one physics step for each action in place of five: its returns do not compare with these.",
        ),
    ),
    Robot(
        "locomotion-ant-direction",
        "MAML on an ant that is to run in a direction",
        "**Does one gradient step turn an ant?** The ant of MuJoCo is to run in a direction of the plane, which it is "
        "not told",
        "Does one gradient step turn an ant?",
        "the direction",
        50,
        (
            "**Too short to learn anything**: after 50 updates of 10 tasks no policy is better than the untrained one, "
            "not even that which is told the direction. In the publication, with 40 tasks in an update, one step "
            "leads to 499, and the pretrained policy has 1.3.",
            "A film of an episode is [running.gif](../../results/locomotion-ant-direction/running.gif).",
        ),
        unseen=20,
    ),
)


def pages() -> list[Page]:
    """A page for each."""
    return [_page(robot) for robot in ROBOTS]


def _page(robot: Robot) -> Page:
    record = read(robot.name)
    rows = []
    for name in ("maml", "pretrained", "random", "oracle"):
        label = f"told {robot.told} (a bound)" if name == "oracle" else PARTS[name]
        steps = STEPS[:1] if name == "oracle" else STEPS
        values = [record[f"{name}/return/steps={k}"] for k in steps]
        rows.append(Row(label, (*values, *[None] * (len(STEPS) - len(values))), name != "oracle"))
    maml, pretrained, told = (
        record[f"{name}/return/steps={k}"] for name, k in (("maml", 1), ("pretrained", 1), ("oracle", 0))
    )
    share = record["maml/progress/steps=1"]
    return Page(
        name=robot.name,
        title=robot.title,
        question=f"{robot.question}, as in Finn et al. 2017, section 5.3 ([arXiv 1703.03400]"
        f"(https://arxiv.org/abs/1703.03400)). Each policy was trained for {robot.updates} updates of 10 tasks with 20 "
        "episodes of 200 steps; MAML needs twice the episodes. The step is taken on 20 episodes of a task.",
        figure=Figure(
            f"../../results/{robot.name}/returns.png",
            "Return of an episode by the number of gradient steps",
            f"Return of an episode by the number of gradient steps, on {robot.unseen} unseen tasks.",
        ),
        table=Table(
            ("", "before adapting", *(f"after {k}" for k in STEPS[1:])),
            rows,
            ("higher",) * 4,
            f"Return of an episode; higher is better. ± is a 95% confidence interval over {robot.unseen} unseen tasks, "
            "for one training of each policy.",
        ),
        says=f"After one step MAML has {shown(maml)}, where the pretrained policy has {shown(pretrained)}, and one "
        f"that is told {robot.told} {shown(told)}: {shown(share)} of the way between them.",
        care=robot.care,
        published=(),
        records=(record,),
        headline=Headline(
            robot.asked,
            "return after 1 step ↑",
            shown(maml),
            "none with this frame skip",
            f"pretrained: {shown(pretrained)}; told {robot.told}: {shown(told)}",
        ),
        files={f"{robot.name}.csv": ("returns by gradient steps, and the share of the way", metrics(record))},
    )

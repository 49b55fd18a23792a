"""Each group of rows in your CSV file is a task: held-out groups are predicted from their first few rows.

    quickstudy run table --data sleep.csv --task subject --x day --y reaction

Groups are divided into folds; each fold in turn is held out and predicted by a learner trained on the others. Error and
log-likelihood are in the units of the file; groups.csv has those of every single group. The rivals are a Gaussian
process fitted to the same few rows, one whose hyperparameters are fitted to the training groups, and one curve through
all training rows that ignores groups.
"""

from typing import Any

from torch import Tensor, nn

import quickstudy as qs
from quickstudy.evaluation.intervals import Metric
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.table import by_group, held_out
from quickstudy.recipes.table.options import Options as Options
from quickstudy.report import panels
from quickstudy.report.palette import look
from quickstudy.report.panels import Panel

MOST_PANELS = 12  # largest number of held-out groups in the figure


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """For every fold, train on the other groups and predict those of the fold."""
    if options.test_steps and options.learner != "maml":
        raise ValueError(
            f"--learner {options.learner} adapts without gradient steps; leave --test-steps out, or use --learner maml"
        )
    tables = held_out.folds(options)
    for sentence in (held_out.left_out(tables[0]), held_out.few_for_validation(tables, options.which)):
        if sentence:
            stage.say(sentence)
    learners = [build(options, table) for table in tables]  # before training, so that weights depend on the seed alone
    scores: list[dict[str, Tensor]] = []
    rows: list[dict[str, Any]] = []
    drawn: dict[str, Panel] = {}
    for i, (table, learner) in enumerate(zip(tables, learners, strict=True), 1):
        trained = stage.train(
            learner,
            table,
            part=f"fold-{i}",
            steps=options.steps,
            tasks=options.tasks,
            support=(1, max(2 * n for n in options.seen)),
            query=options.query,
            lr=options.lr,
            schedule="cosine",
            clip=1.0,
            validation_tasks=64,
            compile=False,
        )
        rivals = held_out.Rivals(table)
        learned = (table, rivals, trained, options.learner)
        groups = [held_out.HeldOut(*learned, seen, options.test_steps or (None,)) for seen in options.seen]
        scores.append({name: values for each in groups for name, values in each.scores().items()})
        rows += by_group.rows(table.groups("test"), i, scores[-1])
        drawn |= groups[options.seen.index(min(options.seen))].pictures(look(options.learner).colour)
    stage.keep_rows("groups", rows)
    shown = dict(list(drawn.items())[:MOST_PANELS])
    text = f"{caption(options, len(drawn))} {held_out.left_out(tables[0])}".rstrip()
    stage.draw("groups", lambda: panels.wrapped(shown, xlabel=options.x[0], ylabel=options.y[0]), text)
    return held_out.summary(scores)


def caption(options: Options, groups: int) -> str:
    """The caption of the figure of groups."""
    some = f"{MOST_PANELS} of the {groups} groups" if groups > MOST_PANELS else "Every group"
    rest = f" The other inputs ({', '.join(options.x[1:])}) are not shown." if len(options.x) > 1 else ""
    return (
        f"{some}, held out of training and predicted from the {min(options.seen)} rows seen (filled). Hollow: the rows "
        f"to predict. Band: two standard deviations.{rest}"
    )


def build(options: Options, table: qs.tasks.Table) -> nn.Module:
    """The learner `options.learner` for this table."""
    if options.learner == "np":
        return qs.NeuralProcess(
            table.dx,
            table.dy,
            width=options.width,
            latent=options.width,
            objective=options.objective,
            sigma_floor=options.sigma_floor,
        )
    if options.learner == "cnp":
        return qs.CNP(table.dx, table.dy, width=options.width, sigma_floor=options.sigma_floor)
    network = qs.nets.MLP(table.dx, [options.width, options.width], table.dy)
    return qs.MAML(network, lr=0.05, steps=3, likelihood=qs.likelihoods.Gaussian(sd=0.5, learn=True))

"""Each group of rows in your CSV file is a task: held-out groups are predicted from their first few rows.

    quickstudy run table --data sleep.csv --task subject --x day --y reaction

Groups are divided into folds; each fold in turn is held out and predicted by a learner trained on the others. Error and
log-likelihood of every output are in its units; groups.csv has those of every single group. table.json keeps the folds
and a digest of every group, so that the run is measured again on the same held-out groups only. The rivals are a
Gaussian process fitted to the same few rows, one whose hyperparameters are fitted to the training groups, and one curve
through all training rows that ignores groups.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

import quickstudy as qs
from quickstudy.evaluation.intervals import Metric
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.table import by_group, folds, held_out
from quickstudy.recipes.table.options import Options as Options
from quickstudy.recipes.table.rivals import Rivals
from quickstudy.report import panels
from quickstudy.report.labels import labels
from quickstudy.report.palette import look
from quickstudy.report.panels import Panel
from quickstudy.tasks.datasets.record import TableRecord

MOST_PANELS = 12  # largest number of held-out groups in the figure


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """For every fold, train on the other groups and predict those of the fold."""
    if options.test_steps and options.learner != "maml":
        raise ValueError(
            f"--learner {options.learner} adapts without gradient steps; leave --test-steps out, or use --learner maml"
        )
    rows, kept = folds.read(options), stage.recall("table")
    if kept is None and stage.mode != "measure":
        tables = folds.deal(options, rows)
        stage.describe()
        stage.keep("table", TableRecord.of(tables).to_json())
    else:
        tables = folds.again(options, rows, kept)
    unused = [sentence for sentence in (folds.left_out(tables[0]), folds.too_short(tables, options.seen)) if sentence]
    for sentence in (*unused, folds.few_for_validation(tables, options.which)):
        if sentence:
            stage.say(sentence)
    learners = [build(options, table) for table in tables]  # before training, so that weights depend on the seed alone
    scores: list[dict[str, Tensor]] = []
    lines: list[dict[str, Any]] = []
    drawn: list[dict[str, Panel]] = [{} for _ in options.y]
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
        stage.say(f"fold {i} of {len(tables)}: fitting the rivals, predicting {len(table.groups('test'))} groups")
        groups = _predicted(options, table, trained)
        scores.append({name: values for each in groups for name, values in each.scores().items()})
        lines += by_group.rows(groups[0].groups, i, scores[-1])
        if stage.draws:
            first = min(groups, key=lambda each: each.seen)
            for j, panels_of_output in enumerate(drawn):
                panels_of_output |= first.pictures(look(options.learner).colour, j)
    stage.keep_rows("groups", lines)
    along = rows.inputs[0]
    xlabel = along.name if along.calendar or not along.unit else f"{along.name} ({along.unit})"
    for name, output, each in zip(figure_names(options.y), options.y, drawn, strict=True):
        shown = dict(list(each.items())[:MOST_PANELS])
        text = " ".join(filter(None, [caption(options, len(each)), *unused, labels([*shown, output], 25).note]))
        stage.draw(name, partial(panels.wrapped, shown, xlabel=xlabel, ylabel=output, dates=along.calendar), text)
    return held_out.summary(scores)


def _predicted(options: Options, table: qs.tasks.Table, trained: nn.Module) -> list[held_out.HeldOut]:
    """The predictions of the held-out groups from each number of rows, all judged on the rows after the largest."""
    rivals, steps = Rivals(table), options.test_steps or (None,)
    return [
        held_out.HeldOut(table, rivals, trained, name=options.learner, seen=seen, steps=steps, after=max(options.seen))
        for seen in options.seen
    ]


def figure_names(outputs: Sequence[str]) -> list[str]:
    """The name of the figure of each output: "groups" for the first, "groups-NAME" for the others.

    >>> figure_names(["height", "weight (kg)", "weight [kg]"])
    ['groups', 'groups-weight-kg', 'groups-weight-kg-3']
    """
    names = ["groups"]
    for place, output in enumerate(outputs[1:], 2):
        name = "groups-" + re.sub(r"\W+", "-", output).strip("-")
        names.append(f"{name}-{place}" if name in names or name == "groups-" else name)
    return names


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

"""Figures of predictions for new groups: how the curve of a group changes as its rows become known."""

import re
from pathlib import Path

import torch

from quickstudy.report import figures
from quickstudy.report.palette import GREEN, INK
from quickstudy.report.panels import Curve, Panel, wrapped
from quickstudy.tables.model import TableModel
from quickstudy.tables.new_groups import NewGroups

MOST_PANELS = 12  # largest number of groups in a figure
CAPTION = "Predictions of new groups from their known rows (filled). Band: 90% interval."
PROBABILITIES = "Probability of 1 in new groups, from their known rows (filled)."


def draw(model: TableModel, new: NewGroups, table: Path) -> list[Path]:
    """Draw a figure of each output beside the file `table` of predictions, and return their paths."""
    found, first = [], model.inputs[0]
    unit = f" ({first.unit})" if first.unit and not first.calendar else ""
    for d, output in enumerate(model.y):
        drawn = panels(model, new, d)
        if drawn:
            picture = wrapped(drawn, xlabel=first.name + unit, ylabel=output, dates=first.calendar)
            caption = PROBABILITIES if model.kind_of(d) == "binary" else CAPTION
            ending = "-" + (re.sub(r"\W+", "-", output).strip("-") or str(d + 1)) if d else ""
            found.append(figures.save(picture, table.parent, table.stem + ending, caption))
    return found


def panels(model: TableModel, new: NewGroups, output: int = 0) -> dict[str, Panel]:
    """A panel for each of the first groups: the belief given its rows, and the means without and with half of them.

    Curves are drawn along the first input, unless that is a category, or another input varies within a group: then
    there are none.
    """
    found, dx = {}, len(model.x)
    for name, known, asked in list(zip(new.names, new.known, new.asked, strict=True))[:MOST_PANELS]:
        places = torch.cat([known[:, :dx], asked])
        if model.inputs[0].kind == "category" or bool((places[:, 1:] != places[:1, 1:]).any()):
            return {}
        along = torch.linspace(float(places[:, 0].min()), float(places[:, 0].max()), 80, dtype=torch.float64)
        grid = torch.cat([along[:, None], places[:1, 1:].expand(len(along), -1)], 1)[None]
        beliefs = []
        for count in dict.fromkeys((0, len(known) // 2, len(known))):
            seen = NewGroups((name,), (known[:count],), (asked,)).support(dx)
            beliefs.append((count, model.predict(seen, grid)))
        *earlier, (_, last) = beliefs
        styles = (":", "--")
        seen_rows = known[~known[:, dx + output].isnan()]
        found[f"{model.task} {name}"] = Panel(
            along,
            seen=(seen_rows[:, 0], seen_rows[:, dx + output]),
            mean=last.mean[0, :, output],
            band=None if model.kind_of(output) == "binary" else tuple(last.quantile([0.05, 0.95])[:, 0, :, output]),
            curves=tuple(
                Curve(
                    "after half of the rows" if count else "before any row",
                    belief.mean[0, :, output],
                    style,
                    INK,
                    1.0,
                )
                for (count, belief), style in zip(earlier, styles, strict=False)
            ),
            colour=GREEN,
        )
    return found

"""The page of one experiment: what was asked, a figure, a table, what it says, how it was made; the rest as CSV."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from results_pages.files import Lines
from results_pages.published import Published
from results_pages.record import Record
from results_pages.table import Table


class Figure(NamedTuple):
    """A picture, by its path from docs/results/; what it shows, for those who cannot see it; and how to look at it."""

    file: str
    alt: str
    caption: str


class Headline(NamedTuple):
    """The row of the overview: what was asked, by which number, and that number, the published one, and a rival's."""

    asked: str
    number: str
    measured: str
    published: str
    rival: str


class Page(NamedTuple):
    """One experiment.

    Args:
        name: of the page's file.
        title: in the words of the field.
        question: what was asked, and the protocol.
        figure: one.
        table: one that fits a screen.
        says: what it says, in about two sentences.
        care: what could be misread.
        published: the sources of published figures.
        records: of the runs.
        headline: its row in the overview.
        files: name of a CSV file to what is in it and its lines.
    """

    name: str
    title: str
    question: str
    figure: Figure
    table: Table
    says: str
    care: Sequence[str]
    published: Sequence[Published]
    records: Sequence[Record]
    headline: Headline
    files: Mapping[str, tuple[str, Lines]]

    def markdown(self) -> str:
        """The page."""
        figure = self.figure
        parts = [
            f"# {self.title}",
            self.question,
            f"![{figure.alt}]({figure.file})",
            f"*{figure.caption}*",
            self.table.markdown().rstrip(),
            f"**What it says.** {self.says}",
        ]
        if self.care:
            parts += ["## Read with care", "\n".join(f"- {item}" for item in self.care)]
        if self.published:
            parts += ["## Figures from elsewhere", "\n".join(f"- {source.sentence()}" for source in self.published)]
        parts += ["## How it was made", *(made(record) for record in self.records)]
        links = [f"- [{name}]({name}): {what}" for name, (what, _) in self.files.items()]
        folders = ", ".join(f"`results/{record.name}`" for record in self.records)
        each = ", with a file for each seed," if any(record.seeds for record in self.records) else ""
        parts += [
            "## All measurements",
            "\n".join(links),
            f"Their source is the JSON{each} in {folders}.",
            "[All results](../results.md)",
        ]
        return "\n\n".join(parts) + "\n"


def made(record: Record) -> str:
    """Commands with budget, seeds, commit and hardware."""
    parts = []
    for run in record.made:
        parts += [f"```bash\n{run.command}\n```", f"{run.budget} · commit `{run.commit}` · {run.hardware}"]
    return "\n\n".join(parts)

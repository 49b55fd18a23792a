"""docs/results.md: a row for every experiment."""

from collections.abc import Mapping, Sequence

from results_pages.page import Page

TOP = """# Results

Each experiment has a page with one figure, one table, the command that makes it, budget, seeds, commit and hardware,
and all measurements as CSV. Every number was measured by a recipe that is part of quickstudy, unless it is marked as
published or computed, and is read from the JSON in `results/`; `python docs/write_results.py` writes the pages.

How to read them:

- **↓** lower is better, **↑** higher is better.
- **K** is the number of examples that a learner sees of a new task before it predicts (of classes: of each class).
- **±** is half the width of a 95% confidence interval of the mean: over seeds (Student's t) where there are several,
  over tasks for a single seed. The number of seeds or tasks stands below each table.
- **Rival** is the strongest plain method that was measured on the same tasks. *Tuned* says that its learning rate and
  number of steps were chosen on validation tasks, as for everybody else. A *bound* is what nobody can beat.
- **Published** figures are those that the page quotes, with their source. *Recalled* marks those that nobody has
  checked against the paper.
"""
HEAD = ("experiment", "question", "number", "measured", "published", "rival or bound")


def overview(groups: Mapping[str, Sequence[Page]]) -> str:
    """The page as Markdown."""
    parts = [TOP]
    for title, pages in groups.items():
        rows = [(f"[{page.title}](results/{page.name}.md)", *page.headline) for page in pages]
        lines = [HEAD, (":--",) * len(HEAD), *rows]
        parts += [f"## {title}\n", "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"]
    names = "\n".join(f"results/{page.name}" for pages in groups.values() for page in pages)
    return "\n".join([*parts, f"```{{toctree}}\n:hidden:\n\n{names}\n```\n"])

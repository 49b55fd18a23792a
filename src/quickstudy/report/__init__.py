"""Figures, tables and the page of a run: read a run folder, draw from it, and write its report.

    from quickstudy import report

    run = report.read_run("runs/sine")  # its configuration, results and training curves
    report.result_frame("runs/sine")  # its results, as a pandas data frame
    report.write_report(["runs/sine", "runs/other"], "both.html")

The page on plotting in the documentation has an example of each name. All are imported at their first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quickstudy.report.animation import animate as animate
    from quickstudy.report.dot_plot import dots as dots
    from quickstudy.report.experiments import result_tables as result_tables
    from quickstudy.report.figures import Series as Series
    from quickstudy.report.figures import intervals as intervals
    from quickstudy.report.figures import lines as lines
    from quickstudy.report.figures import save as save
    from quickstudy.report.html import write_report as write_report
    from quickstudy.report.palette import Look as Look
    from quickstudy.report.palette import looks as looks
    from quickstudy.report.panels import Curve as Curve
    from quickstudy.report.panels import Panel as Panel
    from quickstudy.report.panels import in_a_row as in_a_row
    from quickstudy.report.panels import side_by_side as side_by_side
    from quickstudy.report.panels import wrapped as wrapped
    from quickstudy.report.runs import RunRecord as RunRecord
    from quickstudy.report.runs import frame as frame
    from quickstudy.report.runs import read_run as read_run
    from quickstudy.report.runs import result_frame as result_frame
    from quickstudy.report.tables import Table as Table
    from quickstudy.report.terminal import show_tables as show_tables

_HOME = {
    "animate": "animation",
    "dots": "dot_plot",
    "result_tables": "experiments",
    "Series": "figures",
    "intervals": "figures",
    "lines": "figures",
    "save": "figures",
    "write_report": "html",
    "Look": "palette",
    "looks": "palette",
    "Curve": "panels",
    "Panel": "panels",
    "in_a_row": "panels",
    "side_by_side": "panels",
    "wrapped": "panels",
    "RunRecord": "runs",
    "frame": "runs",
    "read_run": "runs",
    "result_frame": "runs",
    "Table": "tables",
    "show_tables": "terminal",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'quickstudy.report' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"quickstudy.report.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

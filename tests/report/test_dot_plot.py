"""Rows of dots: the best at the top, and what is off the picture at its edge."""

import math

from quickstudy.evaluation.intervals import Metric
from quickstudy.report.dot_plot import dots


def metric(mean, ci95=0.1):
    return Metric(mean, ci95, 3, "seeds", None)


def test_rows_are_sorted_and_what_is_off_the_picture_stays_at_the_edge():
    rows = {
        "good": [metric(0.5), metric(0.1), metric(0.05)],
        "wild": [metric(1e17), metric(math.nan, math.nan), metric(0.2)],
        "bad": [metric(3.0), metric(2.0), metric(1.0, math.nan)],
    }
    figure = dots(rows, ["5", "10", "20"], xlabel="error", top=4.0)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["wild", "bad", "good"]  # from below
    assert axes.get_xlim()[1] < 10
    edges = [line for line in axes.lines if line.get_marker() == ">"]
    assert [len(line.get_xdata()) for line in edges] == [1, 1]


def test_without_a_top_all_that_is_finite_is_shown():
    figure = dots({"a": [metric(1e6)], "b": [metric(1.0)]}, ["5"], xlabel="error")
    assert figure.axes[0].get_xlim()[1] > 1e6

"""Features of inputs for mixed models: polynomials, splines, the terms of a formula, functions of your own."""

from quickstudy.metric.bases.crossed import Crossed as Crossed
from quickstudy.metric.bases.formula import Formula as Formula
from quickstudy.metric.bases.function import Function as Function
from quickstudy.metric.bases.natural_spline import NaturalSpline as NaturalSpline
from quickstudy.metric.bases.polynomial import Polynomial as Polynomial

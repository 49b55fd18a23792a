"""Sampling-based planning for all tasks together: the cross-entropy method, and MPPI."""

from quickstudy.decide.planning.discrete import Plan as Plan
from quickstudy.decide.planning.discrete import Planner as Planner
from quickstudy.decide.planning.gaussian import GaussianPlan as GaussianPlan
from quickstudy.decide.planning.gaussian import GaussianPlanner as GaussianPlanner
from quickstudy.decide.planning.methods import cross_entropy as cross_entropy
from quickstudy.decide.planning.methods import mppi as mppi
from quickstudy.decide.planning.weights import Elites as Elites
from quickstudy.decide.planning.weights import Objective as Objective
from quickstudy.decide.planning.weights import Softmax as Softmax

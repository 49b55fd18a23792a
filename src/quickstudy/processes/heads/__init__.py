"""Heads turn the outputs of a process's network into a belief about each point; each file has one kind of belief.

A head is a record with `size(dy)`, the number of outputs of the network for each point. It is called with these
outputs, `[T, M, size]`, and returns a `Predictive`.
"""

from quickstudy.processes.heads.gaussian import GaussianHead as GaussianHead
from quickstudy.processes.heads.low_rank import LowRankHead as LowRankHead
from quickstudy.processes.heads.mixture import MixtureHead as MixtureHead

"""Heads turn the outputs of a process's network into a belief about each point; each file has one kind of belief.

A head is a record with `size(dy)`, the number of outputs of the network for each point. It is called with these
outputs, `[T, M, size]`, and returns a `Predictive`. If outcomes are not real numbers that enter the encoder as they
are, it also says how they do (`encode`, `encoded_size`), whether they are labels (`labels`), and which values are
possible (`possible`, `expects`); see `quickstudy.processes.heads.head.Outcomes`. `WithMissing(head)` is the head for
data in which some outputs of a point are missing.
"""

from quickstudy.processes.heads.bar import BarHead as BarHead
from quickstudy.processes.heads.bernoulli import BernoulliHead as BernoulliHead
from quickstudy.processes.heads.categorical import CategoricalHead as CategoricalHead
from quickstudy.processes.heads.count import CountHead as CountHead
from quickstudy.processes.heads.dense import DenseHead as DenseHead
from quickstudy.processes.heads.gaussian import GaussianHead as GaussianHead
from quickstudy.processes.heads.low_rank import LowRankHead as LowRankHead
from quickstudy.processes.heads.mixture import MixtureHead as MixtureHead
from quickstudy.processes.heads.with_missing import WithMissing as WithMissing

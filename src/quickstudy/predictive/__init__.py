"""Beliefs about the outputs at `M` query points of `T` tasks: one kind of distribution in each file.

Every class here is a `Predictive` (see `quickstudy.learner`), with `mean`, `variance`, `sample` and `log_prob`, and
`rescale` for a change of units. Those about real numbers, counts and binary outcomes also have `cdf`, `quantile` and
`interval`; calibration is measured from `cdf`. Labels, binary outcomes and counts have no units, and no `rescale`.
All are NamedTuples, so `torch.func` and `tree_map` take them as they are.
"""

from quickstudy.predictive.bars import Bars as Bars
from quickstudy.predictive.bernoulli import Bernoulli as Bernoulli
from quickstudy.predictive.categorical import Categorical as Categorical
from quickstudy.predictive.dense import DenseGaussian as DenseGaussian
from quickstudy.predictive.even_mixture import EvenMixture as EvenMixture
from quickstudy.predictive.gaussian import Gaussian as Gaussian
from quickstudy.predictive.low_rank import LowRankGaussian as LowRankGaussian
from quickstudy.predictive.low_rank_plus_diagonal import LowRankPlusDiagonal as LowRankPlusDiagonal
from quickstudy.predictive.mixture import GaussianMixture as GaussianMixture
from quickstudy.predictive.negative_binomial import NegativeBinomial as NegativeBinomial
from quickstudy.predictive.partly_observed import PartlyObserved as PartlyObserved
from quickstudy.predictive.point import NoDensityError as NoDensityError
from quickstudy.predictive.point import Point as Point
from quickstudy.predictive.point_mixture import PointMixture as PointMixture
from quickstudy.predictive.rescaled import Rescaled as Rescaled

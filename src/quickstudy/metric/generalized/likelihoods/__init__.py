"""Distributions of an outcome given a linear predictor: one in each file."""

from quickstudy.metric.generalized.likelihoods.bernoulli import BernoulliRows as BernoulliRows
from quickstudy.metric.generalized.likelihoods.likelihood import Discrete as Discrete
from quickstudy.metric.generalized.likelihoods.likelihood import Likelihood as Likelihood
from quickstudy.metric.generalized.likelihoods.likelihood import Moments as Moments
from quickstudy.metric.generalized.likelihoods.negative_binomial import NegativeBinomialRows as NegativeBinomialRows
from quickstudy.metric.generalized.likelihoods.poisson import PoissonRows as PoissonRows
from quickstudy.metric.generalized.likelihoods.student import StudentRows as StudentRows

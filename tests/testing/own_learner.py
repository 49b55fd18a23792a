"""A learner of somebody's own, and wrong ones: each breaks one property. Nothing here comes from the tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

import quickstudy as qs
from quickstudy.checks import check_examples, check_inputs, check_tasks
from quickstudy.predictive import Gaussian


class Kernel(nn.Module):
    """The mean of the support outputs and of a prior value, weighted by the distance of inputs."""

    def __init__(self, dy: int = 1):
        super().__init__()
        self.log_width, self.log_prior = nn.Parameter(torch.tensor(-0.5)), nn.Parameter(torch.tensor(-1.0))
        self.value, self.log_sd = nn.Parameter(torch.zeros(dy)), nn.Parameter(torch.zeros(dy))

    def forward(self, tasks):
        return self.meta_loss(tasks)

    def meta_loss(self, tasks):
        check_tasks(tasks)
        query = tasks.query.clean()
        log_prob = self.adapt(tasks.support)(query.x).log_prob(query.y, query.mask)
        return -self.average(log_prob, query)

    def average(self, values, query):
        return (values.sum(1) / query.sizes()).mean()

    def adapt(self, support, *, steps=None, create_graph=False, generator=None):
        check_examples(support, "support")
        return Smoother(self, (support.first(0) if steps == 0 else support).clean())

    def weights(self, x, support):
        """`[T, M, N]`."""
        distance = torch.cdist(x, support.x) if support.num_points else x.new_zeros(*x.shape[:2], 0)
        weights = (-0.5 * (distance / self.log_width.exp()).square()).exp()
        return weights * support.real()[:, None]

    def mean(self, x, support):
        weights, prior = self.weights(x, support), self.log_prior.exp()
        return (weights @ support.y + prior * self.value) / (weights.sum(2, keepdim=True) + prior)


@dataclass(frozen=True)
class Smoother:
    """What `Kernel` makes of a support set."""

    learner: Kernel
    support: qs.Examples

    def __call__(self, x):
        check_inputs(x, self.support)
        mean = self.learner.mean(x, self.support)
        return Gaussian(mean, (2 * self.learner.log_sd).exp().expand_as(mean))

    def append(self, examples):
        return type(self)(self.learner, self.support.append(examples.clean()))

    def functions(self, n, generator=None):
        raise NotImplementedError("a Kernel has no functions to sample")

    def task(self, i):
        raise NotImplementedError("a Kernel keeps the points and has no module")


class SupportAlone(Kernel):
    def adapt(self, support):
        return super().adapt(support)


class MinusPosition(Kernel):
    def weights(self, x, support):
        return super().weights(x, support) * torch.linspace(0.5, 1, support.num_points)


class WithoutMask(Kernel):
    def adapt(self, support, *, steps=None, create_graph=False, generator=None):
        check_examples(support, "support")
        return Smoother(self, qs.Examples(*(support.first(0) if steps == 0 else support)[:2]))


class MaskTooLate(Kernel):
    """The value is right: what NaN gave is left out. The gradient is NaN, as torch.where's is."""

    def adapt(self, support, *, steps=None, create_graph=False, generator=None):
        check_examples(support, "support")
        return Smoother(self, support.first(0) if steps == 0 else support)

    def mean(self, x, support):
        real = support.real()[:, None]
        gap = (x - support.x.mT) / self.log_width.exp()
        weights = torch.where(real, (-0.5 * gap.square()).exp(), 0.0)
        prior = self.log_prior.exp()
        total = torch.where(real, weights * support.y.mT, 0.0).sum(2, keepdim=True)
        return (total + prior * self.value) / (weights.sum(2, keepdim=True) + prior)


class TasksMeet(Kernel):
    def mean(self, x, support):
        mean = super().mean(x, support)
        return mean + 0.1 * mean.mean(0)


class Forgets(Kernel):
    def adapt(self, support, **options):
        return Forgetful(self, super().adapt(support, **options).support)


class Forgetful(Smoother):
    def append(self, examples):
        return Forgetful(self.learner, examples.clean())


class StepsIgnored(Kernel):
    def adapt(self, support, *, steps=None, create_graph=False, generator=None):
        return super().adapt(support)


class NoPrior(Kernel):
    def mean(self, x, support):
        weights = self.weights(x, support)
        return weights @ support.y / weights.sum(2, keepdim=True) + 0 * self.log_prior * self.value


class SumOverPoints(Kernel):
    def average(self, values, query):
        return values.sum(1).mean()


class MeanOverAllPoints(Kernel):
    """The mean over the batch's points, in which tasks with more points count more."""

    def average(self, values, query):
        return values.sum() / query.sizes().sum()


class SumOverTasks(Kernel):
    def average(self, values, query):
        return (values.sum(1) / query.sizes()).sum()


class Detached(Kernel):
    def weights(self, x, support):
        return super().weights(x, support).detach()


class OtherChance(Kernel):
    def mean(self, x, support):
        return super().mean(x, support) + 0.01 * np.random.randn()


class ChangesItself(Kernel):
    def adapt(self, support, **options):
        with torch.no_grad():
            self.value += 0.01
        return super().adapt(support, **options)


class SwitchesMode(Kernel):
    def adapt(self, support, **options):
        self.eval()
        return super().adapt(support, **options)


class NotRegistered(Kernel):
    def __init__(self):
        super().__init__()
        self.parts = [nn.Linear(1, 1)]

    def mean(self, x, support):
        return super().mean(x, support) + self.parts[0](x)


class OneType(Kernel):
    def mean(self, x, support):
        return super().mean(x, support).double()


class AcceptsAll(Kernel):
    def meta_loss(self, tasks):
        query = tasks.query.clean()
        log_prob = self.adapt(tasks.support)(query.x).log_prob(query.y, query.mask)
        return -(log_prob.sum(1) / query.sizes().clamp_min(1)).mean()

    def adapt(self, support, *, steps=None, create_graph=False, generator=None):
        support = support.first(0) if steps == 0 else support
        return Smoother(self, qs.Examples(support.x.nan_to_num(), support.y.nan_to_num(), support.mask))


class Inconsistent(Kernel):
    def adapt(self, support, **options):
        return Wavering(self, super().adapt(support, **options).support)


class Wavering(Smoother):
    def functions(self, n, generator=None):
        def evaluate(x, members):
            return self(x).mean + torch.randn(len(members), *x.shape[:2], 1)

        return qs.learner.Functions(evaluate, n)


class LosesAnAxis(Kernel):
    def adapt(self, support, **options):
        return Squeezed(self, super().adapt(support, **options).support)


class Squeezed(Smoother):
    def __call__(self, x):
        belief = super().__call__(x)
        return Gaussian(belief.mean.squeeze(-1), belief.variance.squeeze(-1))


class NoAdapt(nn.Module):
    def meta_loss(self, tasks):
        return tasks.query.y.square().mean()


class Transductive(Kernel):
    """Points are normalised by the other query points."""

    def mean(self, x, support):
        return super().mean(x, support) + 0.1 * (x - x.mean(1, keepdim=True))


class NoMaskInDensity(Kernel):
    def adapt(self, support, **options):
        return Unmasked(self, super().adapt(support, **options).support)


class Unmasked(Smoother):
    def __call__(self, x):
        return Density(*super().__call__(x))


class Density(Gaussian):
    __slots__ = ()

    def log_prob(self, y, mask=None, joint=False):
        points = super().log_prob(y)
        return points.sum(1) if joint else points


class DoesNotLearn(Kernel):
    """The support set is not used."""

    def weights(self, x, support):
        return 0 * super().weights(x, support)


class FunctionInPlaceOfOutcome(Kernel):
    def adapt(self, support, **options):
        return TooSure(self, super().adapt(support, **options).support)


class TooSure(Smoother):
    def __call__(self, x):
        return WithoutNoise(*super().__call__(x))


class WithoutNoise(Gaussian):
    """Its intervals leave out half of the noise."""

    def quantile(self, p):
        return Gaussian(self.mean, self.variance / 2).quantile(p)


class Plain(Kernel):
    def adapt(self, support, **options):
        return Unordered(self, super().adapt(support, **options).support)


class Unordered(Smoother):
    def __call__(self, x):
        return FourMethods(super().__call__(x))


class FourMethods:
    """A belief without quantiles, which has no more than it must."""

    def __init__(self, belief):
        self.mean, self.variance, self.sample, self.log_prob = (
            getattr(belief, name) for name in ("mean", "variance", "sample", "log_prob")
        )


# the class, the property that it breaks, words of the message
WRONG = [
    (SupportAlone, "the methods and shapes are those of the contract", "define it as adapt(self, support, *, steps="),
    (MinusPosition, "the order of the support set does not matter", "support points came in another order"),
    (WithoutMask, "padding changes nothing", "Mask the points with examples.mask"),
    (MaskTooLate, "padding changes nothing", "the gradient of meta_loss changed"),
    (TasksMeet, "a batch is a loop over its tasks", "the prediction for task 1 changed"),
    (Forgets, "appending is adapting to the union", "predictions after append differ"),
    (StepsIgnored, "zero steps and an empty support set are the prior", "adapt to support.first(0)"),
    (NoPrior, "zero steps and an empty support set are the prior", "empty support set are not finite"),
    (SumOverPoints, "the loss is a mean over query points", "Take the mean over a task's query points"),
    (MeanOverAllPoints, "tasks of unequal sizes are as each alone", "the mean over each task's real query points"),
    (SumOverTasks, "a batch is a loop over its tasks", "losses.mean() over tasks, not their sum"),
    (Detached, "gradients equal finite differences", "is detached"),
    (OtherChance, "equal seeds give equal results", "neither numpy's nor Python's"),
    (ChangesItself, "adapting and predicting change nothing", "adapt changed value: 0.01 in place of 0"),
    (SwitchesMode, "adapting and predicting change nothing", "adapt switched the learner between"),
    (NotRegistered, "weights survive state dict", "nn.ModuleList in place of a list"),
    (OneType, "types follow the learner", "float64 where learner and data are torch.float32"),
    (AcceptsAll, "broken data are refused", "check_tasks(tasks)"),
    (Inconsistent, "functions are consistent or refused", "Draw what tells functions apart once"),
    (LosesAnAxis, "the methods and shapes are those of the contract", "mean has shape [3, 4]; expected [3, 4, 1]"),
    (NoAdapt, "the methods and shapes are those of the contract", "NoAdapt has no adapt"),
    (Transductive, "a prediction does not depend on other query points", "Take no statistics over axis 1"),
    (NoMaskInDensity, "the methods and shapes are those of the contract", "is not 0 where the mask is False"),
    (FunctionInPlaceOfOutcome, "quantiles invert the distribution function", "cdf(quantile(0.001)) is not 0.001"),
    (DoesNotLearn, "training beats the prior", "that adapt uses the support set"),
]

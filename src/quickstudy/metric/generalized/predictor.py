"""A normal approximation of the belief about the coefficients of groups, as a predictor."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from quickstudy.checks import check_inputs, check_more
from quickstudy.data import Examples
from quickstudy.learner import Functions, check_task
from quickstudy.metric.generalized.belief import GeneralizedLinear
from quickstudy.metric.generalized.laplace import Rows, laplace
from quickstudy.predictive.outcomes import check_draws, check_possible, normal


class Model(NamedTuple):
    """What a generalised mixed model says about an unknown group, in float64.

    Args:
        features: maps inputs `[..., dx]` to features `[..., C]`.
        likelihood: with parameters `[dy]`, in units of spread.
        mean: of the coefficients, `[dy, C]`.
        root: `[dy, C, C]`, of their covariance.
        center: `[dy]`, of the outcomes.
        spread: `[dy]`.
        name: of the likelihood.
    """

    features: Callable[[Tensor], Tensor]
    likelihood: Any
    mean: Tensor
    root: Tensor
    center: Tensor
    spread: Tensor
    name: str

    @property
    def outputs(self) -> int:
        """The number of outputs."""
        return len(self.mean)

    def check_possible(self, points: Examples, name: str) -> None:
        """Raise ValueError for outcomes that the likelihood does not allow."""
        kind = self.likelihood
        try:
            check_possible(points.y, kind.possible(points.y), points.real(), kind.expects)
        except ValueError as error:
            raise ValueError(f"likelihood={self.name!r}: {name}.{error}") from None

    def folded(self, x: Tensor) -> Tensor:
        """The features `[T dy, M, C]` of every output, which are the same; output d of group t is at t dy + d."""
        return self.features(x.double()).repeat_interleave(self.outputs, 0)

    def unfolded(self, values: Tensor) -> Tensor:
        """`values [T dy, M, ...]` as `[T, M, dy, ...]`."""
        return values.unflatten(0, (-1, self.outputs)).transpose(1, 2)


@dataclass(frozen=True)
class GeneralizedPredictor:
    """A belief about each group's coefficients, found anew for each support set; made by `GeneralizedMixedModel.adapt`.

    The coefficients of output d of group t are normal with mean `mean[t dy + d]` and a root `root[t dy + d]` of their
    covariance.
    """

    model: Model
    support: Examples
    mean: Tensor  # [T dy, C]
    root: Tensor  # [T dy, C, C]
    graph: bool = False
    prior: bool = False

    @classmethod
    def of(cls, model: Model, support: Examples, *, graph: bool, prior: bool) -> "GeneralizedPredictor":
        """The belief given `support`, by Laplace's approximation; with `prior`, that of an unknown group."""
        model.check_possible(support, "support")
        tasks = support.num_tasks
        mean, root = model.mean.repeat(tasks, 1), model.root.repeat(tasks, 1, 1)
        if prior or not support.num_points:
            return cls(model, support.first(0), mean, root, graph, prior)
        x, y, _ = known = support.clean()
        features = model.folded(x)
        y = ((y.double() - model.center) / model.spread).transpose(1, 2).flatten(0, 1)
        real = known.real().repeat_interleave(model.outputs, 0)
        features = torch.where(real.unsqueeze(2), features, 0.0)
        offset = (features @ mean.unsqueeze(2)).squeeze(2)
        likelihood = type(model.likelihood)(*(part.repeat(tasks).unsqueeze(1) for part in model.likelihood))
        found = laplace(likelihood, Rows(torch.where(real, y, 0.0), real, offset, features @ root))
        posterior = torch.linalg.solve_triangular(found.factor, root.mT, upper=False).mT
        return cls(model, known, mean + (root @ found.mode.unsqueeze(2)).squeeze(2), posterior, graph)

    def __call__(self, x: Tensor) -> GeneralizedLinear:
        """The belief at `x [T, M, dx]`; in joint densities and samples, all points share a group's coefficients."""
        check_inputs(x, self.support)
        model, features = self.model, self.model.folded(x)
        link, factor = (
            model.unfolded(features @ self.mean.unsqueeze(2)).squeeze(3),
            model.unfolded(features @ self.root),
        )
        belief = GeneralizedLinear(model.likelihood, link, factor)
        if not belief.discrete:
            belief = belief.rescale(model.center, model.spread)
        likelihood = type(model.likelihood)(*(part.to(x) for part in belief.likelihood))
        return GeneralizedLinear(likelihood, belief.link.to(x), belief.factor.to(x))

    def append(self, examples: Examples) -> "GeneralizedPredictor":
        """The predictor for the union of the support set and `examples`; one made with `steps=0` stays the prior."""
        check_more(examples, self.support)
        self.model.check_possible(examples, "examples")
        if self.prior:
            return self
        with torch.set_grad_enabled(self.graph and torch.is_grad_enabled()):
            union = self.support.append(examples.clean())
            return GeneralizedPredictor.of(self.model, union, graph=self.graph, prior=False)

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """`n` functions for each group, the means of the outcomes given coefficients drawn from the belief."""
        check_draws(n, generator, self.mean.device)
        model = self.model
        u = normal((n, *self.mean.shape), self.mean, generator)
        drawn = self.mean + (self.root @ u.unsqueeze(3)).squeeze(3)  # [n, T dy, C]

        def evaluate(x: Tensor, members: list[int]) -> Tensor:
            check_inputs(x, self.support)
            eta = (model.folded(x) @ drawn[members].unsqueeze(3)).squeeze(3)  # [n, T dy, M]
            eta = eta.unflatten(1, (-1, model.outputs)).transpose(2, 3)
            return (model.center + model.spread * model.likelihood.inverse_link(eta)).to(x)

        return Functions(evaluate, n)

    def task(self, i: int) -> nn.Module:
        """Group `i`'s mean as a plain module `[M, dx] -> [M, dy]`: that of the outcomes, so a probability if binary."""
        i, outputs = check_task(i, self.support.num_tasks), self.model.outputs
        own = slice(i * outputs, (i + 1) * outputs)
        return MeanOfGroup(
            replace(self, support=self.support.select(i), mean=self.mean[own].detach(), root=self.root[own].detach())
        )


class MeanOfGroup(nn.Module):
    """The mean outcome of one group.

    Args:
        predictor: of this group alone.
    """

    def __init__(self, predictor: GeneralizedPredictor):
        super().__init__()
        self.predictor = predictor

    def forward(self, x: Tensor) -> Tensor:
        """The means `[M, dy]` at `x [M, dx]`."""
        return self.predictor(x.unsqueeze(0)).mean[0]

"""The linear mixed model as a learner (Laird and Ware 1982, Random-effects models for longitudinal data)."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from quickstudy.checks import (
    check_choice,
    check_positive,
    check_switch,
    check_whole,
)
from quickstudy.data import Examples, Tasks
from quickstudy.metric.bases.basis import Basis
from quickstudy.metric.closed_form import ClosedForm
from quickstudy.metric.groups import training_groups
from quickstudy.metric.last_layer import Weights
from quickstudy.metric.mixed.design import Design, as_basis, constant_effects
from quickstudy.metric.mixed.estimates import Estimates, Standard, joined
from quickstudy.metric.mixed.predictor import MixedPredictor
from quickstudy.metric.mixed.profile import Reduced, fitted, profile, reduced

_SMALLEST = 1e-6  # smallest relative standard deviation of a random effect that is kept, as its logarithm is


@final
class MixedModel(ClosedForm[MixedPredictor]):
    """A curve for all groups plus a deviation of each group from it, both linear in features of x, and normal noise.

    y = phi(x)^T beta + z(x)^T b_i + eps,  b_i ~ N(0, sigma^2 L L^T),  eps ~ N(0, sigma^2)  (Laird and Ware 1982, eq.
    2.1). `fit` estimates beta, L and sigma from training groups by maximum likelihood, restricted (REML) or not.
    `adapt` gives the exact posterior of (beta, b) of a new group given its rows, where beta has the covariance
    sigma^2 (sum_i X_i^T V_i^-1 X_i)^-1 of its estimate; so the prediction includes the uncertainty of the fixed
    effects, of the random effects, and the noise, but not that of L and sigma. Without rows it is that of an unknown
    group: the curve for all groups, with the variance between groups.

    Several outputs are independent models with the same features. `meta_loss` is the negative log predictive density
    of the query points given the support points, so `qs.fit` trains the model too; then beta has no uncertainty.

    Args:
        dx: number of inputs.
        dy: number of outputs.
        fixed: features of beta: the degree of a polynomial, or a basis of `qs.bases`.
        random: features of b; 0 is a random intercept, 1 a random line.
        covariance: "full" for any L, or "diagonal" for independent random effects (of the powers of x - mean(x), for a
            polynomial).
        noise: initial sigma, in units of y. The initial random effects have variance 1.

    Raises:
        ValueError, TypeError: for an argument of the wrong kind.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.Sinusoid(noise=0.3).sample(40, support=4, query=8)
    >>> model = qs.MixedModel(fixed=qs.bases.NaturalSpline(6), random=qs.bases.NaturalSpline(3))
    >>> bool(model.fit(tasks).converged.all())
    True
    >>> model.adapt(tasks.support)(tasks.query.x).log_prob(tasks.query.y, joint=True).shape
    torch.Size([40])
    """

    effects_root: Tensor
    center: Tensor
    spread: Tensor
    training_defaults: Mapping[str, Any] = MappingProxyType({"lr": 1e-2, "schedule": "cosine"})

    def __init__(
        self,
        dx: int = 1,
        dy: int = 1,
        *,
        fixed: int | Basis = 1,
        random: int | Basis = 1,
        covariance: Literal["full", "diagonal"] = "full",
        noise: float = 0.5,
    ):
        super().__init__()
        self.dx, self.dy = check_whole("dx", dx), check_whole("dy", dy)
        check_choice("covariance", covariance, ("full", "diagonal"))
        self.covariance, self.noise = covariance, check_positive("noise", noise)
        bases = as_basis("fixed", fixed, self.dx), as_basis("random", random, self.dx)
        self.design = Design(*bases, diagonal=covariance == "diagonal")
        p, q = (basis.features for basis in bases)
        self.effects = nn.Parameter(torch.zeros(dy, p))
        self.log_scale = nn.Parameter(torch.full((dy, q), -math.log(noise)))  # log of L's diagonal
        self.coupling = nn.Parameter(torch.zeros(dy, q, q)) if covariance == "full" else None  # below it
        self.log_noise = nn.Parameter(torch.full((dy,), math.log(noise)))
        self.register_buffer("effects_root", torch.zeros(dy, p, p))  # of the covariance of beta / sigma^2
        self.register_buffer("center", torch.zeros(dy))
        self.register_buffer("spread", torch.ones(dy))

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        names = ("dx", "dy", "covariance", "noise")
        bases = {"fixed": self.design.fixed, "random": self.design.random}
        return {name: getattr(self, name) for name in names} | bases

    @torch.no_grad()
    def fit(self, groups: Examples | Tasks | Any, *, reml: bool = True) -> Estimates:
        """Estimate everything from training groups, by (restricted) maximum likelihood; no random numbers are drawn.

        Args:
            groups: `Examples` with one group a task; `Tasks`, whose support and query points count alike; or a family
                of given points such as `tasks.Table`, of which the training groups are taken.
            reml: maximise the restricted likelihood, whose variances are not biased by the fixed effects.

        Returns:
            The estimates, in the units of the data.

        Raises:
            ValueError: for fewer than two groups, or not more rows than fixed effects.
            TypeError: for class labels, and for other data.

        Warns:
            RuntimeWarning: if the optimiser did not converge.
        """
        check_switch("reml", reml)
        given = training_groups(groups, self.dx, self.dy).to(self.log_noise.device)
        real = given.real()
        rows, p = int(real.sum()), self.effects.shape[1]
        if rows <= p:
            raise ValueError(
                f"the groups have {rows} rows in all, for {p} fixed effects; give more rows, or a smaller fixed="
            )
        self.design.place(given.x[real])
        features = torch.where(real.unsqueeze(2), self.design(given.x), 0.0)
        constant = self._scale(features[..., :p][real], given.y[real])
        y = torch.where(real.unsqueeze(2), (given.y - self.center.double()) / self.spread.double(), 0.0)
        data = reduced(features, y, given.sizes(), features.shape[2] - p)
        found = joined([self._fit_output(data, d, constant, reml) for d in range(self.dy)])
        if not bool(found.converged.all()):
            warnings.warn(
                "the likelihood of the mixed model was not maximised to the last digits, as it is nearly flat; choose "
                "fewer random effects, or covariance='diagonal'",
                RuntimeWarning,
                stacklevel=2,
            )
        return found

    def _scale(self, features: Tensor, y: Tensor) -> Tensor:
        """Set center and spread to those of the rows `y`; center to 0 where the fixed effects hold no constant.

        Returns:
            The fixed effects `[P]` that give 1 everywhere; 0 if there are none.
        """
        constant = constant_effects(features)
        spread, center = torch.std_mean(y, 0, correction=0)
        self.spread.copy_(torch.where(spread > 1e-12 * center.abs(), spread, 1.0))
        self.center.copy_(center if bool(constant.any()) else torch.zeros_like(center))
        return constant

    def _fit_output(self, data: Reduced, d: int, constant: Tensor, reml: bool) -> Estimates:
        """Fit output `d`, set its parameters, and return the estimates in the units of the data."""
        root, found = fitted(data, d, reml=reml, diagonal=self.covariance == "diagonal")
        best = profile(data, d, root, reml)
        kept = (data.x.flatten(0, 1) != 0).any(0).to(root)
        inverse = torch.linalg.inv(torch.linalg.cholesky(best.information)).mT * kept.outer(kept)
        self.effects[d] = best.effects.to(self.effects)
        self.effects_root[d] = inverse.to(self.effects)
        self.log_noise[d] = best.noise.log() / 2
        self.log_scale[d] = root.diagonal().abs().clamp_min(_SMALLEST).log()
        if self.coupling is not None:
            self.coupling[d] = root.tril(-1)
        standard = Standard(best, root, inverse, constant, data.rows, reml, found.converged)
        return standard.in_units(self.design, float(self.center[d]), float(self.spread[d]))

    def posterior(self, support: Examples, *, graph: bool, prior: bool) -> MixedPredictor:
        """The predictor for `support`; with `prior`, that of an unknown group. `adapt` checks its arguments."""
        fixed, root = self.effects.double(), self.log_scale.double().exp().diag_embed()
        if self.coupling is not None:
            root = root + self.coupling.double().tril(-1)
        blocks = [torch.block_diag(a, b) for a, b in zip(self.effects_root.double(), root, strict=True)]
        mean = torch.cat([fixed, torch.zeros_like(self.log_scale, dtype=torch.float64)], 1).unsqueeze(2)
        tasks = support.num_tasks
        predictor = MixedPredictor(
            self.design,
            Weights(mean.repeat(tasks, 1, 1), torch.stack(blocks).repeat(tasks, 1, 1)),
            (2 * self.log_noise.double()).exp(),
            self.center.double(),
            self.spread.double(),
            support.first(0),
            graph=graph,
        )
        return replace(predictor, prior=True) if prior else predictor.given(support)

"""The generalised linear mixed model as a learner (Breslow and Clayton 1993)."""

import math
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_choice, check_positive, check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.metric.bases.basis import Basis
from quickstudy.metric.closed_form import ClosedForm
from quickstudy.metric.generalized.estimates import GeneralizedEstimates, joined_with_parameters
from quickstudy.metric.generalized.fitting import Groups, fit
from quickstudy.metric.generalized.likelihoods import BernoulliRows, NegativeBinomialRows, PoissonRows, StudentRows
from quickstudy.metric.generalized.predictor import GeneralizedPredictor, Model
from quickstudy.metric.groups import training_groups
from quickstudy.metric.mixed.design import Design, as_basis, constant_effects

_SMALLEST = 1e-6  # smallest standard deviation of a random effect that is kept, as its logarithm is
_SINGULAR = 1e-4  # standard deviations of random effects below this count as none
KINDS: Mapping[str, Any] = MappingProxyType(
    {
        "poisson": PoissonRows,
        "negative_binomial": NegativeBinomialRows,
        "bernoulli": BernoulliRows,
        "student": StudentRows,
    }
)
_INITIAL: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {"negative_binomial": (-1.0,), "student": (math.log(0.5), math.log(8.0))}
)


@final
class GeneralizedMixedModel(ClosedForm[GeneralizedPredictor]):
    """A mixed model for counts, binary outcomes, and real outcomes with outlying rows (GLMM; in lme4, glmer).

    eta = phi(x)^T beta + z(x)^T b_i,  b_i ~ N(0, L L^T),  y ~ p(y | eta)  (Breslow and Clayton 1993, eqs. 1 and 2).
    `fit` estimates beta, L and the parameters of p from training groups: it maximises the marginal likelihood by
    Laplace's approximation, as `glmer` does. `adapt` finds the mode and the curvature of the posterior of (beta, b) of
    a new group given its rows, where beta is normal with the covariance of its estimate; so predictions include the
    uncertainty of the fixed and of the random effects, but not that of L and the parameters of p. Each prediction is
    an average over the normal eta. There is no exposure: for counts over unequal times, divide the times into equal
    ones, or give the logarithm of the time as an input.

    Several outputs are independent models with the same features. `meta_loss` is the negative log predictive density of
    the query points given the support points, so `qs.fit` trains the model too; then beta has no uncertainty.

    Args:
        dx: number of inputs.
        dy: number of outputs.
        likelihood: "poisson" and "negative_binomial" for counts, with a logarithmic link; "bernoulli" for 0 and 1, with
            a logistic link; "student" for real outcomes with heavy-tailed noise. `y` holds floats.
        fixed: features of beta: the degree of a polynomial, or a basis of `qs.bases`.
        random: features of b; 0 is a random intercept, 1 a random line.
        covariance: "full" for any L, or "diagonal" for independent random effects.

    Raises:
        ValueError, TypeError: for an argument of the wrong kind.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.Sinusoid().sample(40, support=4, query=8)
    >>> counts = qs.Tasks(*(part._replace(y=part.y.abs().round()) for part in tasks[:2]))
    >>> model = qs.GeneralizedMixedModel(likelihood="poisson")
    >>> bool(model.fit(counts).converged.all())
    True
    >>> model.adapt(counts.support)(counts.query.x).quantile(0.9).shape
    torch.Size([40, 8, 1])
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
        likelihood: Literal["poisson", "negative_binomial", "bernoulli", "student"] = "poisson",
        fixed: int | Basis = 1,
        random: int | Basis = 0,
        covariance: Literal["full", "diagonal"] = "full",
    ):
        super().__init__()
        self.dx, self.dy = check_whole("dx", dx), check_whole("dy", dy)
        check_choice("likelihood", likelihood, tuple(KINDS))
        check_choice("covariance", covariance, ("full", "diagonal"))
        self.likelihood, self.covariance = likelihood, covariance
        bases = as_basis("fixed", fixed, self.dx), as_basis("random", random, self.dx)
        self.design = Design(*bases, diagonal=covariance == "diagonal")
        p, q = (basis.features for basis in bases)
        self.effects = nn.Parameter(torch.zeros(dy, p))
        self.log_scale = nn.Parameter(torch.zeros(dy, q))  # log of L's diagonal
        self.coupling = nn.Parameter(torch.zeros(dy, q, q)) if covariance == "full" and q > 1 else None  # below it
        own = torch.tensor(_INITIAL.get(likelihood, ()))
        self.parameters_of_rows = nn.Parameter(own.repeat(dy, 1)) if len(own) else None  # [dy, K]
        self.register_buffer("effects_root", torch.zeros(dy, p, p))  # of the covariance of beta
        self.register_buffer("center", torch.zeros(dy))
        self.register_buffer("spread", torch.ones(dy))

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        bases = {"fixed": self.design.fixed, "random": self.design.random}
        return {name: getattr(self, name) for name in ("dx", "dy", "likelihood", "covariance")} | bases

    @torch.no_grad()
    def fit(self, groups: Examples | Tasks | Any, *, prior_sd: float | None = None) -> GeneralizedEstimates:
        """Estimate everything from training groups by maximum likelihood; no random numbers are drawn.

        Args:
            groups: `Examples` with one group a task; `Tasks`, whose support and query points count alike; or a family
                of given points such as `tasks.Table`, of which the training groups are taken.
            prior_sd: standard deviation of a normal prior of the fixed effects, for orthogonal features of mean square
                1. It keeps them finite where an input separates the outcomes: where all with x > 3, say, are 1. The
                parameters of the likelihood then have weak priors, too.

        Returns:
            The estimates, for the terms of the bases.

        Raises:
            ValueError: for fewer than two groups, not more rows than fixed effects, or impossible outcomes.
            TypeError: for class labels, and for other data.

        Warns:
            RuntimeWarning: if the optimiser did not converge.
        """
        if prior_sd is not None:
            check_positive("prior_sd", prior_sd)
        given = training_groups(groups, self.dx, self.dy).to(self.effects.device)
        self._model().check_possible(given, "groups")
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
        parts = [Groups(y[..., d], real, features[..., :p], features[..., p:]) for d in range(self.dy)]
        found = joined_with_parameters([self._fit_output(part, d, constant, prior_sd) for d, part in enumerate(parts)])
        if not bool(found.converged.all()):
            warnings.warn(
                "the likelihood of the generalised mixed model was not maximised to the last digits; choose fewer "
                "effects, covariance='diagonal', or fit(groups, prior_sd=2.5) if an input separates the outcomes",
                RuntimeWarning,
                stacklevel=2,
            )
        return found

    def _scale(self, features: Tensor, y: Tensor) -> Tensor:
        """Set center and spread for real outcomes; return the fixed effects `[P]` that give 1 everywhere, or 0."""
        constant = constant_effects(features)
        self.center.zero_()
        self.spread.fill_(1.0)
        if self.likelihood == "student":
            spread, center = torch.std_mean(y, 0, correction=0)
            self.spread.copy_(torch.where(spread > 1e-12 * center.abs(), spread, 1.0))
            self.center.copy_(center if bool(constant.any()) else torch.zeros_like(center))
        return constant

    def _fit_output(self, groups: Groups, d: int, constant: Tensor, prior_sd: float | None) -> GeneralizedEstimates:
        """Fit output `d`, set its parameters, and return the estimates in the units of the data."""
        kind = KINDS[self.likelihood]
        best = fit(kind, groups, diagonal=self.covariance == "diagonal", prior_sd=prior_sd)
        self.effects[d] = best.effects.to(self.effects)
        self.effects_root[d] = best.effects_root.to(self.effects)
        self.log_scale[d] = best.root.diagonal().abs().clamp_min(_SMALLEST).log()
        if self.coupling is not None:
            self.coupling[d] = best.root.tril(-1)
        if self.parameters_of_rows is not None:
            self.parameters_of_rows[d] = best.parameters
        center, spread = self.center[d].double(), self.spread[d].double()
        fixed = self.design.fixed.to_terms().to(best.root) @ self.design.fixed_map.double()
        random = self.design.random.to_terms().to(best.root) @ self.design.random_map.double() @ best.root
        errors, rows = spread * (fixed @ best.effects_root), kind(*best.parameters)
        found = {name: getattr(rows, name).view(1) for name in ("dispersion", "freedom") if hasattr(rows, name)}
        if self.likelihood == "student":
            found["scale"] = (spread * rows.log_scale.exp()).view(1)
        return GeneralizedEstimates(
            self.design.fixed.terms,
            self.design.random.terms,
            (fixed @ (spread * best.effects + center * constant)).unsqueeze(0),
            (errors @ errors.mT).unsqueeze(0),
            (spread**2 * random @ random.mT).unsqueeze(0),
            found,
            (best.log_likelihood - groups.real.sum() * spread.log()).unsqueeze(0),
            torch.linalg.svdvals(best.root)[-1:] < _SINGULAR,
            torch.tensor([best.converged]),
        )

    def posterior(self, support: Examples, *, graph: bool, prior: bool) -> GeneralizedPredictor:
        """The predictor for `support`; with `prior`, that of an unknown group. `adapt` checks its arguments."""
        return GeneralizedPredictor.of(self._model(), support, graph=graph, prior=prior)

    def _model(self) -> Model:
        fixed, root = self.effects.double(), self.log_scale.double().exp().diag_embed()
        if self.coupling is not None:
            root = root + self.coupling.double().tril(-1)
        blocks = [torch.block_diag(a, b) for a, b in zip(self.effects_root.double(), root, strict=True)]
        mean = torch.cat([fixed, torch.zeros_like(self.log_scale, dtype=torch.float64)], 1)
        own = () if self.parameters_of_rows is None else self.parameters_of_rows.double().unbind(1)
        scales = self.center.double(), self.spread.double()
        return Model(self.design, KINDS[self.likelihood](*own), mean, torch.stack(blocks), *scales, self.likelihood)

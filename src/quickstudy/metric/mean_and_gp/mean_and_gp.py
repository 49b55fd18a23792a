"""The curve of all groups plus a Gaussian process for each group's deviation from it, as a learner."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_choice, check_positive, check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.metric.bases.basis import Standardised
from quickstudy.metric.closed_form import ClosedForm
from quickstudy.metric.gp.predictor import GPPredictor
from quickstudy.metric.groups import training_groups
from quickstudy.metric.mean_and_gp.fitting import Groups, fit_process, spread_out
from quickstudy.metric.mean_and_gp.process import Hyper, OfGroups, Process


class Curves(NamedTuple):
    """What a fit found, in the units of the data; standard deviations of outputs, and length scales of inputs.

    Args:
        curve: `[dy]`, of the curve of all groups around a line.
        curve_length: `[dy, dx]`, its length scales.
        line: `[dy, 1 + dx]`, of the groups' deviations in intercept (at the mean of x) and slopes, in units of y for a
            change of x by a standard deviation.
        deviation: `[dy]`, of the groups' smooth deviations.
        length: `[dy, dx]`, their length scales.
        noise: `[dy]`, of the noise.
        converged: `[dy]`, whether the optimiser converged.
    """

    curve: Tensor
    curve_length: Tensor
    line: Tensor
    deviation: Tensor
    length: Tensor
    noise: Tensor
    converged: Tensor


@final
class MeanAndGP(ClosedForm[GPPredictor]):
    """A smooth curve for all groups, and a Gaussian process for a group's deviation, whose kernel all groups share.

    y = m(x) + f_i(x) + eps,  m a line plus a Gaussian process,  f_i ~ GP(0, k),  eps ~ N(0, sigma^2)  (Hensman,
    Lawrence and Rattray 2013, BMC Bioinformatics 14:252). k is that of a random line, with correlated intercept and
    slopes, plus a smooth kernel. `fit` maximises the marginal likelihood of the training groups, all outputs of a group
    jointly, with weak priors for the hyperparameters; m is integrated out, and its exact posterior kept. `adapt` gives
    the exact posterior of m + f of a new group given its rows. Without rows it is the curve for all groups, with the
    variance between groups.

    The cost is bounded: hyperparameters are fitted to at most 100 groups and 40 rows of each, m to all groups and 200
    rows of each, and `adapt` uses at most `rows` rows of a group. Where a group has more, they are evenly spaced in the
    order of the first input. A prediction has the covariance of all query points, so ask for some thousands at a time.

    Several outputs are independent models. `meta_loss` is the negative log predictive density of the query points given
    the support points, so `qs.fit` trains the hyperparameters too, starting from no curve.

    Args:
        dx: number of inputs. With more than three, intercept and slopes of a group are independent.
        dy: number of outputs.
        kernel: of the smooth deviations, "rbf" or "matern52".
        inducing: number of inputs at which m is represented; by default 20 for each input, and at most 60.
        rows: largest number of rows that `adapt` uses.
        noise: initial sigma, in units of y.

    Raises:
        ValueError, TypeError: for an argument of the wrong kind.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.Sinusoid(noise=0.3).sample(30, support=5, query=8)
    >>> learner = qs.MeanAndGP()
    >>> bool(learner.fit(tasks).converged.all())
    True
    >>> learner.adapt(tasks.support)(tasks.query.x).log_prob(tasks.query.y, joint=True).shape
    torch.Size([30])
    """

    places: Tensor
    root: Tensor
    center: Tensor
    spread: Tensor
    training_defaults: Mapping[str, Any] = MappingProxyType({"lr": 1e-2, "schedule": "cosine"})

    def __init__(
        self,
        dx: int = 1,
        dy: int = 1,
        *,
        kernel: Literal["rbf", "matern52"] = "rbf",
        inducing: int | None = None,
        rows: int = 500,
        noise: float = 0.5,
    ):
        super().__init__()
        self.dx, self.dy, self.rows = check_whole("dx", dx), check_whole("dy", dy), check_whole("rows", rows)
        check_choice("kernel", kernel, ("rbf", "matern52"))
        self.kernel, self.noise = kernel, check_positive("noise", noise)
        self.inducing = check_whole("inducing", min(20 * dx, 60) if inducing is None else inducing)
        self.inputs = Standardised(self.dx, None)
        size = 1 + dx + self.inducing
        self.register_buffer("places", torch.linspace(-2, 2, self.inducing).unsqueeze(1).repeat(1, dx))
        self.weights = nn.Parameter(torch.zeros(dy, size))
        self.register_buffer("root", torch.zeros(dy, size, size))
        self.log_curve_length = nn.Parameter(torch.zeros(dy, dx))
        start = -torch.tensor(float(noise)).log()
        self.log_curve = nn.Parameter(start.repeat(dy))
        self.log_scale = nn.Parameter(start.repeat(dy))
        self.log_length = nn.Parameter(torch.zeros(dy, dx))
        self.log_line = nn.Parameter(start.repeat(dy, 1 + dx))
        self.coupling = nn.Parameter(torch.zeros(dy, 1 + dx, 1 + dx))
        self.log_noise = nn.Parameter(-start.repeat(dy))
        self.register_buffer("center", torch.zeros(dy))
        self.register_buffer("spread", torch.ones(dy))

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {name: getattr(self, name) for name in ("dx", "dy", "kernel", "inducing", "rows", "noise")}

    @torch.no_grad()
    def fit(self, groups: Examples | Tasks | Any) -> Curves:
        """Estimate everything from training groups; no random numbers are drawn.

        Args:
            groups: `Examples` with one group a task; `Tasks`, whose support and query points count alike; or a family
                of given points such as `tasks.Table`, of which the training groups are taken.

        Returns:
            The estimates, in the units of the data.

        Raises:
            ValueError: for fewer than two groups.
            TypeError: for class labels, and for other data.
        """
        given = training_groups(groups, self.dx, self.dy).to(self.log_noise.device)
        real = given.real()
        self.inputs.place(given.x[real])
        spread, center = torch.std_mean(given.y[real], 0, correction=0)
        self.center.copy_(center)
        self.spread.copy_(torch.where(spread > 1e-12 * center.abs(), spread, 1.0))
        u = torch.where(real.unsqueeze(2), self.inputs(given.x), 0.0)
        self.places.copy_(spread_out(u[real], self.inducing))
        y = torch.where(real.unsqueeze(2), (given.y - self.center.double()) / self.spread.double(), 0.0)
        converged = []
        for d in range(self.dy):
            process, done = fit_process(Groups(u, y[..., d], real), self.kernel, self.places.double())
            self._set(d, process)
            converged.append(done)
        return self._curves(torch.tensor(converged))

    def _set(self, d: int, process: Process) -> None:
        hyper = process.hyper
        self.weights[d], self.root[d] = process.weights[0, :, 0].to(self.weights), process.root[0].to(self.root)
        self.log_curve[d], self.log_noise[d] = hyper.curve[0].log(), process.noise[0].log() / 2
        self.log_curve_length[d], self.log_length[d] = hyper.curve_length[0].log(), hyper.length[0].log()
        self.log_scale[d], self.log_line[d] = hyper.scale[0].log(), hyper.line[0].diagonal().log()
        self.coupling[d] = hyper.line[0].tril(-1)

    def _curves(self, converged: Tensor) -> Curves:
        process = self.process()
        noise = process.noise.sqrt() * self.spread.double()
        wide, hyper = self.inputs.spread.double(), process.hyper
        line = hyper.line.square().sum(2).sqrt() * noise.unsqueeze(1)
        smooth = (hyper.curve * noise, hyper.curve_length * wide, line, hyper.scale * noise, hyper.length * wide)
        return Curves(*smooth, noise, converged)

    def process(self) -> Process:
        """The process of a group, for every output, in standard units and float64."""
        line = self.log_line.double().exp().diag_embed() + self.coupling.double().tril(-1)
        lengths = (part.double().exp() for part in (self.log_curve_length, self.log_length))
        curve_length, length = lengths
        hyper = Hyper(self.log_curve.double().exp(), curve_length, self.log_scale.double().exp(), length, line)
        weights, noise = self.weights.double().unsqueeze(2), (2 * self.log_noise.double()).exp()
        return Process(self.kernel, self.places.double(), hyper, weights, self.root.double(), noise)

    def posterior(self, support: Examples, *, graph: bool, prior: bool) -> GPPredictor:
        """The predictor for `support`; with `prior`, that of an unknown group. `adapt` checks its arguments."""
        process = OfGroups(self.process().repeat(support.num_tasks), self.inputs)
        scales = self.center.double(), self.spread.double()
        made = GPPredictor(process, *scales, self.rows, support.first(0), graph=graph, prior=prior)
        return made if prior else made.given(support)

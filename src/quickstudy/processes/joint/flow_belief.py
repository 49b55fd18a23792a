"""The belief of a process that transports noise to outcomes."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from quickstudy.data import Examples, at_least_float32
from quickstudy.predictive.outcomes import Mask, check_draws, check_outcome, filled, normal, normal_log_prob, reduced
from quickstudy.predictive.quantiles import Probability, central, no_quantile, outcomes, probabilities, standard_cdf
from quickstudy.predictive.rescaled import Rescaled, rescaled
from quickstudy.processes.parts import flow
from quickstudy.processes.parts.blocks import constant, requires_grad
from quickstudy.tracing import values_are_readable

TOKENS = 8192  # that are computed at once while drawing, to bound memory
SECANTS = 8  # at most so many evaluations of the distribution function behind a quantile
SEED = 0  # of the nodes behind the moments, and of the probes of a divergence


@dataclass(frozen=True)
class FlowBelief:
    """A belief about the outputs at `M` points of `T` tasks; see `FlowNP`.

    `sample` and `log_prob(y, joint=True)` are joint: the points move together. `mean`, `variance`, `cdf`, `quantile`,
    `interval` and `log_prob(y)` are about each point by itself, and depend on no other point.

    Args:
        process: the process, with its `velocity`, `solver_steps`, `samples` and `probes`.
        state: its state after the support set.
        x: `[T, M, dx]`.
        graph: whether the results keep the graph back to the parameters of the process.
    """

    process: Any
    state: Any
    x: Tensor
    graph: bool = False

    @property
    def mean(self) -> Tensor:
        """`[T, M, dy]`, from `samples` values at each point; exact where the flow is affine in the noise."""
        return self._moments[0]

    @property
    def variance(self) -> Tensor:
        """The variance of an observation, `[T, M, dy]`, from the same values."""
        return self._moments[1]

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Tensor:
        """`n` joint draws `[n, T, M, dy]`: noise that is transported along the flow.

        Raises:
            NotImplementedError: for `noise=False`.
        """
        check_draws(n, generator, self.x.device)
        if not noise:
            raise NotImplementedError(
                "sample(noise=False): a FlowNP draws observations, and cannot tell a function's value from the noise "
                "on it; use sample(n), or mean"
            )
        start = normal((n, *self.x.shape[:2], self.process.dy), self.x.to(at_least_float32(self.x)), generator)
        if not start.numel():
            return start.to(self.x)
        rows = max(1, TOKENS // (self.x.shape[0] * self.x.shape[1]))
        wanted = self.graph or requires_grad(self.x, *self.state)
        with self._settings(), torch.set_grad_enabled(wanted and torch.is_grad_enabled()):
            return torch.cat([self._pushed(part) for part in start.split(rows)]).to(self.x)

    def log_prob(self, y: Tensor, mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` of each point by itself (0 where masked), or `[T]` of all points jointly.

        The joint density of more than `probes` numbers contains random numbers, which have a fixed seed.
        """
        base, volume = self._outside_inference(y, mask, joint)
        points = (normal_log_prob(base, torch.zeros_like(base), torch.ones_like(base)) - volume).sum(-1)
        return reduced(points, mask, joint)

    @property
    def cdf(self) -> Any:
        """A function: the probability of an outcome of at most `y [T, M, 1]`, or a number, for each point by itself.

        Raises:
            NoQuantileError: for several outputs, as the noise of one does not then determine its value.
        """
        self._check_one_output("cdf")
        return self._cdf

    @property
    def quantile(self) -> Any:
        """A function: the value at which `cdf` is `p`, `[T, M, 1]`, or `[P, T, M, 1]` for several `p`.

        It begins with the outcome of the noise z_p, and the secant method removes the error of the solver's steps. Each
        `p` costs as much as a few densities.

        Raises:
            NoQuantileError: for several outputs.
        """
        self._check_one_output("quantile")
        return self._quantile

    @property
    def interval(self) -> Any:
        """A function: the central interval of probability `level`, for each point by itself.

        Raises:
            NoQuantileError: for several outputs.
        """
        self._check_one_output("interval")
        return lambda level: central(self._quantile, level, self.x)

    def rescale(self, shift: Tensor | float, scale: Tensor | float) -> Rescaled:
        """The belief about `shift + scale * y`; `scale` is one number, or one per output."""
        return rescaled(self, shift, scale)

    def _check_one_output(self, what: str) -> None:
        if self.process.dy != 1:
            no_quantile(
                f"a FlowNP with {self.process.dy} outputs has no {what} of one of them; use draws, such as "
                "sample(1000).quantile(0.9, dim=0)"
            )

    def _cdf(self, y: Any) -> Tensor:
        y = outcomes(y, self.x.new_zeros(*self.x.shape[:2], 1))
        return standard_cdf(self._outside_inference(y, None, joint=False)[0]).to(y)

    def _quantile(self, p: Probability) -> Tensor:
        like = self.x.new_zeros(*self.x.shape[:2], 1, dtype=at_least_float32(self.x))
        noise = torch.special.ndtri(probabilities(p, like)).to(like)
        if noise.dim():
            found = torch.stack([self._solved(row.expand_as(like)) for row in noise]) if len(noise) else like[None][:0]
            return found.to(self.x)
        return self._solved(noise.expand_as(like)).to(self.x)

    def _solved(self, noise: Tensor) -> Tensor:
        """The values `[T, M, 1]` that the flow of each point by itself pulls back to `noise`."""
        finite = noise.isfinite()
        wanted = torch.where(finite, noise, 0.0)
        if not noise.numel():
            return noise
        with torch.no_grad():
            found = step = self._root(wanted)
        if torch.is_grad_enabled() and (self.graph or requires_grad(self.x, noise, *self.state)):
            for _ in range(2):  # Newton's steps have the derivatives of the solution
                base, volume = self._outside_inference(step, None, joint=False)
                step = step - (base - wanted) * volume.exp()
            found = found + (step - step.detach())
        return torch.where(finite, found, noise)

    def _root(self, noise: Tensor) -> Tensor:
        """Of the secant method from the outcomes of `noise`, the values that come nearest."""
        with self._settings():
            field = self._field(self.state, Examples(self.x, noise), alone=True)
            y = best = flow.pushed(field, noise, self.process.solver_steps)
        least, before = torch.full_like(y, torch.inf), None
        for _ in range(SECANTS):
            base, volume = self._outside_inference(y, None, joint=False)
            error, slope = (base - noise).abs(), (-volume).exp()
            best, least = torch.where(error < least, y, best), torch.minimum(error, least)
            if values_are_readable(least) and bool((least <= 8 * torch.finfo(least.dtype).eps).all()):
                break
            if before is not None:
                secant = (base - before[1]) / (y - before[0])
                slope = torch.where(secant.isfinite() & (secant > 0), secant, slope)
            before = y, base
            y = y - (base - noise) / slope
        return best

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        nodes = normal_nodes(self.process.samples, self.process.dy).to(self.x.device, at_least_float32(self.x))
        tasks, points = self.x.shape[:2]
        if not self.x.shape[1]:
            return (nothing := self.x.new_zeros(tasks, 0, self.process.dy)), nothing
        start = nodes[:, None, :].expand(-1, points, -1).flatten(0, 1).expand(tasks, -1, -1)
        with self._settings():
            field = self._field(self.state, Examples(self.x.repeat(1, len(nodes), 1), start), alone=True)
            values = flow.pushed(field, start, self.process.solver_steps).unflatten(1, (len(nodes), points))
        return values.mean(1).to(self.x), values.var(1, correction=0).to(self.x)

    def _pushed(self, noise: Tensor) -> Tensor:
        """The draws `[n, T, M, dy]` that begin with `noise`."""
        n = len(noise)
        state = type(self.state)(*(part.repeat(n, *[1] * (part.dim() - 1)) for part in self.state))
        start = noise.flatten(0, 1)
        field = self._field(state, Examples(self.x.repeat(n, 1, 1), start), alone=False)
        return flow.pushed(field, start, self.process.solver_steps).unflatten(0, noise.shape[:2])

    def _outside_inference(self, y: Tensor, mask: Mask, joint: bool) -> tuple[Tensor, Tensor]:
        """`_pulled`, outside of `torch.inference_mode`: a divergence needs derivatives, and tensors that allow them."""
        given = (y, self.x, *self.state)
        if not torch.is_inference_mode_enabled() and not any(isinstance(t, Tensor) and t.is_inference() for t in given):
            return self._pulled(y, mask, joint)
        graph = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.set_grad_enabled(graph):
            y, x, *state = (t.clone() if isinstance(t, Tensor) else t for t in given)
            return replace(self, x=x, state=type(self.state)(*state))._pulled(y, mask, joint)

    def _pulled(self, y: Tensor, mask: Mask, joint: bool) -> tuple[Tensor, Tensor]:
        """The noise that becomes `y`, and the parts of the log determinant, `[T, M, dy]`."""
        like = self.x.new_zeros(*self.x.shape[:2], self.process.dy)
        check_outcome(y, like, mask)
        y = filled(y, like, mask).to(at_least_float32(y))
        if not y.numel():
            return y, torch.zeros_like(y)
        probes, chance = self.process.probes, torch.Generator(y.device).manual_seed(SEED)
        exact = flow.unit_entries(y) if joint and y[0].numel() <= probes else flow.unit_outputs(y)

        def directions() -> list[Tensor]:
            return flow.random_signs(y, probes, chance) if joint and y[0].numel() > probes else exact

        wanted = self.graph or requires_grad(self.x, y, *self.state)
        with self._settings(), torch.set_grad_enabled(wanted and torch.is_grad_enabled()):
            field = self._field(self.state, Examples(self.x, y, mask), alone=not joint)
            return flow.pulled(field, y, self.process.solver_steps, directions)

    def _field(self, state: Any, points: Examples, *, alone: bool) -> flow.Field:
        """The velocity of values at `points.x`, computed in the type of the parameters."""

        def field(y: Tensor, t: float) -> Tensor:
            time = self.x.new_full((len(points.x),), t)
            velocity: Tensor = self.process.velocity(state, points._replace(y=y.to(self.x)), time, alone=alone)
            return velocity.to(y)

        return field

    @contextmanager
    def _settings(self) -> Iterator[None]:
        """Without `graph`, the parameters of the process are constants."""
        with nullcontext() if self.graph else constant(self.process):
            yield


def normal_nodes(samples: int, outputs: int) -> Tensor:
    """Standard normal numbers `[samples, outputs]` with mean exactly 0 and covariance exactly I; always the same ones.

    They are quasi-random, and for each number there is its negative.

    >>> nodes = normal_nodes(8, 2)
    >>> bool(nodes.mean(0).abs().max() < 1e-12), bool(torch.allclose(nodes.T @ nodes / 8, torch.eye(2).double()))
    (True, True)
    """
    engine = SobolEngine(outputs, scramble=True, seed=SEED)
    uniform = engine.draw(1 + samples // 2, dtype=torch.float64)[1:]  # the first depends on the default dtype
    half = torch.special.ndtri(uniform.clamp(1e-6, 1 - 1e-6))
    nodes = torch.cat([half, -half])
    factor = torch.linalg.cholesky(nodes.T @ nodes / len(nodes))
    white: Tensor = torch.linalg.solve_triangular(factor, nodes.T, upper=False)
    return white.T

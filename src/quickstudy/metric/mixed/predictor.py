"""A normal belief about the coefficients of groups, as a predictor."""

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from quickstudy.checks import check_inputs, check_more, values_are_readable
from quickstudy.data import Examples
from quickstudy.learner import Functions, check_task
from quickstudy.metric.last_layer import Weights
from quickstudy.metric.mixed.design import Design
from quickstudy.predictive import LowRankPlusDiagonal
from quickstudy.predictive.outcomes import check_draws


@dataclass(frozen=True)
class MixedPredictor:
    """A belief about each group's coefficients, whose size does not depend on its rows; made by `MixedModel.adapt`.

    Outputs are independent, so output d of group t is one of `T dy` beliefs, at place `t dy + d`.
    """

    design: Design
    weights: Weights  # [T dy, P + Q, 1], in units of spread
    noise: Tensor  # [dy], variance of the noise, in units of spread squared
    center: Tensor  # [dy]
    spread: Tensor  # [dy]
    like: Examples  # the support set without its points, for its shapes and types
    graph: bool = False
    prior: bool = False

    def __call__(self, x: Tensor) -> LowRankPlusDiagonal:
        """The belief at `x [T, M, dx]`; in joint densities and samples, all points share a group's coefficients."""
        check_inputs(x, self.like)
        features = self._features(x)
        mean, factor = (self._unfolded(features @ part) for part in self.weights)  # [T, M, dy, *]
        factor = factor * self.noise.sqrt().unsqueeze(1)
        if self._outputs > 1:  # outputs are independent: each has columns of its own
            eye = torch.eye(self._outputs, dtype=factor.dtype, device=factor.device)
            factor = (factor.unsqueeze(3) * eye.unsqueeze(2)).flatten(3)
        noise = self.noise.expand(mean.shape[:3])
        belief = LowRankPlusDiagonal(mean.squeeze(3), factor, noise).rescale(self.center, self.spread)
        return LowRankPlusDiagonal(*(part.to(x) for part in belief))

    def append(self, examples: Examples) -> "MixedPredictor":
        """The predictor for the union, updated by `examples` alone. Made with `steps=0`, it stays the prior."""
        check_more(examples, self.like)
        if self.prior:
            return self
        with torch.set_grad_enabled(self.graph and torch.is_grad_enabled()):
            return self.given(examples)

    def given(self, examples: Examples) -> "MixedPredictor":
        """`append` without the checks."""
        return replace(self, weights=self.weights.given(*self._observed(examples)))

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """`n` functions for each group, with coefficients drawn from the posterior."""
        check_draws(n, generator, self.like.x.device)
        noise = self.noise.repeat(self.like.num_tasks).view(-1, 1, 1)
        drawn = self.weights.sample(n, noise, generator)

        def evaluate(x: Tensor, members: list[int]) -> Tensor:
            check_inputs(x, self.like)
            values = self._features(x) @ drawn[members].flatten(3)  # [n, T dy, M, 1]
            values = values.unflatten(1, (-1, self._outputs)).squeeze(4).transpose(2, 3)
            return (self.center + self.spread * values).to(x)

        return Functions(evaluate, n)

    def task(self, i: int) -> nn.Module:
        """Group `i`'s mean function as a plain module `[M, dx] -> [M, dy]`: its features and a linear layer."""
        i = check_task(i, self.like.num_tasks)
        mean = self.weights.mean.detach().unflatten(0, (-1, self._outputs))[i].squeeze(2)
        head = nn.Linear(mean.shape[1], self._outputs).to(self.like.x)
        with torch.no_grad():
            head.weight.copy_(self.spread.unsqueeze(1) * mean)
            head.bias.copy_(self.center)
        return nn.Sequential(copy.deepcopy(self.design), head)

    @property
    def _outputs(self) -> int:
        return len(self.noise)

    def _features(self, x: Tensor) -> Tensor:
        """The features `[T dy, M, P + Q]` of every output, which are the same."""
        return self.design(x.double()).repeat_interleave(self._outputs, 0)

    def _observed(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """Features `[T dy, N, P + Q]` and outputs `[T dy, N, 1]` in units of spread, both 0 in the padding."""
        x, y, _ = examples.clean()
        real = examples.real().repeat_interleave(self._outputs, 0).unsqueeze(2)
        features = torch.where(real, self._features(x), 0.0)
        if values_are_readable(features) and not bool(features.isfinite().all()):
            task, point = (~features.isfinite()).nonzero()[0, :2].tolist()
            task = task // self._outputs
            raise ValueError(
                f"the features of the mixed model are not finite at x = {x[task, point].tolist()} (task {task}, point "
                f"{point}); leave such rows out, or choose a basis that is defined there"
            )
        y = ((y.double() - self.center) / self.spread).transpose(1, 2).flatten(0, 1).unsqueeze(2)
        return features, torch.where(real, y, 0.0)

    def _unfolded(self, values: Tensor) -> Tensor:
        """`values [T dy, M, R]` as `[T, M, dy, R]`."""
        return values.unflatten(0, (-1, self._outputs)).transpose(1, 2)

"""Sampling-based planning of continuous actions: Gaussian sequences between the bounds of a box, for all tasks."""

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from quickstudy.checks import check_whole
from quickstudy.decide.models import Model
from quickstudy.decide.planning.weights import (
    Elites,
    Objective,
    Softmax,
    check_elites,
    check_share,
    check_state,
    check_worth,
)


class GaussianPlan(NamedTuple):
    """The result of planning, from which the next plan starts.

    Args:
        action: `[T, da]`, the first action of the best sequence.
        sequence: `[T, H, da]`, the best sequence of actions found.
        mean: `[T, H, da]`, the mean of the last distribution of sequences.
        value: `[T]`, the value of the best sequence.
    """

    action: Tensor
    sequence: Tensor
    mean: Tensor
    value: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class GaussianPlanner:
    """Search over sequences of real actions; `cross_entropy` and `mppi` build one for a Box of actions.

    Candidates are the mean sequence plus normal noise, clipped to the bounds of the box:

        a_h = clip(mu_h + sigma_h e_h),  e_h = beta e_(h-1) + sqrt(1 - beta²) z_h,  z_h ~ N(0, 1)

    The new mean is the weighted mean of the candidates, mixed with the old one; the cross-entropy method does the same
    with sigma, and MPPI keeps it. MPPI's weights are those of the information-theoretic algorithm without its term
    for the cost of actions (Williams et al. 2017, algorithm 2, gamma = 0): that cost belongs to the objective. The plan
    is the better one of the best candidate and the last mean. The next plan starts from the mean and the sequence of
    this plan, shifted by one step.

    Args:
        weigh: computes the weights of the candidates from their values.
        low, high: the bounds of an action's components, da numbers each.
        refit: whether sigma is fitted to the weighted candidates; True in the cross-entropy method, False in MPPI.
        horizon: H, the number of steps in a plan.
        candidates: K, the number of candidates in an iteration.
        iterations: the number of iterations.
        keep: the share of the old mean and sigma in the new ones.
        spread: the first sigma, as a share of half the width of the box.
        floor: the smallest sigma, as a share of half the width of the box.
        correlation: beta, the correlation of the noise of successive steps: 0 for independent steps. Correlated noise
            pushes for longer, which a system that has to be moved far needs.

    Raises:
        ValueError: for sizes below 1, more elites than candidates, shares outside [0, 1], a spread not above 0, a
            correlation outside [0, 1), and bounds that are not finite or not in order.
    """

    weigh: Elites | Softmax
    low: tuple[float, ...]
    high: tuple[float, ...]
    refit: bool
    horizon: int = 25
    candidates: int = 250
    iterations: int = 2
    keep: float = 0.1
    spread: float = 0.5
    floor: float = 0.05
    correlation: float = 0.0

    def __post_init__(self) -> None:
        for name in ("horizon", "candidates", "iterations"):
            check_whole(name, getattr(self, name), 1)
        for name in ("keep", "floor"):
            check_share(name, getattr(self, name))
        check_elites(self.weigh, self.candidates)
        if not 0 < self.spread < torch.inf:
            raise ValueError(f"spread={self.spread!r}; expected a number above 0")
        if not 0 <= self.correlation < 1:
            raise ValueError(f"correlation={self.correlation!r}; expected a number of at least 0 and below 1")
        ends = list(zip(self.low, self.high, strict=False))
        if len(self.low) != len(self.high) or not ends or not all(-torch.inf < a < b < torch.inf for a, b in ends):
            raise ValueError(
                f"low={self.low}, high={self.high}; expected as many finite numbers in each as an action has "
                "components, each low below its high"
            )

    @torch.no_grad()
    def plan(
        self,
        model: Model,
        state: Tensor,
        objective: Objective,
        previous: GaussianPlan | None = None,
        generator: torch.Generator | None = None,
    ) -> GaussianPlan:
        """Plan for every task from `state [T, ds]`; all candidates use the same draw of the model's dynamics."""
        check_state(state)
        low, high = (torch.tensor(end).to(state) for end in (self.low, self.high))
        half, tasks = (high - low) / 2, len(state)
        mean = sequence = (low + half).expand(tasks, self.horizon, -1)
        if previous is not None:
            mean, sequence = _shifted(previous.mean), _shifted(previous.sequence)
        sigma = (self.spread * half).expand_as(mean)
        world, places = model.imagine(generator), torch.arange(tasks, device=state.device)
        for _ in range(self.iterations):
            noise = self._noise(mean, generator)
            action = torch.addcmul(mean.transpose(0, 1).unsqueeze(2), sigma.transpose(0, 1).unsqueeze(2), noise)
            action[:, :, 0] = sequence.transpose(0, 1)  # the best sequence so far stays a candidate
            action = action.clamp(low, high)
            worth = objective(world(state, action))
            check_worth(worth)
            sequence, weight = action[:, places, worth.argmax(1)].transpose(0, 1), self.weigh(worth)
            found = torch.einsum("htkd,tk->thd", action, weight)
            if self.refit:
                offset = action - found.transpose(0, 1).unsqueeze(2)
                wide = torch.einsum("htkd,tk->thd", offset.square(), weight).sqrt()
                sigma = torch.maximum(wide.lerp(sigma, self.keep), self.floor * half)
            mean = found.lerp(mean, self.keep)
        last = torch.stack([sequence, mean], 2).transpose(0, 1)
        worth = objective(world(state, last))
        check_worth(worth)
        value, better = worth.max(1)
        sequence = last[:, places, better].transpose(0, 1)
        return GaussianPlan(sequence[:, 0], sequence, mean, value)

    def _noise(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Noise `[H, T, K, da]`: standard normal at each step, with correlation beta between successive steps."""
        tasks, horizon, components = like.shape
        size = (horizon, tasks, self.candidates, components)
        noise = torch.randn(size, dtype=like.dtype, device=like.device, generator=generator)
        if self.correlation:
            new = (1 - self.correlation**2) ** 0.5
            for step in range(1, horizon):
                noise[step] = self.correlation * noise[step - 1] + new * noise[step]
        return noise


def _shifted(sequence: Tensor) -> Tensor:
    """`sequence [T, H, da]` without its first step; the last step is repeated."""
    return torch.cat([sequence[:, 1:], sequence[:, -1:]], 1)
